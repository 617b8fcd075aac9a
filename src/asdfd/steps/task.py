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
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asdfd.base.artifacts import Artifact, write_atomically
from asdfd.base.errors import AsdfdError, InputError, StoppedError
from asdfd.base.interruption import Interrupted, StopRequest, stop_requests
from asdfd.base.process import quiet_libraries, system_error
from asdfd.base.telemetry import RUN_FOLDER, emit, read_records

if TYPE_CHECKING:
    from asdfd.registry.publication import Pushed

FAILURE = "pipeline/failure.json"
"""File in the folder of an `asdfd run`: what ended a task, for the report of the run's status."""


@contextmanager
def task(name: str, *, patient: bool = False) -> Iterator[StopRequest]:
    """Do the step of the task `name` in this block; the yielded request says whether to stop, and a `patient` step asks it.

    An error that a user can act on ends the process with its exit code and one line; anything else is a defect of ours and keeps its traceback.
    """
    if os.environ.get(RUN_FOLDER):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to `asdfd run` too, which passes it on as SIGTERM, once
    quiet_libraries()
    with stop_requests() as stop:
        stop.patient = patient
        emit("started", task=name)
        try:
            yield stop
        except StoppedError as error:
            _end(name, str(error), stop.exit_code, stopped=True)
        except Interrupted:
            _end(name, f"stopped in the middle of {name}; run the same command again to go on", stop.exit_code, stopped=True)
        except AsdfdError as error:
            _end(name, str(error), error.exit_code)
        except Exception as error:
            line = system_error(error)
            if line is not None:
                _end(name, line, InputError.exit_code)
            _tell(name, f"{type(error).__name__}: {error}", 1, defect=traceback.format_exc())
            raise
        else:
            emit("finished", task=name)


def _end(name: str, message: str, exit_code: int, *, stopped: bool = False) -> None:
    """Say what ended the task and leave."""
    _tell(name, message, exit_code, stopped=stopped)
    print(f"asdfd: {message}", file=sys.stderr, flush=True)
    sys.exit(exit_code)


def _tell(name: str, message: str, exit_code: int, *, stopped: bool = False, defect: str = "") -> None:
    """Tell `asdfd run` what ended the task, and leave it for the report of the status."""
    failure = {"task": name, "message": message, "exit_code": exit_code, "stopped": stopped, "defect": defect}
    emit("failed", **failure)
    if folder := os.environ.get(RUN_FOLDER):
        write_atomically(Path(folder) / FAILURE, json.dumps(failure))


def place(artifact: Any, name: str, workspace: str = "") -> Path:
    """Where a step makes what becomes `artifact`: at `name` below the --out of an `asdfd run`; in a pod in the workspace, or else where Kubeflow wants it."""
    if folder := os.environ.get(RUN_FOLDER):
        artifact.uri = str(Path(folder) / name)
        return Path(artifact.uri)
    return Path(workspace) / name if workspace else Path(artifact.path)


def deliver(made: Artifact, artifact: Any) -> None:
    """Hand what a step made to Kubeflow, by its digest: the same content is known again, wherever it lies."""
    artifact.metadata |= {"kind": made.recipe.kind, "digest": made.digest}
    if made.path != Path(artifact.path):
        shutil.copytree(made.path, artifact.path)


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


def deliver_verdict(verdict: Path, artifact: Any, reasons: Any) -> bool:
    """Hand over the gate's table and its reasons; returns its one answer."""
    document = json.loads((verdict / "verdict.json").read_text(encoding="utf-8"))
    artifact.metadata |= {"passed": document["passed"], "reasons": document["reasons"]}
    shutil.copyfile(verdict / "verdict.md", reasons.path)
    return bool(document["passed"])


def deliver_registered(pushed: Pushed, registered: Any) -> str:
    """Hand over where the student is registered; returns its version."""
    path = place(registered, "pipeline/registered.json")
    write_atomically(path, json.dumps(asdict(pushed), indent=2) + "\n")
    registered.metadata |= {name: value or "" for name, value in asdict(pushed).items()}
    return pushed.version


def final_status(status: Any, pipeline_run: str) -> dict[str, Any]:
    """How a run ended: as Kubeflow says it and, below `asdfd run`, with the error of the task that ended it."""
    told = {"state": str(status.state), "pipeline_run": pipeline_run, "task": "", "error": str(status.error_message or "")}
    folder = os.environ.get(RUN_FOLDER)
    if folder and (path := Path(folder) / FAILURE).exists():
        failure = json.loads(path.read_text(encoding="utf-8"))
        told |= {"state": "CANCELED" if failure["stopped"] else "FAILED", "task": failure["task"], "error": failure["message"]}
    return told
