"""The S3 side alone, on a real server: what a bad network does, what is told to the user when the server says no, and that no secret is ever shown."""

from __future__ import annotations

import datetime
import hashlib
import io
import itertools
import logging
import os
import socket
import ssl
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import minio.time
import pytest

from asdfd.base.artifacts import sha256_of
from asdfd.base.errors import InputError
from asdfd.storage import s3_connection, s3_transfers
from asdfd.storage.objects import Conflict, MissingObject, ObjectStore, open_objects
from tests.patience import PATIENCE
from tests.servers.ceph import OWNER, READER, Ceph, Keys, free_ports
from tests.servers.proxy import FAULTS, Fault, Proxy, once, running_proxy

pytestmark = pytest.mark.slow

PART, LARGE = 5 * 2**20, 12 * 2**20
"""Bytes of a part (the least that S3 allows), and of a file that goes up in three."""
SECRETS = (OWNER.secret, READER.secret, "wrong-secret", "session-token-of-nobody")


@pytest.fixture(autouse=True)
def quick_and_clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Short pauses, small parts, and nothing of this machine's own settings."""
    monkeypatch.setattr(s3_transfers, "PART", PART)
    for module in (s3_connection, s3_transfers):
        monkeypatch.setattr(module, "BACKOFF", 0.001)
        monkeypatch.setattr(module, "JITTER", 0.01)
    for name in list(os.environ):
        if name.startswith(("AWS_", "S3_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def proxy(ceph: Ceph) -> Iterator[Proxy]:
    with running_proxy(ceph.endpoint) as running:
        yield running


@pytest.fixture(scope="module")
def bucket(ceph: Ceph) -> str:
    """One bucket for all tests that look at names of their own only."""
    return ceph.bucket()


@pytest.fixture
def settings(ceph: Ceph, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set the environment for a user of the server."""

    def put(keys: Keys = OWNER, endpoint: str = "", **more: str) -> None:
        for name, value in {**ceph.environment(keys, endpoint), **more}.items():
            monkeypatch.setenv(name, value)

    return put


@pytest.fixture
def through_proxy(proxy: Proxy, settings: Callable[..., None], bucket: str, request: pytest.FixtureRequest) -> ObjectStore:
    """A store behind the proxy, below a prefix of the test's own."""
    settings(endpoint=proxy.endpoint)
    return open_objects(f"s3://{bucket}/{hashlib.sha256(request.node.name.encode()).hexdigest()[:12]}")


def file_of(path: Path, size: int) -> str:
    """Write random bytes; their SHA-256."""
    path.write_bytes(os.urandom(size))
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_conditional_write_survives_the_network_and_is_known_as_ours(through_proxy: ObjectStore, proxy: Proxy, fault: Fault) -> None:
    proxy.decide = once(fault, "PUT", times=2)
    etag = through_proxy.create("alias", b"first")
    proxy.decide = once(fault, "PUT", times=2)
    second = through_proxy.replace("alias", b"second", etag)
    assert through_proxy.read("alias") == (b"second", second)
    assert proxy.count(fault, "PUT") == 4
    assert proxy.count("412", "PUT") == (2 if fault in ("lost reply", "truncated") else 0)


@pytest.mark.parametrize("times", [1, 4])
def test_a_write_that_the_server_put_off_is_neither_won_nor_lost(through_proxy: ObjectStore, proxy: Proxy, times: int) -> None:
    """AWS answers 409 while another conditional write to the object is under way, and wants to be asked again."""
    proxy.decide = once("busy", "PUT", times=times)
    etag = through_proxy.create("alias", b"first")
    proxy.decide = once("busy", "PUT", times=times)
    etag = through_proxy.replace("alias", b"second", etag)
    assert through_proxy.read("alias") == (b"second", etag)
    assert proxy.count("busy") == 2 * times
    proxy.decide = once("busy", "PUT", times=times)
    with pytest.raises(Conflict):
        through_proxy.create("alias", b"third")
    proxy.decide = once("busy", "PUT", times=99)
    with pytest.raises(InputError, match=r"alias at .*: the server refused \(409 ConditionalRequestConflict\)"):
        through_proxy.create("other-alias", b"first")


def test_to_replace_what_is_gone_is_a_conflict(through_proxy: ObjectStore) -> None:
    etag = through_proxy.create("alias", b"first")
    through_proxy.delete("alias")
    with pytest.raises(Conflict):
        through_proxy.replace("alias", b"second", etag)


def test_who_may_not_ask_for_versioning_is_told_so_and_a_server_without_it_is_fine(through_proxy: ObjectStore, proxy: Proxy) -> None:
    proxy.decide = once("forbidden", "GET", "versioning")
    with pytest.raises(InputError, match=r"this user may not ask whether the bucket keeps versions.*; have the owner grant s3:GetBucketVersioning"):
        through_proxy.create("alias", b"first")
    proxy.decide = once("unknown", "GET", "versioning")
    through_proxy.create("alias", b"first")
    assert through_proxy.read("alias")[0] == b"first"
    assert (proxy.count("forbidden"), proxy.count("unknown")) == (1, 1)


def test_a_late_task_sits_out_a_server_that_is_away_for_longer(
    proxy: Proxy, settings: Callable[..., None], bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.decide = once("reset", "GET", times=9)
    settings(endpoint=proxy.endpoint)
    with pytest.raises(InputError, match="the connection broke again and again"):
        open_objects(f"s3://{bucket}/away").list("")
    proxy.decide = once("reset", "GET", times=9)
    settings(endpoint=proxy.endpoint, S3_TRIES="14")
    assert open_objects(f"s3://{bucket}/away").list("") == []
    monkeypatch.setenv("S3_TRIES", "many")
    with pytest.raises(InputError, match="S3_TRIES: 'many' is not a number"):
        open_objects(f"s3://{bucket}/away")


def test_a_lost_reply_does_not_make_somebody_elses_write_ours(through_proxy: ObjectStore, proxy: Proxy, ceph: Ceph, bucket: str) -> None:
    name = f"{through_proxy.location.removeprefix(f's3://{bucket}/')}/alias"

    def somebody_else(method: str, path: str) -> Fault | None:
        if method == "PUT" and path.partition("?")[0].endswith("/alias") and not proxy.count("reset", "PUT"):
            ceph.client().put_object(bucket, name, io.BytesIO(b"theirs"), 6)
            return "reset"
        return None

    proxy.decide = somebody_else
    with pytest.raises(Conflict):
        through_proxy.create("alias", b"ours")
    assert through_proxy.read("alias")[0] == b"theirs"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_large_file_survives_the_network_both_ways(through_proxy: ObjectStore, proxy: Proxy, tmp_path: Path, fault: Fault) -> None:
    sha256 = file_of(tmp_path / "up", LARGE)
    faults = [once(fault, "PUT", "partNumber=2"), once(fault, "POST", "uploads"), once(fault, "POST", "uploadId")]
    proxy.decide = lambda method, path: next((found for decide in faults if (found := decide(method, path))), None)
    through_proxy.upload("weights", tmp_path / "up", sha256)
    assert proxy.count(fault) == 3
    proxy.decide = once(fault, "GET", "weights", times=2)
    through_proxy.download("weights", tmp_path / "down", sha256)
    assert proxy.count(fault) == 5
    assert (tmp_path / "down").read_bytes() == (tmp_path / "up").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["down", "up"]
    left = through_proxy.unfinished()
    assert len(left) == (1 if fault in ("lost reply", "truncated") else 0)  # the first of the two uploads that were begun since no answer came
    for upload in left:
        through_proxy.discard(upload)
        through_proxy.discard(upload)
    assert through_proxy.unfinished() == []


def test_of_a_download_only_what_broke_is_fetched_again(through_proxy: ObjectStore, proxy: Proxy, tmp_path: Path) -> None:
    sha256 = file_of(tmp_path / "up", LARGE)
    through_proxy.upload("weights", tmp_path / "up", sha256)
    sent: list[int] = []
    proxy.decide = once("truncated", "GET", "weights", times=3)
    proxy.on_answer = sent.append
    through_proxy.download("weights", tmp_path / "down", sha256)
    assert len(sent) == 6
    assert max(sent) == PART
    assert sum(sent) <= LARGE + 3 * PART


def test_a_file_that_is_replaced_while_it_is_read_is_refused(through_proxy: ObjectStore, proxy: Proxy, tmp_path: Path, ceph: Ceph, bucket: str) -> None:
    sha256 = file_of(tmp_path / "old", LARGE)
    file_of(tmp_path / "new", LARGE)
    through_proxy.upload("weights", tmp_path / "old", sha256)
    name = through_proxy.location.removeprefix(f"s3://{bucket}/") + "/weights"
    reads: list[str] = []

    def replace_it(method: str, path: str) -> Fault | None:
        if method == "GET" and not reads:
            reads.append(path)
        elif len(reads) == 1:
            reads.append(path)
            ceph.client().fput_object(bucket, name, str(tmp_path / "new"))
        return None

    proxy.decide = replace_it
    with pytest.raises(InputError, match="weights: was replaced while it was read; run the same command again"):
        through_proxy.download("weights", tmp_path / "down", sha256)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]


@pytest.mark.parametrize("fault", FAULTS)
def test_small_reads_listings_and_deletions_survive_the_network(through_proxy: ObjectStore, proxy: Proxy, fault: Fault) -> None:
    etag = through_proxy.create("a", b"content")
    proxy.decide = once(fault, "GET", times=2)
    assert through_proxy.read("a") == (b"content", etag)
    proxy.decide = once(fault, "GET", times=2)
    assert [info.key for info in through_proxy.list("")] == ["a"]
    proxy.decide = once(fault, "DELETE", times=2)
    through_proxy.delete("a")
    assert proxy.count(fault) == 6
    assert through_proxy.list("") == []


def test_a_server_that_does_not_answer_is_asked_again(proxy: Proxy, settings: Callable[..., None], bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_connection, "READ_TIMEOUT", 2.0)  # of one try, on a machine that may be busy
    monkeypatch.setattr(s3_connection, "TRIES_AGAIN", 3)
    settings(endpoint=proxy.endpoint)
    store = open_objects(f"s3://{bucket}/delayed")
    proxy.decide = once("delayed", "PUT", times=2)
    store.create("a", b"content")
    assert store.read("a")[0] == b"content"
    proxy.decide = lambda _method, _path: "delayed"
    with pytest.raises(InputError, match="did not answer in time, however often it was asked"):
        store.read("a")


@pytest.mark.parametrize(("fault", "line"), [("500", "failed again and again \\(HTTP 500\\)"), ("503", "HTTP 503"), ("reset", "the connection broke again")])
def test_patience_has_an_end(through_proxy: ObjectStore, proxy: Proxy, tmp_path: Path, fault: Fault, line: str) -> None:
    sha256 = file_of(tmp_path / "up", 100)
    proxy.decide = lambda _method, _path: fault
    for call in (lambda: through_proxy.create("a", b""), lambda: through_proxy.read("a"), lambda: through_proxy.upload("a", tmp_path / "up", sha256)):
        before = len(proxy.seen)
        with pytest.raises(InputError, match=line):
            call()
        assert len(proxy.seen) - before == s3_connection.TRIES_AGAIN + 1


def test_what_the_server_refuses_is_not_asked_twice(through_proxy: ObjectStore, proxy: Proxy) -> None:
    with pytest.raises(MissingObject):
        through_proxy.read("nothing")
    etag = through_proxy.create("a", b"")
    with pytest.raises(Conflict):
        through_proxy.create("a", b"")
    proxy.decide = lambda _method, _path: "expired"
    with pytest.raises(InputError, match="the credentials have expired; renew them"):
        through_proxy.replace("a", b"x", etag)
    answers = [outcome for _, path, outcome in proxy.seen if "versioning" not in path]
    assert answers == ["404", "200", "412", "expired"]


def test_a_killed_upload_is_found_and_can_be_discarded(settings: Callable[..., None], ceph: Ceph, bucket: str, tmp_path: Path) -> None:
    settings()
    store, beside = open_objects(f"s3://{bucket}/killed"), open_objects(f"s3://{bucket}/beside")
    sha256 = file_of(tmp_path / "up", LARGE)
    with running_proxy(ceph.endpoint) as proxy:
        settings(endpoint=proxy.endpoint)
        reached = threading.Event()

        def stop_at_the_second_part(_method: str, path: str) -> Fault | None:
            if "partNumber=2" in path:
                reached.set()
                return "delayed"
            return None

        proxy.decide = stop_at_the_second_part
        code = (
            "from pathlib import Path; from asdfd.storage import objects, s3_transfers;"
            f"s3_transfers.PART = {PART}; objects.open_objects({store.location!r}).upload('weights', Path('up'), {sha256!r})"
        )
        process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
        assert reached.wait(PATIENCE)
        process.kill()
        process.wait()
    assert store.list("") == []
    (left,) = store.unfinished()
    assert left.key.startswith("killed/weights#")
    assert beside.unfinished() == []
    store.discard(left)
    assert store.unfinished() == []


def test_large_transfers_show_their_progress(
    settings: Callable[..., None], bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    settings()
    monkeypatch.setattr(s3_transfers, "SHOWN_FROM", LARGE)
    store = open_objects(f"s3://{bucket}/progress")
    for size in (LARGE, LARGE - 1):
        sha256 = file_of(tmp_path / "weights", size)
        store.upload("weights", tmp_path / "weights", sha256)
        store.download("weights", tmp_path / "weights", sha256)
    lines = capfd.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines] == ["upload weights", "download weights"]
    assert all("MB 12/12 (100 %)" in line for line in lines)


def test_a_bucket_that_keeps_versions_is_refused_for_what_decides(settings: Callable[..., None], ceph: Ceph) -> None:
    settings()
    store = open_objects(f"s3://{ceph.bucket(versioned=True)}")
    for write in (lambda: store.create("a", b""), lambda: store.replace("a", b"", "0" * 32)):
        with pytest.raises(InputError, match="the bucket keeps versions, and aliases are not safe in it; name a bucket"):
            write()
    assert store.list("") == []


def test_a_child_process_does_not_speak_on_its_parents_connections(settings: Callable[..., None], bucket: str) -> None:
    settings()
    code = """if True:
        import os, sys
        from asdfd.storage.s3_connection import connect, read_settings
        connection = connect(read_settings())
        assert list(connection.client.list_objects(sys.argv[1], prefix="none")) == []
        assert len(connection.http.pools) == 1
        child = os.fork()
        if not child:
            os._exit(len(connection.http.pools))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert len(connection.http.pools) == 1
    """
    subprocess.run([sys.executable, "-c", code, bucket], check=True)


def test_a_prefix_is_not_needed_and_is_kept_apart(settings: Callable[..., None], ceph: Ceph) -> None:
    settings()
    bucket = ceph.bucket()
    whole, part = open_objects(f"s3://{bucket}"), open_objects(f"s3://{bucket}/part/")
    part.create("a", b"part")
    whole.create("a", b"whole")
    assert (whole.location, part.location) == (f"s3://{bucket}", f"s3://{bucket}/part")
    assert [info.key for info in whole.list("")] == ["a", "part/a"]
    assert [info.key for info in part.list("")] == ["a"]
    assert whole.unfinished() == []


# How the server is reached


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    folder = tmp_path_factory.mktemp("certificates")
    paths = folder / "certificate.pem", folder / "key.pem"
    subject = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2")
    command = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-out", paths[0], "-keyout", paths[1], *subject)
    subprocess.run(command, check=True, capture_output=True)
    return paths


def test_tls_is_checked_against_the_bundle(settings: Callable[..., None], ceph: Ceph, bucket: str, certificates: tuple[Path, Path], tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificates)
    with running_proxy(ceph.endpoint, context) as proxy:
        settings(endpoint=proxy.endpoint)
        with pytest.raises(InputError, match="its certificate is not trusted or not for this host; set S3_CA_BUNDLE"):
            open_objects(f"s3://{bucket}/tls").list("")
        settings(endpoint=proxy.endpoint, S3_CA_BUNDLE=str(certificates[0]))
        store = open_objects(f"s3://{bucket}/tls")
        store.create("a", b"over TLS")
        assert store.read("a")[0] == b"over TLS"
        sha256 = file_of(tmp_path / "up", LARGE)
        store.upload("weights", tmp_path / "up", sha256)
        store.download("weights", tmp_path / "down", sha256)
        assert store.unfinished() == []
        settings(endpoint=ceph.endpoint.replace("http:", "https:"), S3_CA_BUNDLE=str(certificates[0]))
        with pytest.raises(InputError, match="it does not speak TLS; write http://"):
            open_objects(f"s3://{bucket}/tls").list("")


def test_the_bucket_may_be_in_the_hosts_name(settings: Callable[..., None], proxy: Proxy, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo  # only the name is made up: the machine need not know *.localhost
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest: resolve("127.0.0.1" if str(host).endswith(".localhost") else host, *rest))
    settings(endpoint=proxy.endpoint.replace("127.0.0.1", "localhost"), S3_ADDRESSING="virtual")
    store = open_objects(f"s3://{bucket}/virtual")
    store.create("a", b"")
    assert [info.key for info in store.list("")] == ["a"]
    assert store.unfinished() == []
    assert [path.partition("?")[0] for _, path, _ in proxy.seen] == ["/", "/virtual/a", "/", "/"]


def test_credentials_come_from_the_shared_file(settings: Callable[..., None], bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(InputError, match="no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        open_objects(f"s3://{bucket}")
    (tmp_path / "credentials").write_text(f"[team]\naws_access_key_id = {OWNER.access}\naws_secret_access_key = {OWNER.secret}\n", encoding="utf-8")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "team")
    assert open_objects(f"s3://{bucket}/file").list("") == []
    (tmp_path / "credentials").write_text("no section\n", encoding="utf-8")
    with pytest.raises(InputError, match="the shared credentials file cannot be read; repair it"):
        open_objects(f"s3://{bucket}")


@pytest.fixture
def token_service() -> Iterator[tuple[str, list[dict[str, list[str]]]]]:
    """A stand-in for the security token service, which Ceph has only with an identity provider beside it: the owner's keys for the right token.

    What is real is the client that asks it and the server that is then spoken to.
    """
    asked: list[dict[str, list[str]]] = []

    class Service(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = parse_qs(self.path.partition("?")[2]) | parse_qs(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())
            asked.append(query)
            right = query["WebIdentityToken"] == ["token-of-the-pod"]
            expires = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
            keys = f"<AccessKeyId>{OWNER.access}</AccessKeyId><SecretAccessKey>{OWNER.secret}</SecretAccessKey><SessionToken></SessionToken>"
            name = "AssumeRoleWithWebIdentity"
            body = f"<{name}Response><{name}Result><Credentials>{keys}<Expiration>{expires}</Expiration></Credentials></{name}Result></{name}Response>"
            self.send_response(200 if right else 403)
            self.end_headers()
            self.wfile.write(body.encode() if right else b"")

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()


def test_credentials_come_from_a_web_identity(
    settings: Callable[..., None],
    bucket: str,
    tmp_path: Path,
    token_service: tuple[str, list[dict[str, list[str]]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address, asked = token_service
    (tmp_path / "token").write_text("token-of-the-pod", encoding="utf-8")
    settings(AWS_WEB_IDENTITY_TOKEN_FILE=str(tmp_path / "token"), AWS_ENDPOINT_URL_STS=address, AWS_ROLE_ARN="arn:aws:iam::1:role/asdfd")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    store = open_objects(f"s3://{bucket}/identity")
    store.create("a", b"")
    assert [info.key for info in store.list("")] == ["a"]
    assert [(query["Action"], query["RoleArn"]) for query in asked] == [(["AssumeRoleWithWebIdentity"], ["arn:aws:iam::1:role/asdfd"])]
    (tmp_path / "token").write_text("token-of-another", encoding="utf-8")
    with pytest.raises(InputError, match=r"the web identity was not exchanged at http://127\.0\.0\.1:\d+; check AWS_WEB_IDENTITY_TOKEN_FILE"):
        open_objects(f"s3://{bucket}")


# What is told to the user


def wrong_cases(ceph: Ceph, bucket: str) -> dict[str, tuple[dict[str, str], str, str]]:
    """By its name: the settings, the bucket, and what the line must say."""
    closed = f"http://127.0.0.1:{free_ports(1)[0]}"
    good, wrong = ceph.environment(), {"AWS_SECRET_ACCESS_KEY": "wrong-secret", "AWS_SESSION_TOKEN": "session-token-of-nobody"}
    return {
        "wrong secret": ({**good, **wrong}, bucket, "the secret key is wrong; check AWS_SECRET_ACCESS_KEY"),
        "unknown key": ({**good, "AWS_ACCESS_KEY_ID": "AKIDNOBODY"}, bucket, "does not know the access key; check AWS_ACCESS_KEY_ID"),
        "missing bucket": (good, "no-such-bucket", "s3://no-such-bucket at http.*: there is no such bucket; create it, or check its name and S3_ENDPOINT"),
        "invalid bucket": (good, "No_Bucket!", "this is not a valid name of a bucket"),
        "unreachable": ({**good, "S3_ENDPOINT": closed}, bucket, "the server cannot be reached; check S3_ENDPOINT, the network and whether it runs"),
        "unknown host": ({**good, "S3_ENDPOINT": "http://minio.invalid:9000"}, bucket, "the host's name is unknown; check S3_ENDPOINT and the network"),
        "no address": ({**good, "S3_ENDPOINT": "minio:9000"}, bucket, "S3_ENDPOINT: 'minio:9000' is not an address of a server; write it as https://host:port"),
        "keys in the address": ({**good, "S3_ENDPOINT": "http://x:wrong-secret@minio:9000"}, bucket, "S3_ENDPOINT: holds credentials; write the address alone"),
        "no bundle": ({**good, "S3_CA_BUNDLE": "/none.pem"}, bucket, "S3_CA_BUNDLE: /none.pem: no such file"),
        "addressing": ({**good, "S3_ADDRESSING": "both"}, bucket, "S3_ADDRESSING: 'both' is unknown; set path or virtual"),
    }


CASES = ("wrong secret", "unknown key", "missing bucket", "invalid bucket", "unreachable", "unknown host", "no address")
CASES += ("keys in the address", "no bundle", "addressing")


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_told_in_one_line_without_a_secret(
    ceph: Ceph, bucket: str, case: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    environment, wrong_bucket, line = wrong_cases(ceph, bucket)[case]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "file").write_bytes(b"x")
    shown = io.StringIO()
    caplog.set_level(logging.INFO)
    calls: list[Callable[[ObjectStore], Any]] = [
        lambda store: store.list(""),
        lambda store: store.read("a"),
        lambda store: store.create("a", b""),
        lambda store: store.replace("a", b"", "0" * 32),
        lambda store: store.upload("a", tmp_path / "file", sha256_of(tmp_path / "file")),
        lambda store: store.download("a", tmp_path / "down", "0" * 64),
        lambda store: store.delete("a"),
        lambda store: store.unfinished(),
    ]
    for call in calls:
        with pytest.raises(InputError, match=line) as caught:
            call(open_objects(f"s3://{wrong_bucket}/errors"))
        assert not isinstance(caught.value, MissingObject)
        message = str(caught.value)
        assert "\n" not in message
        assert len(message) < 300
        traceback.print_exception(caught.value, file=shown)
    everything = shown.getvalue() + caplog.text + "".join(capfd.readouterr())
    assert [secret for secret in (*SECRETS, "X-Amz-Signature") if secret in everything] == []
    assert not (tmp_path / "down").exists()


def test_a_user_who_may_only_read_reads_and_is_told_that_writing_is_not_for_him(settings: Callable[..., None], bucket: str, tmp_path: Path) -> None:
    settings()
    etag = open_objects(f"s3://{bucket}/read-only").create("a", b"content")
    settings(READER)
    store = open_objects(f"s3://{bucket}/read-only")
    assert store.read("a") == (b"content", etag)
    (tmp_path / "file").write_bytes(b"x")
    for write in (
        lambda: store.create("b", b""),
        lambda: store.replace("a", b"", etag),
        lambda: store.upload("b", tmp_path / "file", sha256_of(tmp_path / "file")),
        lambda: store.delete("a"),
    ):
        with pytest.raises(InputError, match="this user may not write here; use other credentials, or have the bucket's owner grant it"):
            write()
    assert [info.key for info in store.list("")] == ["a"]


def test_a_wrong_clock_is_told(settings: Callable[..., None], bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings()
    store = open_objects(f"s3://{bucket}/clock")
    now = minio.time.utcnow
    monkeypatch.setattr(minio.time, "utcnow", lambda: now() - datetime.timedelta(hours=3))
    with pytest.raises(InputError, match="this machine's clock differs too much from the server's; set it"):
        store.list("")


def test_a_server_that_is_none_of_s3_is_told(settings: Callable[..., None]) -> None:
    class Page(BaseHTTPRequestHandler):
        statuses = itertools.cycle((200, 403, 404))

        def do_GET(self) -> None:
            self.send_response(next(self.statuses))
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html><p>Welcome</html>")

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        settings(endpoint=f"http://127.0.0.1:{server.server_address[1]}")
        for _ in range(3):
            with pytest.raises(InputError, match=r"check (S3_ENDPOINT|the credentials and S3_ENDPOINT)$"):
                open_objects("s3://some-bucket").list("")
        server.shutdown()


def test_without_the_extra_its_name_is_told() -> None:
    code = """if True:
        import sys
        sys.modules["minio"] = None
        from asdfd.storage.objects import open_objects
        try:
            open_objects("s3://bucket")
        except Exception as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "s3://bucket: needs the extra `s3`: pip install 'asdfd[s3]'\n"
