"""The live view: what a person in front of a terminal sees of the steps at work, in one place of the screen. Anywhere else events become plain lines."""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from asdfd.base.errors import StoppedError
from asdfd.base.interruption import Interrupted, StopRequest
from asdfd.base.telemetry import Event, Hear, clock_time, emit, heard_by, time_left

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

MARKS = {"waiting": "·", "running": "●", "finished": "✓", "skipped": "✓", "failed": "✗", "stopped": "■"}
PLAIN_MARKS = {"waiting": ".", "running": "*", "finished": "+", "skipped": "+", "failed": "x", "stopped": "-"}
"""For a terminal whose encoding has no others."""
STYLES = {"waiting": "dim", "running": "bold cyan", "finished": "green", "skipped": "green", "failed": "bold red", "stopped": "yellow"}
BAR = 24
"""Characters of a bar."""
WIDE = 72
"""Columns from which there is room for bars."""
CAN_STOP = "Ctrl-C stops at the next checkpoint; the same command goes on from there"
STOPPING = "stopping at the next checkpoint; Ctrl-C again stops at once"


def is_live_terminal() -> bool:
    """Whether a person sits in front of stdout and stderr, and what they show can be drawn anew."""
    drawn_anew = sys.stdout.isatty() and sys.stderr.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb", "unknown")
    return drawn_anew and find_spec("rich") is not None  # which the serving image does without


@contextmanager
def watching(arguments: argparse.Namespace, stop: StopRequest) -> Iterator[None]:
    """Show the step of a verb while it is at work in this block, where there is a terminal to show it on."""
    with watching_tasks(arguments, stop, (arguments.verb,)) as hear:
        if hear is None:
            yield
            return
        with heard_by(hear):
            emit("started", task=arguments.verb)
            yield
            emit("finished")


@contextmanager
def watching_tasks(arguments: argparse.Namespace, stop: StopRequest, tasks: Sequence[str]) -> Iterator[Hear | None]:
    """Show these tasks while this block runs. What it yields is to be told their events; it is None where there is no terminal to show them on."""
    if arguments.json or not is_live_terminal():
        yield None
        return
    with live_view(tasks, stop) as hear:
        yield hear


@contextmanager
def live_view(tasks: Sequence[str], stop: StopRequest) -> Iterator[Hear]:
    """Show these tasks while this block runs; what it yields is to be told their events. The last state stays on the screen."""
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    view = View(tasks, stop, ascii_only=not console.encoding.startswith("utf"))
    view.print_above = console.print
    announce, stop.announce = stop.announce, view.refresh_later
    try:
        with Live(get_renderable=lambda: view.frame(*_size(console)), console=console, refresh_per_second=5, vertical_overflow="visible"):
            try:
                yield view.hear
            except BaseException as error:
                if not view.status:  # a run in a cluster goes on, whatever ends the waiting for it
                    view.end("stopped" if isinstance(error, StoppedError | Interrupted) else "failed")
                raise
            finally:
                view.closed = True
    finally:
        stop.announce = announce


def _size(console: Console) -> tuple[int, int]:
    """Columns and lines; the last column and the last line are left free, for the cursor."""
    return max(20, console.width - 1), max(2, console.height - 1)


@dataclass
class Task:
    """A step, all of its processes together: a pod that is lost has another one after it."""

    name: str
    state: str = "waiting"
    began: float = 0.0
    seconds: float = 0.0
    """How long it took, once it is over."""
    processes: set[Any] = field(default_factory=set)
    bars: dict[tuple[Any, str], Event] = field(default_factory=dict)
    """The last event of progress of each process and title."""
    note: str = ""
    """The last figures."""


