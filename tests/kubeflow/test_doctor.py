"""`asdfd doctor` with real servers: each part is fine, failing with a remedy, or not configured; and the exit code that follows."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asdfd.base.errors import InputError
from asdfd.cli import doctor
from asdfd.kubeflow import client
from asdfd.storage import s3_connection
from tests.kubeflow.conftest import PLACES, Command
from tests.servers import kubernetes_api
from tests.servers.ceph import Ceph
from tests.servers.kfp_api import Server
from tests.servers.proxy import running_proxy


def findings(result: dict[str, Any]) -> dict[str, str]:
    """State of every part."""
    return {found["part"]: found["state"] for found in result["findings"]}


def detail(result: dict[str, Any], part: str) -> str:
    """What is said of a part."""
    return next(found["detail"] for found in result["findings"] if found["part"] == part)


def test_nothing_configured_is_no_fault(json_of: Callable[..., Any]) -> None:
    result = json_of("doctor", "--pipeline", "none.yaml")
    assert result["ok"] is True
    parts = ["Kubeflow Pipelines", "image", "registry", "S3", "Pushgateway"]
    assert {part: findings(result)[part] for part in parts} == dict.fromkeys(parts, "not configured")
    assert detail(result, "Kubeflow Pipelines") == "to submit runs, set KF_PIPELINES_ENDPOINT, for example http://localhost:8888"
    assert list(Path().iterdir()) == []


def test_what_is_there_is_found(
    server: Server, compiled_pipeline: Path, pushgateway: str, json_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", server.address)
    monkeypatch.setenv("PUSHGATEWAY_URL", pushgateway)
    (tmp_path / "registry").mkdir()
    result = json_of("doctor", "--pipeline", compiled_pipeline)
    expected = {"Kubeflow Pipelines": "ok", "image": "ok", "registry": "ok", "S3": "not configured", "Pushgateway": "ok"}
    assert {part: findings(result)[part] for part in expected} == expected
    assert detail(result, "Kubeflow Pipelines") == f"{server.address}, 2.17.0"
    assert server.state.changes == 0
    assert list((tmp_path / "registry").rglob("*.json")) == [], "nothing stays of what was tried"


@pytest.mark.parametrize(
    ("version", "state"), [("2.16.1", "failing"), ("v2.4.0", "failing"), ("1.8.22", "failing"), ("2.17.0", "ok"), ("2.20.1", "ok"), ("3.0.0", "ok")]
)
def test_a_server_that_is_too_old_is_refused_and_nothing_is_sent_to_it(
    version: str, state: str, server: Server, compiled_pipeline: Path, json_of: Callable[..., Any], command: Command
) -> None:
    server.state.version = version
    result = json_of("doctor", "--endpoint", server.address, "--pipeline", compiled_pipeline, code=2 if state == "failing" else 0)
    assert findings(result)["Kubeflow Pipelines"] == state
    if state == "failing":
        line = f"{server.address}: is Kubeflow Pipelines {version.removeprefix('v')}, and the pipeline needs 2.17: "
        assert detail(result, "Kubeflow Pipelines").startswith(line)
        code, _, err = command("submit", "--endpoint", server.address, "--pipeline", compiled_pipeline, *PLACES)
        assert code == 2
        assert err.startswith(f"asdfd: {line}")
        assert server.state.changes == 0


def test_a_server_that_does_not_tell_its_release_is_tried(server: Server, compiled_pipeline: Path, json_of: Callable[..., Any]) -> None:
    server.state.version = "unknown"
    result = json_of("doctor", "--endpoint", server.address, "--pipeline", compiled_pipeline)
    assert detail(result, "Kubeflow Pipelines") == f"{server.address}, a release that it does not name"


def test_who_may_not_start_runs_is_told_and_none_is_started(server: Server, compiled_pipeline: Path, json_of: Callable[..., Any]) -> None:
    words = ["--endpoint", server.address, "--pipeline", compiled_pipeline]
    json_of("submit", *words, *PLACES)
    assert findings(json_of("doctor", *words))["Kubeflow Pipelines"] == "ok"
    server.state.may_start_runs = False
    result = json_of("doctor", *words, code=2)
    assert "the server refuses these credentials (403)" in detail(result, "Kubeflow Pipelines")
    assert len(server.state.runs) == 1


def test_a_registry_that_lets_two_win_is_found_out(ceph: Ceph, compiled_pipeline: Path, json_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with running_proxy(ceph.endpoint) as proxy:
        proxy.dropped_headers = ("If-None-Match",)
        for name, value in ceph.environment(endpoint=proxy.endpoint).items():
            monkeypatch.setenv(name, value)
        location = f"s3://{ceph.bucket()}/registry"
        result = json_of("doctor", "--pipeline", compiled_pipeline, "--set", f"registry.location={location}", code=2)
        assert detail(result, "registry").startswith(f"{location}: takes a write that must not replace anything (If-None-Match), so two who promote at once")
        proxy.dropped_headers = ()
        assert findings(json_of("doctor", "--pipeline", compiled_pipeline, "--set", f"registry.location={location}"))["registry"] == "ok"


def test_the_address_that_kubeflow_has_given_up_is_told(json_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"S3_ENDPOINT": "http://minio-service.kubeflow:9000", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "word"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(s3_connection, "BACKOFF", 0.001)
    result = json_of("doctor", "--set", "registry.location=s3://models/asdfd", code=2)
    assert "since 2.16 Kubeflow's own object store is http://seaweedfs.kubeflow:9000" in detail(result, "S3")


def test_the_cluster_is_looked_at_with_the_sizes_that_a_run_will_ask_for(
    server: Server, compiled_pipeline: Path, json_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = ["doctor", "--endpoint", server.address, "--pipeline", compiled_pipeline]
    with kubernetes_api.running() as kubernetes:
        monkeypatch.setenv("KUBECONFIG", str(kubernetes.kubeconfig(tmp_path)))
        node = {"metadata": {"name": "laptop"}, "spec": {}, "status": {"allocatable": {"cpu": "2", "memory": "8Gi"}}}
        kubernetes.put("/api/v1/nodes", node)
        for kind in ("resourcequotas", "limitranges", "configmaps"):
            kubernetes.put(f"/api/v1/namespaces/kubeflow/{kind}")
        server.state.version = "unknown"
        result = json_of(*words, code=2)
        assert [findings(result)[part] for part in ("nodes", "quotas", "settings of tasks")] == ["ok", "ok", "failing"]
        assert detail(result, "settings of tasks").startswith("namespace kubeflow has no config map asdfd")
        assert "the most that one has is cpu 2" in detail(json_of(*words, "--cluster", "cpu=4", code=2), "nodes")
        assert detail(result, "Kubeflow Pipelines") == f"{server.address}, a release that it does not name"
        kubernetes.put("/api/v1/namespaces/kubeflow/configmaps", {"metadata": {"name": "pipeline-install-config"}, "data": {"appVersion": "2.16.1"}})
        assert "is Kubeflow Pipelines 2.16.1, and the pipeline needs 2.17" in detail(json_of(*words, code=2), "Kubeflow Pipelines")


def test_one_part_that_fails_makes_the_exit_code_2_and_the_others_are_still_shown(
    server: Server, compiled_pipeline: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUSHGATEWAY_URL", server.address)
    code, out, err = command("doctor", "--endpoint", server.address, "--pipeline", compiled_pipeline)
    assert (code, err) == (2, "")
    lines = out.splitlines()
    cluster = ["nodes", "quotas", "settings of tasks"]
    assert [line[:20].strip() for line in lines] == ["Kubeflow Pipelines", *cluster, "image", "registry", "S3", "Pushgateway", "GPU"]
    assert {line[20:36].strip() for line in lines[1:4]} == {"not configured"}, "there is no kubeconfig"
    assert lines[0][20:36].strip() == "ok"
    host = server.address.removeprefix("http://")
    assert lines[7][20:] == f"{'failing':<16}{host}: answers 404; is PUSHGATEWAY_URL the address of a Pushgateway?"


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("closed", "cannot be reached (Connection refused); start it, or unset PUSHGATEWAY_URL: runs go on without it"),
        ("ftp://host", "PUSHGATEWAY_URL is not an address of a server; write it as http://HOST:9091"),
        ("http://me:secret@127.0.0.1:1", "PUSHGATEWAY_URL holds a password"),
        ("http://me:sec/ret@127.0.0.1:1", "PUSHGATEWAY_URL holds a password"),
        ("me:secret@127.0.0.1:1", "PUSHGATEWAY_URL holds a password"),
    ],
)
def test_a_pushgateway_that_cannot_be_used(url: str, line: str, json_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    if url == "closed":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            url = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("PUSHGATEWAY_URL", url)
    result = json_of("doctor", code=2)
    assert line in detail(result, "Pushgateway")
    assert not [word for word in ("secret", "sec", "me:") if word in detail(result, "Pushgateway")]


def test_a_pushgateway_that_does_not_answer(server: Server, json_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    server.faults.stalled = True
    monkeypatch.setattr(doctor, "ANSWER_SECONDS", 0.2)
    monkeypatch.setenv("PUSHGATEWAY_URL", server.address)
    assert "no answer within 0.2 s" in detail(json_of("doctor", code=2), "Pushgateway")


@pytest.mark.parametrize(
    ("image", "moves"),
    [
        ("asdfd:latest", True),
        ("registry.example:5000/asdfd", True),
        ("asdfd:main", True),
        ("registry.example:5000/team/asdfd:0.1.0", False),
        ("asdfd@sha256:" + "0" * 64, False),
        ("asdfd:latest@sha256:" + "0" * 64, False),
    ],
)
def test_an_image_that_moves_is_found(image: str, moves: bool, compiled_pipeline: Path, json_of: Callable[..., Any], tmp_path: Path) -> None:
    from asdfd.kubeflow.compiled import read_compiled

    (named,) = read_compiled(compiled_pipeline).images
    (tmp_path / "other.yaml").write_text(compiled_pipeline.read_text(encoding="utf-8").replace(f"image: {named}", f"image: {image}"), encoding="utf-8")
    result = json_of("doctor", "--pipeline", "other.yaml", code=2 if moves else 0)
    assert findings(result)["image"] == ("failing" if moves else "ok")
    assert image in detail(result, "image")


@pytest.mark.slow
def test_an_s3_server_that_is_not_there(json_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3_ENDPOINT", "http://127.0.0.1:1")
    result = json_of("doctor", code=2)
    assert detail(result, "S3").startswith("http://127.0.0.1:1: no credentials; set AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-word")
    result = json_of("doctor", "--set", "registry.location=s3://models/asdfd", code=2)
    assert (findings(result)["S3"], findings(result)["registry"]) == ("failing", "failing")
    assert "the server cannot be reached" in detail(result, "S3")
    assert "secret-word" not in str(result)


def test_a_gpu_that_is_asked_for_and_missing_fails(json_of: Callable[..., Any]) -> None:
    """On a machine with a GPU it is named instead."""
    import torch

    present = torch.cuda.is_available()
    result = json_of("doctor", "--set", "device=cuda", code=0 if present else 2)
    assert findings(result)["GPU"] == ("ok" if present else "failing")


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, command: Command, compiled_pipeline: Path) -> None:
    """The extra is installed here, so its import is made to fail as it does where it is not."""
    monkeypatch.setitem(sys.modules, "kfp_server_api", None)
    code, _, err = command("upload", "--endpoint", "http://127.0.0.1:1", "--pipeline", compiled_pipeline)
    assert (code, err) == (2, "asdfd: this needs the extra `kubeflow`: pip install 'asdfd[kubeflow]'\n")
    with pytest.raises(InputError, match="the extra `kubeflow`"):
        client.connect("http://127.0.0.1:1")
