"""The server as a process of its own, and clients that ask it steadily."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.patience import PATIENCE


class Answer(NamedTuple):
    """What came back."""

    status: int
    version: str
    """Of the header that names it; empty where there is none."""
    body: str

    @property
    def document(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass
class Server:
    """A server that runs."""

    process: subprocess.Popen[str]
    log: Path
    """What it writes to stderr."""
    facts: dict[str, Any]
    """What it printed when it was ready."""

    def ask(self, path: str, body: Any = None, method: str = "", headers: Mapping[str, str] | None = None) -> Answer:
        """One request on a connection of its own; a body that is no text is sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.facts["port"], timeout=PATIENCE)
        try:
            return asked(connection, path, body, method, headers)
        finally:
            connection.close()

    def metric(self, name: str) -> float:
        """The value of a metric without labels of its own, or the sum over them."""
        lines = [line for line in self.ask("/metrics").body.splitlines() if line.partition("{")[0] == name]
        assert lines, f"{name} is not exported"
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    @contextmanager
    def held(self) -> Iterator[None]:
        """The server does nothing in this block, and does not notice."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """Ask it to stop, as Kubernetes does; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


def asked(connection: http.client.HTTPConnection, path: str, body: Any = None, method: str = "", headers: Mapping[str, str] | None = None) -> Answer:
    """One request on a connection that stays."""
    sent = body if body is None or isinstance(body, str | bytes) else json.dumps(body)
    connection.request(method or ("GET" if body is None else "POST"), path, sent, dict(headers or {}))
    response = connection.getresponse()
    return Answer(response.status, response.headers.get("asdfd-version", ""), response.read().decode())


@contextmanager
def serving(words: Sequence[str], log: Path, environment: Mapping[str, str] | None = None, port: int = 0) -> Iterator[Server]:
    """`asdfd serve` with these words, on a free port where none is given; it is killed at the end if it still runs."""
    command = [sys.executable, "-m", "asdfd.cli", "serve", *words, "--port", str(port), "--json"]
    own = {**os.environ, **(environment or {})}
    with log.open("w") as stderr, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=own) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, f"the server did not start: {log.read_text()}"
            yield Server(process, log, json.loads(line))
        finally:
            process.kill()


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that has to happen."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


@dataclass
class Load:
    """Clients that ask one after the other without a pause."""

    answers: list[Answer] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """Requests without an answer."""

    @property
    def newest(self) -> str:
        """The version of the newest answer."""
        return self.answers[-1].version if self.answers else ""

    def statuses(self) -> Counter[int]:
        """How many answers there are of each status."""
        return Counter(answer.status for answer in self.answers)


@contextmanager
def steady_load(server: Server, body: Any, clients: int = 3) -> Iterator[Load]:
    """Clients, each on a connection that stays, that ask in this block; every one has its last answer at the end."""
    load, ended = Load(), threading.Event()

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.facts["port"], timeout=PATIENCE)
        while not ended.is_set():
            try:
                load.answers.append(asked(connection, "/classify", body))
            except (OSError, http.client.HTTPException) as error:
                load.failures.append(f"{type(error).__name__}: {error}")
                connection.close()
            time.sleep(0.005)  # the tests share the machine
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        ended.set()
        for thread in threads:
            thread.join()
