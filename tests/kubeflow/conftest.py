"""What the tests of the client share: a server, the compiled pipeline, and a command line without settings of the machine."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from asdfd.cli.main import main
from asdfd.kubeflow import client, runs
from asdfd.kubeflow.compiled import LOADER
from tests.patience import PATIENCE
from tests.servers.kfp_api import Server, running

ROOT = Path(__file__).parents[2]
SETTINGS = (
    "KF_PIPELINES_ENDPOINT",
    "KF_PIPELINES_UI_ENDPOINT",
    "KF_PIPELINES_TOKEN_PATH",
    "KF_PIPELINES_SA_TOKEN_PATH",
    "PUSHGATEWAY_URL",
    "S3_ENDPOINT",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "SSL_CERT_FILE",
)
TEACHER = "hf://organisation/classifier@" + "a" * 40
PLACES = ["--teacher", TEACHER, "--set", "registry.location=s3://models/asdfd"]
"""A teacher and a registry that a pod can reach."""


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings, no cluster of the person who runs the tests, an empty working folder, and no waiting between polls."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no-kubeconfig"))
    monkeypatch.setattr(client, "TOKEN_FILE", tmp_path / "no-token")
    monkeypatch.setattr(runs, "POLL_SECONDS", 0.0)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def compiled_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pipeline as `asdfd compile` writes it: the committed file, which tests/pipelines compares with the code."""
    return Path(shutil.copy(ROOT / "pipelines" / "compress.yaml", tmp_path_factory.mktemp("compiled")))


def older_pipeline(compiled_pipeline: Path, field: str) -> str:
    """The text of a pipeline from before its run form had a field that only `plan` reads."""
    documents = list(yaml.load_all(compiled_pipeline.read_text(encoding="utf-8"), LOADER))

    def forget(node: Any) -> None:
        for name in [name for name in node if name in (field, f"pipelinechannel--{field}")] if isinstance(node, dict) else ():
            del node[name]
        for each in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            forget(each)

    forget(documents[0])
    return yaml.dump_all(documents, Dumper=yaml.CSafeDumper)


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command line: its exit code, stdout and stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


@pytest.fixture
def json_of(command: Command) -> Callable[..., Any]:
    """Run a command line with --json that succeeds: its one object."""

    def run(*words: object, code: int = 0) -> Any:
        found, out, err = command(*words, "--json")
        assert found == code, err
        assert out.count("\n") == 1
        return json.loads(out)

    return run


@pytest.fixture(scope="session")
def pushgateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Pushgateway."""
    program = shutil.which("prometheus-pushgateway")
    assert program, "the program prometheus-pushgateway is missing: apt-get install prometheus-pushgateway"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path_factory.mktemp("pushgateway") / "log").open("w")
    with subprocess.Popen([program, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log) as process:
        try:
            address = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + PATIENCE
            while True:
                assert process.poll() is None, "the Pushgateway ended"
                assert time.monotonic() < deadline, "the Pushgateway does not start"
                try:
                    urllib.request.urlopen(f"{address}/-/ready", timeout=PATIENCE).close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield address
        finally:
            process.kill()
            log.close()
