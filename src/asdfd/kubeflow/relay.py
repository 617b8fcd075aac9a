"""What `asdfd run` hears from its tasks: their events are handed on, everything else that is printed goes to a log."""

from __future__ import annotations

import io
import os
import re
import signal
import threading
import time
from collections import defaultdict
from contextlib import suppress
from typing import TextIO

from asdfd.base.interruption import StopRequest
from asdfd.base.telemetry import Event, Hear, read_event

LAST_TASK = "report_status"
"""The task that is done whatever happens, also when a stop was asked for."""

STARTING = re.compile(r"Executing task \S*'([\w-]+)'")
"""What Kubeflow's runner logs of a task whose process it is about to start, which takes seconds."""
SKIPPED = re.compile(r"^Task ([\w-]+) cache hit")
"""What Kubeflow's runner logs of a task that it takes from its cache."""


class Relay(io.TextIOBase):
    """A stream that takes stdout's place while the tasks run. Threads write to it side by side; a line is put together for each of them."""

    def __init__(self, log: TextIO, stop: StopRequest, hear: Hear) -> None:
        self.failure: Event = {}
        """What ended a task first."""
        self._log, self._stop, self._tell = log, stop, hear
        self._lines: defaultdict[int, str] = defaultdict(str)
        self._running: dict[int, tuple[str, float]] = {}
        self._told: set[str] = set()
        self._lock = threading.RLock()

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, text: str) -> int:
        """Take some text; what a line makes whole is heard."""
        with self._lock:
            *whole, self._lines[threading.get_ident()] = (self._lines[threading.get_ident()] + text).split("\n")
            for line in whole:
                self._hear(line)
        return len(text)

    def flush(self) -> None:
        """Write the log through."""
        with self._lock:
            self._log.flush()

    def pass_on(self) -> None:
        """Ask the running tasks to stop; called by a signal's handler."""
        for pid, (name, _) in list(self._running.items()):
            if name != LAST_TASK:
                self._ask(pid)

    @property
    def running(self) -> list[str]:
        """Tasks that began and did not say that they ended."""
        return [name for name, _ in self._running.values()]

    def _hear(self, line: str) -> None:
        printed, event = read_event(line)
        if printed.strip():
            self._log.write(f"{printed}\n")
        for kind, pattern in (("starting", STARTING), ("skipped", SKIPPED)):
            if found := pattern.search(printed):
                self._tell({"event": kind, "task": found.group(1).replace("-", "_")})
        if event is None:
            return
        kind, pid = event["event"], event["pid"]
        if kind == "told":
            if event["line"] in self._told:  # two tasks that read the same tell the same
                return
            self._told.add(event["line"])
        elif kind == "started":
            self._running[pid] = (event["task"], time.monotonic())
            if self._stop() and event["task"] != LAST_TASK:
                self._ask(pid)
        elif kind == "finished":
            name, began = self._running.pop(pid)
            event = {**event, "task": name, "seconds": time.monotonic() - began}
        elif kind == "failed":
            self._running.pop(pid, None)
            self.failure = self.failure or event
        self._tell(event)

    def _ask(self, pid: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
