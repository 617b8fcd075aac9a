"""What `asdfd run` hears from its tasks: their events are shown and kept, everything else that is printed goes to a log."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sys
import threading
import time
from collections import defaultdict
from contextlib import suppress
from typing import Any, TextIO

from asdfd.base.interruption import StopRequest
from asdfd.base.telemetry import EVENT, Progress, clock_time

LAST_TASK = "report_status"
"""The task that is done whatever happens, also when a stop was asked for."""

SKIPPED = re.compile(r"^Task ([\w-]+) cache hit")
"""What Kubeflow's runner logs of a task that it takes from its cache."""


class Relay(io.TextIOBase):
    """A stream that takes stdout's place while the tasks run. Threads write to it side by side; a line is put together for each of them."""

    def __init__(self, log: TextIO, stop: StopRequest) -> None:
        self.failure: dict[str, Any] = {}
        """What ended a task first."""
        self._log, self._stop = log, stop
        self._lines: defaultdict[int, str] = defaultdict(str)
        self._running: dict[int, tuple[str, float]] = {}
        self._told: set[str] = set()
        self._progress: dict[str, Progress] = {}
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
        printed, mark, event = line.partition(EVENT)
        if printed.strip():
            self._log.write(f"{printed}\n")
        if found := SKIPPED.search(printed):
            self._say(f"{found.group(1).replace('-', '_'):<16}finished before")
        if not mark:
            return
        content = json.loads(event)
        kind = content.pop("event")
        if kind == "progress":
            title = content["title"]
            progress = self._progress.setdefault(title, Progress(title, content["total"], content["first"]))
            progress.show(content["done"], content["note"])
        elif kind == "told":
            if content["line"] not in self._told:  # two tasks that read the same tell the same
                self._say(f"asdfd: {content['line']}")
            self._told.add(content["line"])
        elif kind == "started":
            self._running[content["pid"]] = (content["task"], time.monotonic())
            if self._stop() and content["task"] != LAST_TASK:
                self._ask(content["pid"])
        elif kind == "finished":
            self._finished(content["pid"])
        elif kind == "failed":
            self._running.pop(content["pid"], None)
            self.failure = self.failure or content

    def _finished(self, pid: int) -> None:
        name, began = self._running.pop(pid)
        self._say(f"{name:<16}{clock_time(time.monotonic() - began)}")

    def _say(self, line: str) -> None:
        clear = "\r\x1b[K" if sys.stderr.isatty() else ""  # a moving progress line may stand there
        print(f"{clear}{line}", file=sys.stderr, flush=True)

    def _ask(self, pid: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
