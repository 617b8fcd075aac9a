"""How a run of the pipeline ended, told by what its tasks left behind.

Kubeflow hands the exit task of a run no error, and a state that is wrong: COMPLETE for a run that the gate rejected, RUNNING for one that failed. So the tasks
leave notes under a key of the run, beside the registry (`runs/<run>/`) or in the folder of an `asdfd run`:

    running-<task>.json   while the task runs; one that stays was ended from outside, out of memory or with its node
    failed-<task>.json    what ended the task: its line, its exit code, and whether a signal did
    rejected.json         what the gate says against the student
    registered.json       name, version and stage of the student

A note is small and a courtesy: one that cannot be written is missing, and neither changes nor delays how its task ends by more than PATIENCE.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from asdfd.base.artifacts import sha256_of
from asdfd.base.errors import RefusedError
from asdfd.base.telemetry import RUN_FOLDER
from asdfd.storage.objects import ObjectStore, open_objects

PIPELINE_RUN = "ASDFD_PIPELINE_RUN"
"""Environment variable of the tasks in a cluster: the run's identifier, which Kubernetes reads from the pod's label, so that no cache sees it."""
FOLDER = "pipeline/notes"
"""Where the notes lie below the --out of an `asdfd run`."""
PATIENCE = 10.0
"""Seconds that a task waits for a note at the most."""
LONGEST_LINE = 2000
MARKUP = re.compile(r"[\\`*_{}\[\]<>#+!|~&-]")
"""What Markdown may take for markup; with a backslash before it, it is what it is (CommonMark, "Backslash escapes")."""
LOG_MARK = "asdfd-ending "
"""Start of the line in the exit task's log that tells the ending to machines, as JSON: the log is what Kubeflow's API gives away."""
SILENT = "no task left a note: none began, one was killed while it started, or none could write beside the registry; see the run in Kubeflow"
OUTSIDE = "was ended from outside: out of memory, its pod deleted or its node lost; see the pod's events, then run again: what is finished is not done again"

Outcome = Literal["succeeded", "rejected", "failed", "terminated"]
Note = Mapping[str, Any]


@dataclass(frozen=True)
class Ending:
    """How a run ended."""

    outcome: Outcome
    task: str = ""
    """The task that decided it; empty where nobody knows."""
    line: str = ""
    """What a person has to know: the rule that rejected, the error of the failed task, what was registered."""
    exit_code: int = 0
    """Of the failed task; a command that waits for the run ends with it where a user can mend it, see docs/kubeflow.md."""
    version: str = ""
    """The registered version."""

    def document(self) -> dict[str, Any]:
        """The ending for machines."""
        return asdict(self)

    def log_line(self) -> str:
        """The ending as a line of the exit task's log."""
        return LOG_MARK + json.dumps(self.document())

    def markdown(self) -> str:
        """The ending for people. The line is a paragraph: Kubeflow's user interface cuts long lines of a block off. Nothing in it is taken for markup."""
        where = f" in `{self.task}`" if self.task and self.outcome == "failed" else ""
        line = MARKUP.sub(r"\\\g<0>", " ".join(self.line.split()))
        return f"**{self.outcome.capitalize()}**{where}\n" + (f"\n{line}\n" if line else "")


def ending_in(log: str) -> Ending | None:
    """The ending that the log of an exit task tells."""
    for line in reversed(log.splitlines()):
        _, mark, text = line.partition(LOG_MARK)
        if mark:
            with contextlib.suppress(ValueError, TypeError):
                return Ending(**json.loads(text))
    return None


def leave(location: str, name: str, note: Note) -> None:
    """Leave a note of this run; an earlier one of that name is replaced."""
    within(PATIENCE, lambda: _write(location, name, note))


def take_back(location: str, name: str) -> None:
    """Remove a note of this run, if it is there."""
    within(PATIENCE, lambda: _remove(location, name))


def within(seconds: float, action: Callable[[], object]) -> None:
    """Do something that may fail or hang, for so long at the most."""
    thread = in_background(action)
    thread.join(seconds)


def in_background(action: Callable[[], object]) -> threading.Thread:
    """Do something that may fail or hang, beside everything else; it does not outlive the process."""

    def attempt() -> None:
        with contextlib.suppress(Exception):
            action()

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    return thread


def read_notes(location: str, pipeline_run: str) -> dict[str, Note]:
    """All notes of a run by their names.

    Raises:
        InputError: the place cannot be read.
    """
    place = _place(location, pipeline_run)
    if place is None:
        return {}
    store, prefix = place
    keys = [info.key for info in store.list(prefix) if info.key.endswith(".json")]
    return {key.removeprefix(prefix).removesuffix(".json"): json.loads(store.read(key)[0]) for key in keys}


def ending_of(notes: Mapping[str, Note], state: str) -> Ending:
    """What the notes of a run say of its end, and where they say nothing, Kubeflow's `state`."""
    failed = sorted((note for name, note in notes.items() if name.startswith("failed-")), key=lambda note: note["time"])
    running = [note for name, note in notes.items() if name.startswith("running-")]
    if note := notes.get("registered"):
        return Ending("succeeded", "push", f"{note['name']} {note['version']} holds {note['stage']} in {note['location']}", 0, str(note["version"]))
    if errors := [note for note in failed if not note["stopped"]]:
        return _failed(errors[0])
    if note := notes.get("rejected"):
        return Ending("rejected", "push", str(note["line"]), RefusedError.exit_code)
    if failed:
        return Ending("terminated", failed[0]["task"], failed[0]["line"], failed[0]["exit_code"])
    if running:
        return Ending("failed", running[0]["task"], OUTSIDE, 1)
    if state.startswith("CANCEL"):
        return Ending("terminated")
    if state in ("COMPLETE", "SUCCEEDED"):
        return Ending("succeeded", line="as Kubeflow says; the tasks could leave no notes beside the registry")
    return Ending("failed", line=SILENT, exit_code=1)


def _failed(note: Note) -> Ending:
    rejected = note["task"] == "push" and note["exit_code"] == RefusedError.exit_code  # by the gate, against a version that took the stage meanwhile
    return Ending("rejected" if rejected else "failed", note["task"], note["line"], note["exit_code"])


def failure_note(task: str, line: str, exit_code: int, *, stopped: bool) -> Note:
    """The note of a task that ended in an error; the task is called as Kubeflow shows it."""
    return {"task": shown(task), "line": line[:LONGEST_LINE], "exit_code": exit_code, "stopped": stopped, "time": time.time()}


def shown(task: str) -> str:
    """The name of a task as Kubeflow shows it."""
    return task.replace("_", "-")


def _place(location: str, pipeline_run: str) -> tuple[ObjectStore, str] | None:
    """Where the notes of a run lie and how their keys begin."""
    if folder := os.environ.get(RUN_FOLDER):
        return open_objects(str(Path(folder) / FOLDER)), ""
    return (open_objects(location), f"runs/{pipeline_run}/") if location and pipeline_run else None


def _write(location: str, name: str, note: Note) -> None:
    if place := _place(location, os.environ.get(PIPELINE_RUN, "")):
        store, prefix = place
        with tempfile.TemporaryDirectory(prefix="asdfd-note-") as folder:
            path = Path(folder) / "note.json"
            path.write_text(json.dumps(note), encoding="utf-8")
            store.upload(f"{prefix}{name}.json", path, sha256_of(path))


def _remove(location: str, name: str) -> None:
    if place := _place(location, os.environ.get(PIPELINE_RUN, "")):
        store, prefix = place
        store.delete(f"{prefix}{name}.json")