class View:
    """What is known of the tasks, and how it is drawn."""

    def __init__(self, tasks: Sequence[str], stop: StopRequest, clock: Callable[[], float] = time.monotonic, *, ascii_only: bool = False) -> None:
        self.tasks = {name: Task(name) for name in tasks}
        self.closed = False
        """Whether nothing changes any more: the whole state is drawn, however high the terminal is."""
        self.status = ""
        """What is said of all of it, below the tasks."""
        self.print_above: Callable[[str], None] = print
        """Shows a line that stays, above the view."""
        self._stop, self._clock, self._ascii = stop, clock, ascii_only
        self._began = clock()
        self._of: dict[Any, Task] = {}
        self._lock = threading.RLock()

    def hear(self, event: Event) -> None:
        """Take in an event."""
        if event["event"] == "told":
            self.print_above(f"asdfd: {event['line']}")
            return
        with self._lock:
            self._take(event["event"], event)

    def _take(self, kind: str, event: Event) -> None:
        if kind == "state":
            self.status = event["line"]
            return
        if kind in ("starting", "skipped"):
            task = self.tasks.get(event["task"])
            if task is not None and not task.processes and task.state in ("waiting", "running"):
                task.state, task.began = ("running", task.began or self._clock()) if kind == "starting" else ("skipped", 0.0)
            return
        pid = event["pid"]
        if kind == "started":
            task = self._of[pid] = self._named(event["task"])
            if task.state != "running":
                task.began = task.began or self._clock() - event.get("ago", 0.0)
            task.state = "running"
            task.processes.add(pid)
        elif (task := self._of.get(pid)) is None:
            return  # of something that began before anybody listened
        elif kind == "progress":
            task.bars[pid, event["title"]] = event
            task.note = event["note"] or task.note
        elif kind in ("finished", "failed"):
            self._leave(task, pid, "finished" if kind == "finished" else "stopped" if event["stopped"] else "failed", event.get("ago", 0.0))

    def _named(self, name: str) -> Task:
        return self.tasks.setdefault(name, Task(name))

    def _leave(self, task: Task, pid: Any, state: str, ago: float = 0.0) -> None:
        """One of a task's processes ended, so many seconds ago."""
        task.processes.discard(pid)
        task.bars = {place: bar for place, bar in task.bars.items() if place[0] != pid}
        task.seconds = self._clock() - ago - task.began
        if state != "finished" or (not task.processes and task.state == "running"):
            task.state = state

    def end(self, state: str) -> None:
        """Nothing goes on: what still ran ended in this state."""
        with self._lock:
            for task in self.tasks.values():
                for pid in list(task.processes):
                    self._leave(task, pid, state)
                if task.state == "running":  # its process was to begin
                    task.seconds, task.state = self._clock() - task.began, state

    def refresh_later(self) -> None:
        """Nothing: the next drawing sees what was asked for. In place of a line on the screen."""

    def frame(self, width: int, height: int) -> Text:
        """The view as lines of at most `width` columns, and while it lives at most `height` lines."""
        from rich.text import Text

        with self._lock:
            lines = [line for task in self.tasks.values() for line in self._lines(task, width)]
        if not self.closed:
            elapsed = clock_time(self._clock() - self._began)
            if self._stop():
                lines.append(("", f"  {elapsed}  {STOPPING}", "yellow"))
            elif self.status or self._stop.patient:
                lines.append(("", f"  {elapsed}  {self.status or CAN_STOP}", "dim"))
            lines = _fitting(lines, height)
        shown = [Text(text, style=style, no_wrap=True) for _, text, style in lines]
        for line in shown:
            line.truncate(width, overflow="ellipsis")
        return Text("\n").join(shown)

    def _lines(self, task: Task, width: int) -> Iterator[tuple[str, str, str]]:
        """State, text and style of each line of a task."""
        mark = (PLAIN_MARKS if self._ascii else MARKS)[task.state]
        names = max(16, *(len(name) for name in self.tasks))
        running = task.state == "running"
        took = self._clock() - task.began if running else task.seconds
        said = "finished before" if task.state == "skipped" else "" if task.state == "waiting" else f"{clock_time(took):>7}"
        head = f"  {mark} {task.name:<{names}}{said}".rstrip()
        yield task.state, f"{head}   {task.note}" if task.note and not running else head, STYLES[task.state]
        if running:
            for event in task.bars.values():
                yield task.state, f"      {self._bar(task, event, width)}", ""
            if task.note:
                yield task.state, f"      {task.note}", ""

    def _bar(self, task: Task, event: Event, width: int) -> str:
        """One line of progress: what of the task, how much of it, and the time that is left."""
        what, _, unit = event["title"].rpartition(", ")
        done, total = event["done"], event["total"]
        part = what.removeprefix(task.name).strip()
        counted = f"{done:,}/{total:,} {unit}"
        left = f"{clock_time(time_left(event))} left"
        if width < WIDE:
            return f"{part + ' ' if part else ''}{counted}, {100 * done // total} %, {left}"
        full = BAR * done // total
        bar = ("=" if self._ascii else "━") * full + ("-" if self._ascii else "╌") * (BAR - full)
        return f"{f'{part:<10} ' if part else ''}{bar} {100 * done // total:>3} %  {counted}, {left}"


def _fitting(lines: list[tuple[str, str, str]], height: int) -> list[tuple[str, str, str]]:
    """The lines that a low terminal has room for: those of the tasks at work, before what is over and what is still to come."""
    for dispensable in ("skipped", "finished", "waiting", ""):
        while len(lines) > height and (found := [number for number, line in enumerate(lines) if line[0] == dispensable]):
            del lines[found[0] if dispensable != "waiting" else found[-1]]
    return lines[:height]
