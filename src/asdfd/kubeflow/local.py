"""The pipeline on one machine, without a cluster: Kubeflow's own runner does the tasks, each in a process of its own.

The tasks work in the folder of the run, so that what is finished is found again. Everything else, the runner's log, its cache and the status, lies
in its folder `pipeline`.
"""

from __future__ import annotations

import builtins
import json
import logging
import shlex
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from asdfd.base import artifacts
from asdfd.base.artifacts import Artifact
from asdfd.base.config import Run
from asdfd.base.errors import AsdfdError, InputError, RefusedError, RemoteTraceback, StoppedError
from asdfd.base.form import filled_in
from asdfd.base.interruption import StopRequest
from asdfd.base.locking import sole_process
from asdfd.base.telemetry import RUN_FOLDER, Hear, Lines
from asdfd.kubeflow.compilation import compiled_text, local_form
from asdfd.kubeflow.relay import Relay
from asdfd.steps.planning import check_reference

TASKS = ("plan", "fetch_teacher", "synthesize", "distill", "evaluate", "push", "report_status")
"""Tasks of the pipeline, in the order in which they begin."""
ROLES = ("teacher", "bank", "student", "export", "evaluation", "verdict")
PROGRAM = "python3 -m kfp.dsl.executor_main"
"""How each task's command begins its program."""
FOLDER = "pipeline"
OF_THEIR_TIME = ("verdict", f"{FOLDER}/registered.json", f"{FOLDER}/status.json", f"{FOLDER}/notes")
"""What is never taken over from an earlier run: it depends on who holds the stage, or tells how that run ended."""


@dataclass(frozen=True)
class LocalRun:
    """What a run made."""

    made: dict[str, Artifact]
    """Artifacts by role."""
    passed: bool
    """Whether the gate let the student through."""
    judged: str
    """What the gate looked at: the student, or its export."""
    reasons: list[str]
    """What the gate says."""
    registered: dict[str, Any] | None
    """Name, version, stage and place of the student in the registry, where it passed."""
    teacher_is_better: bool
    """Whether the rule `worth` says that the teacher's own int8 is the better choice."""


def run_locally(run: Run, out: Path, stop: StopRequest, pipeline: Path | None = None, hear: Hear | None = None) -> LocalRun:
    """Run the pipeline, or the compiled one in the file `pipeline`, in the folder `out`. What is finished there is not done again.

    A registry that is a relative folder lies in `out`. What the tasks tell goes to `hear`, or becomes lines on stderr.

    Raises:
        InputError, RefusedError: what a task says, as its step would; another process runs in `out`; or Kubeflow's SDK is missing.
        StoppedError: stopped by a signal, with a checkpoint where a task keeps one.
        AsdfdError: a task was killed.
    """
    check_reference(run)
    values = filled_in(registry_within(run, out))
    lock, busy = out / FOLDER / "lock", f"{out}: another asdfd run is at work there; wait until it is done, or name another --out"
    if lock.exists():
        with sole_process(lock, busy):
            pass  # refused at once: to compile takes seconds
    text = compiled_text() if pipeline is None else pipeline.read_text(encoding="utf-8")
    make_folder(out)
    with sole_process(lock, busy), fresh_log(out) as log:
        relay = Relay(log, stop, hear or Lines().hear)
        stop.listeners.append(relay.pass_on)
        try:
            with printed_to(relay):
                execute(local_form(text, {RUN_FOLDER: str(out.resolve())}), values, out / FOLDER)
        except RuntimeError as error:
            if not str(error).startswith("Pipeline "):
                raise
            ended = failed(relay, stop, out)
            raise ended from ended.__cause__
        finally:
            stop.listeners.remove(relay.pass_on)
        return read_result(out)


def registry_within(run: Run, out: Path) -> Run:
    """The run with a relative registry below `out`."""
    location = run.registry.location
    if "://" in location or Path(location).is_absolute():
        return run
    return run.changed(registry=run.registry.changed(location=str(out.resolve() / location)))


