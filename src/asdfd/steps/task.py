"""What a task of the pipeline does around its step, in a pod as well as below `asdfd run`: signals, errors, and handing its artifacts to Kubeflow.

Kubeflow's artifacts come in as they are; of them, only `path`, `uri` and `metadata` are used, so that nothing here needs Kubeflow.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from asdfd.base.artifacts import Artifact, write_atomically
from asdfd.base.errors import AsdfdError, InputError, StoppedError, traceback_of
from asdfd.base.interruption import Interrupted, StopRequest, stop_requests
from asdfd.base.process import quiet_libraries, system_error
from asdfd.base.telemetry import RUN_FOLDER, emit, read_records
from asdfd.steps.ending import PATIENCE, PIPELINE_RUN, Ending, failure_note, in_background, leave, shown, take_back

if TYPE_CHECKING:
    from asdfd.registry.publication import Pushed

EARLY = ("plan", "fetch_teacher")
"""Tasks that find a wrong address of the object store out, and need not be patient with it."""
LATE_TRIES = "14"
"""How often the later ones ask a server that is away, nearly three minutes: Kubeflow tries no task again that ended in an error."""


@contextmanager
def task(name: str, location: str | None = None, *, patient: bool = False) -> Iterator[StopRequest]:
    """Do the step of the task `name` in this block; the yielded request says whether to stop, and a `patient` step asks it.

    An error that a user can act on ends the process with its exit code and one line; anything else is a defect of ours and ends it with its traceback. Where
    the `location` of a registry is given, the run's notes beside it tell that the task runs and what ended it.
    """
    if os.environ.get(RUN_FOLDER):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to `asdfd run` too, which passes it on as SIGTERM, once
    quiet_libraries()
    if os.environ.get(PIPELINE_RUN) and name not in EARLY:
        os.environ.setdefault("S3_TRIES", LATE_TRIES)
    notes = _Notes(name, location)
    with stop_requests() as stop:
        stop.patient = patient
        emit("started", task=name)
        notes.begin()
        stop.listeners.append(lambda: notes.stopping(stop.exit_code))
        try:
            yield stop
        except StoppedError as error:
            _end(notes, str(error), stop.exit_code, stopped=True)
        except Interrupted:
            _end(notes, f"stopped in the middle of {name}; run the same command again to go on", stop.exit_code, stopped=True)
        except AsdfdError as error:
            _end(notes, str(error), error.exit_code)
        except Exception as error:
            line = system_error(error)
            if line is not None:
                _end(notes, line, InputError.exit_code)
            defect = traceback_of(error)
            _tell(notes, f"{type(error).__name__}: {error}", 1, defect=defect)
            print(defect.rstrip(), file=sys.stderr, flush=True)
            sys.exit(1)
        else:
            notes.end()
            emit("finished", task=name)


class _Notes:
    """What one task leaves for the exit task of its run."""

    def __init__(self, name: str, location: str | None) -> None:
        self.name = name
        self._location = location
        self._begun: Thread | None = None
        self._stopping: Thread | None = None

    def begin(self) -> None:
        """Say that the task runs, beside its work, and take back what an earlier try of it left."""
        if (location := self._location) is not None:
            note = {"task": shown(self.name)}
            self._begun = in_background(lambda: (take_back(location, f"failed-{self.name}"), leave(location, f"running-{self.name}", note)))

    def stopping(self, exit_code: int) -> None:
        """Say at once, beside everything else, that a signal ends the task: the pod may be gone in a second, and that is for a checkpoint."""
        if (location := self._location) is not None:
            note = failure_note(self.name, f"stopped in the middle of {shown(self.name)}", exit_code, stopped=True)
            self._stopping = in_background(lambda: leave(location, f"failed-{self.name}", note))

    def end(self, failure: Mapping[str, Any] | None = None) -> None:
        """Say that the task ended, and what ended it where that was an error."""
        if self._location is None or self._begun is None:
            return
        self._begun.join(PATIENCE)
        if self._stopping is not None:
            self._stopping.join(PATIENCE)
        if failure is not None:
            leave(self._location, f"failed-{self.name}", failure)
        elif self._stopping is not None:
            take_back(self._location, f"failed-{self.name}")
        take_back(self._location, f"running-{self.name}")


def _end(notes: _Notes, message: str, exit_code: int, *, stopped: bool = False) -> None:
    """Say what ended the task and leave."""
    print(f"asdfd: {message}", file=sys.stderr, flush=True)
    _tell(notes, message, exit_code, stopped=stopped)
    sys.exit(exit_code)


def _tell(notes: _Notes, message: str, exit_code: int, *, stopped: bool = False, defect: str = "") -> None:
    """Tell `asdfd run` what ended the task, and leave it for the exit task."""
    emit("failed", task=notes.name, message=message, exit_code=exit_code, stopped=stopped, defect=defect)
    notes.end(failure_note(notes.name, message, exit_code, stopped=stopped))


def is_in_pod() -> bool:
    """Whether this task runs in a pod of its own, where no folder of the person's machine is: Kubernetes sets the variable in every container."""
    return "KUBERNETES_SERVICE_HOST" in os.environ and not os.environ.get(RUN_FOLDER)


