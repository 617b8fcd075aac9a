"""Metric records: one JSON object a line in metrics.jsonl, and what a step tells a person who waits.

What is told is an event, a mapping with its kind. It goes to whoever listens in this process (the command line's live view); in a task of `asdfd run` it goes
through stderr to the command, whose relay hands it on; and where nobody listens it becomes a plain line, as logs want it.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
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

Event = Mapping[str, Any]
"""`event` is its kind and `pid` who tells it: `started`, `finished` or `failed` of a task, `progress`, `told`. Of a task without a
process, `starting` is told, or `skipped` where it was finished before."""
Hear = Callable[[Event], None]
"""Who is told events, from any thread."""

_listeners: list[Hear] = []


@contextmanager
def heard_by(hear: Hear) -> Iterator[None]:
    """Have all that this process tells go to `hear` in this block."""
    _listeners.append(hear)
    try:
        yield
    finally:
        _listeners.remove(hear)


def is_heard() -> bool:
    """Whether somebody listens, so that nothing need be written for a log."""
    return bool(_listeners or os.environ.get(RUN_FOLDER))


def emit(event: str, **content: Any) -> None:
    """Tell whoever listens something; without one, nothing happens."""
    told = {"event": event, "pid": os.getpid(), **content}
    if _listeners:
        _listeners[-1](told)
    elif os.environ.get(RUN_FOLDER):
        print(EVENT + json.dumps(told), file=sys.stderr, flush=True)


def read_event(line: str) -> tuple[str, Event | None]:
    """What a library printed on a line of a task's output, and the event that comes after it, where there is one."""
    printed, mark, event = line.partition(EVENT)
    return printed, json.loads(event) if mark else None


def pass_on(lines: Iterable[str]) -> None:
    """Tell what processes that work for this one wrote, as if it were this one's: their events to whoever listens, what libraries printed on stderr."""
    for line in lines:
        printed, event = read_event(line.rstrip("\n"))
        if printed.strip():
            print(printed, file=sys.stderr, flush=True)
        if event is not None:
            emit(**{name: value for name, value in event.items() if name != "pid"})


def tell(line: str) -> None:
    """Say something that the user should know."""
    if is_heard():
        emit("told", line=line)
    else:
        print(f"asdfd: {line}", file=sys.stderr, flush=True)


class Progress:
    """Progress with the time that is left, for whoever listens; where nobody does, a plain line now and then."""

    def __init__(self, title: str, total: int, done: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._title, self._total, self._first, self._clock = title, total, done, clock
        self._started = self._shown = clock()

    def show(self, done: int, note: str = "") -> None:
        """Say that `done` of the total is done: to a listener at most ten times a second, to a log every 15 seconds and at the end."""
        now = self._clock()
        wait = 0.1 if is_heard() else PLAIN_LINE_SECONDS
        if done < self._total and now - self._shown < wait:
            return
        self._shown = now
        event = {"title": self._title, "total": self._total, "first": self._first, "done": done, "elapsed": now - self._started, "note": note}
        if is_heard():
            emit("progress", **event)
        else:
            print(progress_line(event), file=sys.stderr, flush=True)


class Lines:
    """Shows the events of tasks as plain lines, for a log."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._shown: dict[str, float] = {}

    def hear(self, event: Event) -> None:
        """Show an event."""
        match event["event"]:
            case "progress":
                now, title = self._clock(), event["title"]
                if event["done"] >= event["total"] or now - self._shown.setdefault(title, now) >= PLAIN_LINE_SECONDS:
                    self._shown[title] = now
                    self._say(progress_line(event))
            case "told":
                self._say(f"asdfd: {event['line']}")
            case "finished":
                self._say(f"{event['task']:<16}{clock_time(event['seconds'])}")
            case "skipped":
                self._say(f"{event['task']:<16}finished before")
            case _:
                pass

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


def progress_line(event: Event) -> str:
    """What a log shows of an event of progress."""
    done, total, note = event["done"], event["total"], event["note"]
    share = f"{done}/{total} ({100 * done // total} %)"
    return f"{event['title']} {share}, {clock_time(event['elapsed'])} elapsed, {clock_time(time_left(event))} left{', ' + note if note else ''}"


def time_left(event: Event) -> float:
    """Seconds that the rest takes, if it goes on as since the work of this event's process began."""
    return event["elapsed"] / max(1, event["done"] - event["first"]) * (event["total"] - event["done"])


def clock_time(seconds: float) -> str:
    """Seconds as 2:05, or 1:02:05 from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
