"""Metric records: one JSON object a line in metrics.jsonl, and what a person sees while waiting."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from asdfd.base.artifacts import write_atomically

Record = Mapping[str, float | int]
"""One metric record; it always holds `step`."""

PLAIN_LINE_SECONDS = 15.0
"""Seconds between two plain progress lines where there is no terminal."""


def append_record(path: Path, record: Record) -> None:
    """Append a record to metrics.jsonl; a value that is not finite is written as null, since NaN is not JSON."""
    finite = {name: value if math.isfinite(value) else None for name, value in record.items()}
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(finite) + "\n")


def read_records(path: Path) -> list[dict[str, float | None]]:
    """All records of a metrics.jsonl; a last line that a crash cut short is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1] if line]


def keep_records_until(path: Path, step: int) -> None:
    """Drop the records after `step`: a resumed run writes them again."""
    records = [record for record in read_records(path) if (record["step"] or 0) <= step]
    write_atomically(path, "".join(json.dumps(record) + "\n" for record in records))


RUN_FOLDER = "ASDFD_RUN_FOLDER"
"""Environment variable of the tasks of `asdfd run`: its --out. What they have to tell they write as events then, which it shows."""
EVENT = "\x1easdfd "
"""Start of an event, a line on stderr with a JSON object; it may come after something that a library left unfinished on the line."""


def emit(event: str, **content: Any) -> None:
    """Tell `asdfd run` something; without one that listens, nothing happens."""
    if os.environ.get(RUN_FOLDER):
        print(EVENT + json.dumps({"event": event, "pid": os.getpid(), **content}), file=sys.stderr, flush=True)


def tell(line: str) -> None:
    """Say something that the user should know, on stderr; in a task of `asdfd run`, which shows it."""
    if os.environ.get(RUN_FOLDER):
        emit("told", line=line)
    else:
        print(f"asdfd: {line}", file=sys.stderr, flush=True)


class Progress:
    """Progress with the time that is left: a moving line on a terminal, a plain line now and then in a pod's log."""

    def __init__(self, title: str, total: int, done: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._title, self._total, self._first, self._clock = title, total, done, clock
        self._started = self._shown = clock()
        self._terminal = sys.stderr.isatty()
        self._relayed = bool(os.environ.get(RUN_FOLDER))

    def show(self, done: int, note: str = "") -> None:
        """Say that `done` of the total is done; on a terminal at most ten times a second, elsewhere every 15 seconds and at the end."""
        now = self._clock()
        wait = 0.1 if self._terminal or self._relayed else PLAIN_LINE_SECONDS
        if done < self._total and now - self._shown < wait:
            return
        self._shown = now
        if self._relayed:
            emit("progress", title=self._title, total=self._total, first=self._first, done=done, note=note)
            return
        elapsed = now - self._started
        left = elapsed / max(1, done - self._first) * (self._total - done)
        share = f"{done}/{self._total} ({100 * done // self._total} %)"
        line = f"{self._title} {share}, {clock_time(elapsed)} elapsed, {clock_time(left)} left{', ' + note if note else ''}"
        if self._terminal:
            width = (os.get_terminal_size(sys.stderr.fileno()).columns or 80) - 1  # a terminal that was told no size says 0
            print(f"\r{line[:width]:<{width}}", end="\n" if done >= self._total else "", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)


def clock_time(seconds: float) -> str:
    """Seconds as 2:05, or 1:02:05 from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
