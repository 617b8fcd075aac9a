"""Signed manifests: who may push, and what a reader who asks for signatures accepts."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from asdfd.base.errors import AsdfdError, InputError, RefusedError
from asdfd.cli.main import main
from asdfd.registry.listing import problems
from asdfd.registry.publication import Pushed, push
from asdfd.registry.signing import SIGNING_KEY, VERIFYING_KEYS
from asdfd.registry.versions import resolve
from asdfd.storage.objects import ObjectStore, open_objects
from tests.registry.makers import make_judged, run_of


def make_key(folder: Path, name: str, *kind: str) -> tuple[Path, Path]:
    """A key pair, made as the documentation says."""
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    subprocess.run(["openssl", "genpkey", *(kind or ("-algorithm", "ed25519")), "-out", str(private)], check=True, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", str(private), "-pubout", "-out", str(public)], check=True, capture_output=True)
    return private, public


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A key pair that the environment names."""
    private, public = make_key(tmp_path, "key")
    monkeypatch.setenv(SIGNING_KEY, str(private))
    monkeypatch.setenv(VERIFYING_KEYS, str(public))
    return private, public


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_objects(str(tmp_path / "registry"))


def pushed(store: ObjectStore, folder: Path, *, required: bool = True, content: str = "one") -> Pushed:
    run = run_of(store.location, require_signature=required, gate={"champion_margin": 1.0})
    return push(run, make_judged(run, folder, content), {})


def test_a_signed_version_is_accepted_where_signatures_are_asked_for(store: ObjectStore, tmp_path: Path, keys: tuple[Path, Path]) -> None:
    version = pushed(store, tmp_path / "run")
    assert resolve(store, "tiny@staging", signed=True).version == version.version
    assert problems(store, signed=True) == (1, [])
    assert "PRIVATE" in keys[0].read_text()
    secret = "".join(keys[0].read_text().splitlines()[1:-1])
    assert all(secret.encode() not in store.read(info.key)[0] for info in store.list(""))


def test_the_signature_is_a_plain_ed25519_one_that_openssl_verifies(store: ObjectStore, tmp_path: Path, keys: tuple[Path, Path]) -> None:
    version = pushed(store, tmp_path / "run")
    (info,) = store.list("signatures/")
    manifest = store.read(f"models/tiny/versions/{version.version}/manifest.json")[0]
    (tmp_path / "signed").write_bytes(b"asdfd version manifest\n" + manifest)
    signature = json.loads(store.read(info.key)[0])["signature"]
    decoded = subprocess.run(["base64", "-d"], input=signature.encode(), capture_output=True, check=True).stdout
    (tmp_path / "signature").write_bytes(decoded)
    command = [
        "openssl",
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        str(keys[1]),
        "-rawin",
        "-in",
        str(tmp_path / "signed"),
        "-sigfile",
        str(tmp_path / "signature"),
    ]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_what_is_not_signed_or_by_another_key_is_refused(store: ObjectStore, tmp_path: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SIGNING_KEY)
    version = pushed(store, tmp_path / "run", required=False)
    with pytest.raises(RefusedError, match=rf"tiny@{version.version}: is not signed, and registry.require_signature asks for it"):
        resolve(store, "tiny@staging", signed=True)
    assert resolve(store, "tiny@staging", signed=False).version == version.version
    other = make_key(tmp_path, "other")
    monkeypatch.setenv(SIGNING_KEY, str(other[0]))
    with pytest.raises(RefusedError, match="its signature was made with none of the keys in ASDFD_VERIFYING_KEYS"):
        pushed(store, tmp_path / "two", content="two")
    monkeypatch.setenv(VERIFYING_KEYS, f"{keys[1]}:{other[1]}")  # while keys are being changed, both are trusted
    assert resolve(store, f"tiny@{pushed(store, tmp_path / 'three', content='three').version}", signed=True)


def test_a_champion_that_is_not_signed_is_none_to_compare_with(
    store: ObjectStore, tmp_path: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SIGNING_KEY)
    pushed(store, tmp_path / "run", required=False)
    monkeypatch.setenv(SIGNING_KEY, str(keys[0]))
    run = run_of(store.location, require_signature=True)
    with pytest.raises(RefusedError, match=r"champion_margin: tiny@\w+: is not signed.*set gate.champion_margin=1 to do without the comparison"):
        push(run, make_judged(run, tmp_path / "two", "two"), {})


def test_a_signed_manifest_that_was_changed_is_refused(store: ObjectStore, tmp_path: Path, keys: tuple[Path, Path]) -> None:
    version = pushed(store, tmp_path / "run")
    assert keys[0].exists()
    path = Path(store.location) / "models" / "tiny" / "versions" / version.version / "manifest.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "metrics": {"student_accuracy": 1.0}}))
    with pytest.raises(RefusedError, match="is not signed"):
        resolve(store, f"tiny@{version.version}", signed=True)
    (info,) = store.list("signatures/")
    path.write_text(json.dumps(document))
    Path(store.location, info.key).write_text('{"signature": "AAAA"}')
    with pytest.raises(AsdfdError):
        resolve(store, f"tiny@{version.version}", signed=True)


@pytest.mark.parametrize("setting", [SIGNING_KEY, VERIFYING_KEYS])
@pytest.mark.parametrize("value", ["", "no-such-file", "text", "rsa"])
def test_a_key_that_is_none_is_told_before_anything_is_moved(
    store: ObjectStore, tmp_path: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, setting: str, value: str
) -> None:
    assert all(key.exists() for key in keys)
    (tmp_path / "text").write_text("no key")
    if value == "rsa":
        make_key(tmp_path, "rsa", "-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:2048")
    monkeypatch.setenv(setting, str(tmp_path / {"rsa": "rsa.pem" if setting == SIGNING_KEY else "rsa.pub"}.get(value, value)) if value else "")
    with pytest.raises(InputError, match=rf"{setting}") as caught:
        pushed(store, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert store.list("aliases/") == []


def test_a_push_signs_where_a_key_is_mounted_and_a_promotion_verifies(
    tmp_path: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the commands, as a pod and a CI job run them: the environment names the keys, and no parameter is needed to sign."""
    location = str(tmp_path / "registry")
    run = run_of(location)
    folders = make_judged(run, tmp_path / "run", "one")
    where = ["--registry", location, "--set", "registry.name=tiny"]
    assert main(["push", *(word for kind, folder in folders.items() for word in (f"--{kind}", str(folder))), *where]) == 0
    assert len(open_objects(location).list("signatures/")) == 1
    promote = ["promote", "tiny@staging", "--to", "production", "--data", "no.csv", "--reason", "why", *where, "--set", "registry.require_signature=true"]
    capsys.readouterr()
    assert main(promote) == 2
    assert "its teacher was a local folder" in capsys.readouterr().err, "the signature was verified, and the next thing is looked at"
    monkeypatch.setenv(VERIFYING_KEYS, str(make_key(tmp_path, "other")[1]))
    assert main(promote) == 3
    assert "its signature was made with none of the keys in ASDFD_VERIFYING_KEYS; do not use it" in capsys.readouterr().err
    monkeypatch.delenv(VERIFYING_KEYS)
    assert main(promote) == 2
    assert "registry.require_signature: ASDFD_VERIFYING_KEYS is not set" in capsys.readouterr().err
    assert open_objects(location).list("aliases/tiny/production") == []
    assert keys[0].exists()