def place(artifact: Any, name: str) -> Path:
    """Where a step makes what becomes `artifact`: at `name` below the --out of an `asdfd run`; in a pod where Kubeflow wants it. From now on it is timed, but
    for one that an earlier try has begun."""
    path = Path(artifact.path)
    if folder := os.environ.get(RUN_FOLDER):
        path = Path(folder) / name
        artifact.uri = str(path)
    if not path.exists() and not path.with_name(f"{path.name}.partial").exists():
        artifact.metadata["began"] = time.monotonic()
    return path


def deliver(made: Artifact, artifact: Any, *sources: Any) -> None:
    """Hand what a step made to Kubeflow, by its digest: the same content is known again, wherever it lies. It tells how long it took to make it and what it was
    made from, the `sources`, where that is known of all of them: in no artifact, since it differs between two equal ones."""
    began = artifact.metadata.pop("began", None)
    artifact.metadata |= {"kind": made.recipe.kind, "digest": made.digest}
    known = [source.metadata.get("seconds") for source in sources]
    if began is not None and None not in known:
        artifact.metadata["seconds"] = sum(known, time.monotonic() - began)
    if made.path != Path(artifact.path):
        shutil.copytree(made.path, artifact.path)


def seconds_of(**artifacts: Any) -> dict[str, float]:
    """What it took to make each of these, by their names, where they tell it."""
    return {name: float(artifact.metadata["seconds"]) for name, artifact in artifacts.items() if "seconds" in artifact.metadata}


def deliver_records(path: Path, records: Any, metrics: Any) -> None:
    """Hand over the records of a distillation, and the last one as its metrics."""
    if os.environ.get(RUN_FOLDER):
        records.uri = str(path)
    else:
        shutil.copyfile(path, records.path)
    deliver_metrics(read_records(path)[-1], metrics)


def deliver_figures(evaluation: Path, metrics: Any, confusion: Any, report: Any) -> None:
    """Hand over an evaluation in the forms that Kubeflow shows. Each is a file, too: an artifact without one is never found in a cache."""
    document = json.loads((evaluation / "metrics.json").read_text(encoding="utf-8"))
    deliver_metrics(document, metrics)
    matrix: list[list[int]] = document.get("confusion_matrix", [])
    if matrix:
        confusion.log_confusion_matrix([each["name"] for each in document["per_class"]], matrix)
    write_atomically(Path(confusion.path), json.dumps(matrix) + "\n")
    shutil.copyfile(evaluation / "report.html", report.path)


def deliver_metrics(document: Mapping[str, Any], metrics: Any) -> None:
    """Hand over the finite numbers of a document; a file of the same is for whoever reads the object store without Kubeflow."""
    numbers = {name: value for name, value in document.items() if isinstance(value, int | float) and math.isfinite(value)}
    for name, value in numbers.items():
        metrics.log_metric(name, value)
    write_atomically(Path(metrics.path), json.dumps(numbers, indent=1) + "\n")


def deliver_verdict(verdict: Path, artifact: Any, reasons: Any, location: str) -> bool:
    """Hand over the gate's table and its reasons; returns its one answer. A rejection is left for the exit task of the run beside the registry."""
    document = json.loads((verdict / "verdict.json").read_text(encoding="utf-8"))
    artifact.metadata |= {name: document[name] for name in ("passed", "reasons", "warnings")}
    shutil.copyfile(verdict / "verdict.md", reasons.path)
    if not document["passed"]:
        leave(location, "rejected", {"line": "; ".join(document["reasons"]) or "the gate gives no reason"})
    return bool(document["passed"])


def deliver_registered(pushed: Pushed, registered: Any) -> str:
    """Hand over where the student is registered, also to the exit task of the run; returns its version."""
    path = place(registered, "pipeline/registered.json")
    write_atomically(path, json.dumps(asdict(pushed), indent=2) + "\n")
    registered.metadata |= {name: value or "" for name, value in asdict(pushed).items()}
    leave(pushed.location, "registered", asdict(pushed))
    return pushed.version


def deliver_ending(ending: Ending, artifact: Any, summary: Any) -> None:
    """Hand over how the run ended: for machines, for whoever looks at the exit task, and as a line of its log, which Kubeflow's API gives away."""
    artifact.metadata |= ending.document()
    Path(summary.path).write_text(ending.markdown(), encoding="utf-8")
    print(ending.log_line(), flush=True)