def make_folder(out: Path) -> None:
    """Make the run's folder.

    Raises:
        InputError: it cannot be written.
    """
    with writable(out):
        (out / FOLDER).mkdir(parents=True, exist_ok=True)


def fresh_log(out: Path) -> TextIO:
    """Take away what belongs to an earlier run only, and open a new log.

    Raises:
        InputError: the folder cannot be written.
    """
    with writable(out):
        for name in OF_THEIR_TIME:
            path = out / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        return (out / FOLDER / "log.txt").open("w", encoding="utf-8")


@contextmanager
def writable(out: Path) -> Iterator[None]:
    """One line for what keeps a run from writing to its folder."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); name another --out") from None


def execute(text: str, values: dict[str, Any], folder: Path) -> None:
    """Run a compiled pipeline with Kubeflow's local runner, which keeps what belongs to it in `folder`."""
    from kfp import components, local

    local.init(
        local.SubprocessRunner(use_venv=False), pipeline_root=str(folder / "tasks"), enable_caching=True, cache_root=str(folder / "cache"), raise_on_error=True
    )
    with values_left_alone():
        components.load_component_from_text(text)(**values)


@contextmanager
def values_left_alone() -> Iterator[None]:
    """Have the runner begin its programs with this interpreter, and change nothing else of a task's command.

    It puts the interpreter in place of every `python3` that it finds, in the values of parameters too, so that a path with that word in it would become another
    one; and without quotes, so that an interpreter in a folder with a space in its name would not be found.
    """
    from kfp.local import subprocess_task_handler

    before = subprocess_task_handler.replace_python_executable
    subprocess_task_handler.replace_python_executable = with_interpreter
    try:
        yield
    finally:
        subprocess_task_handler.replace_python_executable = before


def with_interpreter(full_command: list[str], new_executable: str) -> list[str]:
    """The words of a task's command, its program begun with the interpreter; for Kubeflow's runner, which names the arguments."""
    return [word.replace(PROGRAM, f"{shlex.quote(new_executable)}{PROGRAM.removeprefix('python3')}") for word in full_command]


@contextmanager
def printed_to(relay: Relay) -> Iterator[None]:
    """Have all that the runner prints and logs go to the relay. It wraps `print` itself, in threads that undo that in any order, so it is put back here."""
    print_before = builtins.print
    root = logging.getLogger()
    log_before = root.handlers[:], root.level
    root.handlers[:] = [logging.StreamHandler(relay)]
    root.setLevel(logging.INFO)
    try:
        with redirect_stdout(relay), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        builtins.print = print_before
        root.handlers[:], level = log_before
        root.setLevel(level)


def failed(relay: Relay, stop: StopRequest, out: Path) -> Exception:
    """The error of the task that ended the run, as its step raised it."""
    failure = relay.failure
    if stop() and (not failure or failure["stopped"]):
        return StoppedError(failure["message"] if failure else "stopped before the next step; run the same command again to go on")
    if not failure:
        what = " and ".join(relay.running) or "a task"
        return AsdfdError(f"{what}: was ended from outside (out of memory, perhaps); see {out / FOLDER / 'log.txt'}, then run the same command again")
    if failure["defect"]:
        defect = RuntimeError(f"{failure['task']}: {failure['message']}")
        defect.__cause__ = RemoteTraceback(failure["defect"])
        return defect
    kinds = {error.exit_code: error for error in (InputError, RefusedError)}
    return kinds.get(failure["exit_code"], AsdfdError)(failure["message"])


def read_result(out: Path) -> LocalRun:
    """What a run that came to its end left in its folder."""
    made = {role: artifacts.read(out / role, role) for role in ROLES}
    verdict = json.loads((out / "verdict" / "verdict.json").read_text(encoding="utf-8"))
    registered = out / FOLDER / "registered.json"
    found = json.loads(registered.read_text(encoding="utf-8")) if registered.exists() else None
    better = any(check["check"] == "worth" and check["value"] is not None and (check["warning"] or not check["passed"]) for check in verdict["checks"])
    return LocalRun(made, verdict["passed"], verdict["judged"], verdict["reasons"], found, better)
