"""A Pushgateway that is not there, hangs, drips or refuses costs a run little and never its result."""

from __future__ import annotations

import http.server
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from asdfd.base import artifacts
from asdfd.base.artifacts import Recipe, Workspace, open_workspace
from asdfd.base.config import Registry, Run
from asdfd.base.errors import InputError, StoppedError
from asdfd.monitoring import metrics, prometheus
from asdfd.monitoring.metrics import Sample
from asdfd.monitoring.observation import observe, text_path
from tests.patience import PATIENCE
from tests.servers.prometheus import Monitoring, free_ports, until

SAMPLES = [Sample(metrics.RUN_SUCCESS, 1.0)]
GROUP = prometheus.group_of("model", "run")
RUN = Run(registry=Registry(name="model"))


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[tuple[str, list[int]]]:
    """A server that does something else than it should with every connection: its address, and a list with an entry for each connection."""
    connections: list[int] = []
    ended = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection:
            connection.recv(65536)
            while not ended.wait(0.02):
                try:
                    answer(connection)
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connections.append(1)
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}", connections
        finally:
            ended.set()
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextmanager
def answering(status: int) -> Iterator[tuple[str, list[int]]]:
    """A server that answers every push with a status."""
    requests: list[int] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            requests.append(1)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", requests
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses are short and the servers are waited for; what the times really are is tested as well."""
    assert (prometheus.TIMEOUT_SECONDS, prometheus.RETRIES, prometheus.MOST_SECONDS) == (5.0, 2, 16.0)
    monkeypatch.setattr(prometheus, "TIMEOUT_SECONDS", PATIENCE)
    monkeypatch.setattr(prometheus, "PAUSE_SECONDS", 0.01)


def workspace(tmp_path: Path) -> Workspace:
    """The workspace of a task."""
    opened = open_workspace(tmp_path / "out", Recipe("bank"))
    assert isinstance(opened, Workspace)
    (opened.artifact / "content").write_text("content")
    return opened


def test_without_a_url_nothing_is_pushed_and_nothing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delenv("PUSHGATEWAY_URL", raising=False)
    with observe(RUN, "synthesize", opened := workspace(tmp_path)):
        opened.finish({})
    assert 'asdfd_task_success{model="model",pipeline="compress",task="synthesize"} 1.0' in text_path(tmp_path / "out").read_text()
    assert not prometheus.push(GROUP, SAMPLES)
    assert caplog.records == []


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (port,) = free_ports(1)
    monkeypatch.setenv("PUSHGATEWAY_URL", f"http://user:secret@127.0.0.1:{port}")
    with observe(RUN, "synthesize", opened := workspace(tmp_path)):
        opened.finish({})
    assert artifacts.read(tmp_path / "out", "bank").recipe.kind == "bank"
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"metrics of synthesize were not pushed to 127.0.0.1:{port}: ")
    assert "secret" not in record.getMessage()


@pytest.mark.parametrize("answer", [lambda _: None, lambda connection: connection.sendall(b"H")], ids=["silent", "dripping"])
def test_an_attempt_ends_when_its_time_is_over_whatever_the_server_does(
    answer: Callable[[socket.socket], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Three attempts; an answer that drips would never end."""
    monkeypatch.setattr(prometheus, "TIMEOUT_SECONDS", 0.3)
    with listening(answer) as (url, connections):
        monkeypatch.setenv("PUSHGATEWAY_URL", url)
        began = time.monotonic()
        assert not prometheus.push(GROUP, SAMPLES)
        assert time.monotonic() - began >= 0.9
        until(lambda: len(connections) == 3, "all attempts to reach the server")
    assert len(caplog.records) == 1


@pytest.mark.parametrize(("status", "attempts"), [(400, 1), (500, 3), (202, 1)])
def test_what_is_refused_is_not_tried_again(status: int, attempts: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    with answering(status) as (url, requests):
        monkeypatch.setenv("PUSHGATEWAY_URL", url)
        assert prometheus.push(GROUP, SAMPLES) == (status == 202)
    assert len(requests) == attempts
    assert [f"HTTP {status}" in record.getMessage() for record in caplog.records] == [True] * (status != 202)


@pytest.mark.parametrize("url", ["nonsense", "http://", "http://[", "http://127.0.0.1:port", "ftp://127.0.0.1:1"])
def test_an_address_that_is_none_fails_no_run(url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("PUSHGATEWAY_URL", url)
    assert not prometheus.push(GROUP, SAMPLES)
    assert len(caplog.records) == 1


def test_without_the_extra_one_line_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The library is there in tests; that it is missing is the one thing played here."""
    monkeypatch.setattr(prometheus, "find_spec", lambda _: None)
    monkeypatch.setenv("PUSHGATEWAY_URL", "http://127.0.0.1:1")
    with observe(RUN, "synthesize", opened := workspace(tmp_path)):
        opened.finish({})
    assert not text_path(tmp_path / "out").exists()
    assert {record.getMessage() for record in caplog.records} == {"metrics need the extra `prometheus`: pip install 'asdfd[prometheus]'; none are exported"}


def test_a_failure_keeps_the_last_success_and_what_stops_is_neither(gateway: Monitoring) -> None:
    run = Run(registry=Registry(name="a/model with ümlaut"))
    which = '{model="a/model with ümlaut",task="push"}'
    with observe(run, "push"):
        pass
    until(lambda: gateway.value(f"asdfd_task_success{which}") == 1, "the success")
    succeeded = gateway.value(f"asdfd_task_last_success_timestamp_seconds{which}")
    assert succeeded is not None
    with pytest.raises(StoppedError), observe(run, "push"):
        raise StoppedError("stopped")
    with pytest.raises(InputError), observe(run, "push"):
        raise InputError("wrong")
    until(lambda: gateway.value(f"asdfd_task_success{which}") == 0, "the failure")
    assert gateway.value(f"asdfd_task_last_success_timestamp_seconds{which}") == succeeded
    assert (gateway.value(f"asdfd_task_last_completion_timestamp_seconds{which}") or 0) > succeeded


def test_a_port_that_cannot_be_had_fails_no_run(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delenv("PUSHGATEWAY_URL", raising=False)
    with socket.create_server(("0.0.0.0", 0)) as taken:
        for port in (str(taken.getsockname()[1]), "http", "99999"):
            monkeypatch.setenv("ASDFD_METRICS_PORT", port)
            with prometheus.serving(GROUP, lambda: SAMPLES):
                pass
    assert [record.getMessage().startswith("ASDFD_METRICS_PORT=") for record in caplog.records] == [True] * 3


def test_of_the_processes_of_a_task_one_speaks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RANK", "1")
    with observe(RUN, "distill", opened := workspace(tmp_path)) as samples:
        samples.append(SAMPLES[0])
        opened.finish({})
    assert not text_path(tmp_path / "out").exists()
