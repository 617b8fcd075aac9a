"""Several processes for one distillation: torchrun starts them, and to whoever asked it looks like one step.

    the step ──starts──▶ `agent`, torchrun's ──starts──▶ a `worker` for every GPU

The agent reports to a person who reads logs; what a step owes is one error and its kind. So each worker leaves what ended it in a private folder, and the step
raises the first of these as its own. A stop goes down the same way, and each process dies with the one that started it, so that none is left with a GPU.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from asdfd.base.config import Run
from asdfd.base.errors import InputError, RemoteTraceback, StoppedError
from asdfd.base.parts import part_of_run
from asdfd.base.telemetry import RUN_FOLDER, is_heard, pass_on

POLL_SECONDS = 0.1
"""Seconds between two questions whether to stop."""
LAST_WORDS = 10.0
"""Seconds that what the processes wrote last may take to be read."""
LOST = "a process of the distillation was lost (killed, or out of memory); run the same command again, it goes on from the last checkpoint"


def is_started_by_torchrun() -> bool:
    """Whether this process is one of several that torchrun started."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def processes_of_machine(run: Run) -> int:
    """How many processes distil on this machine: `distillation.processes`, where 0 means one for every GPU, and one without any.

    Raises:
        InputError: more processes than GPUs, or no GPU where one is asked for.
    """
    wanted, gpus = run.distillation.processes, 0
    if run.device != "cpu":  # otherwise nothing has to be loaded before the processes are started
        import torch

        from asdfd.models.classifiers import choose_device

        gpus = torch.cuda.device_count() if choose_device(run.device).type == "cuda" else 0
    if gpus and wanted > gpus:
        raise InputError(f"distillation.processes: {wanted} processes are asked for, this machine has {gpus} GPU(s); lower it, or 0 takes one for each GPU")
    return wanted or max(1, gpus)


def distill_together(processes: int, run: Run, folders: tuple[Path, Path, Path], should_stop: Callable[[], bool], checkpoints: str) -> None:
    """Do `steps.distill` in so many processes on this machine; the folders are those of the teacher, the bank and the student to be made.

    Raises:
        StoppedError: `should_stop` said so; there is a checkpoint if a step was done.
        InputError: a process was lost.
        Exception: whatever a process raised first.
    """
    with tempfile.TemporaryDirectory(prefix="asdfd-") as folder:
        job = Path(folder) / "job.json"
        write_job(job, run, folders, checkpoints)
        threads = {"OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // processes))} if hasattr(os, "sched_getaffinity") else {}
        heard = is_heard()
        environment = {**threads, **os.environ, **({RUN_FOLDER: str(folders[2].parent)} if heard else {})}
        words = [sys.executable, "-m", "asdfd.steps.agent", str(processes), str(job)]
        # no stdout: it is for results. A session of its own: Ctrl-C in a terminal reaches this process only, which passes it on once.
        out, errors = (subprocess.PIPE, subprocess.STDOUT) if heard else (2, None)
        agent = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, env=environment, start_new_session=True)
        reader = threading.Thread(target=_listen, args=(agent,), daemon=True)
        reader.start()
        try:
            _wait(agent, should_stop)
            reader.join(LAST_WORDS)
        finally:
            if agent.poll() is None:
                agent.kill()
                agent.wait()
        if agent.returncode != 0:
            raise _first_failure(Path(folder), stopping=should_stop())


def _listen(agent: subprocess.Popen[bytes]) -> None:
    """Hand on what the processes tell, until the last of them has ended."""
    if agent.stdout is not None:
        with io.TextIOWrapper(agent.stdout, errors="replace") as lines:
            pass_on(lines)


def _wait(agent: subprocess.Popen[bytes], should_stop: Callable[[], bool]) -> None:
    """Wait for the end of the agent; it is asked to stop once, since its workers take a second request for impatience."""
    asked = False
    while True:
        try:
            agent.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if not asked and should_stop():
                agent.terminate()
                asked = True
        else:
            return


def _first_failure(folder: Path, *, stopping: bool) -> Exception:
    """What ended the processes: the first error that is not the loss of another process."""
    failures = sorted((pickle.loads(path.read_bytes()) for path in folder.glob("failure-*")), key=lambda failure: failure[0])  # written by our own processes
    for _, error, text in failures:
        if not isinstance(error, ConnectionResetError):
            error.__cause__ = RemoteTraceback(text)
            return error
    return StoppedError("stopped before the first step; run the same command again") if stopping else InputError(LOST)


def leave_failure(job: Path, error: Exception) -> None:
    """Leave what ended this process beside its job."""
    text = "".join(traceback.format_exception(error))
    try:
        content = pickle.dumps((time.time_ns(), error, text))
        pickle.loads(content)
    except Exception:  # an error that does not survive it; its traceback does
        content = pickle.dumps((time.time_ns(), RuntimeError(f"{type(error).__name__}: {error}"), text))
    temporary = job.with_name(f"unfinished-{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(job.with_name(f"failure-{os.getpid()}"))


def write_job(job: Path, run: Run, folders: tuple[Path, Path, Path], checkpoints: str) -> None:
    """Write down for the workers what they are to do; the folders are those of the teacher, the bank and the student to be made."""
    paths = {name: str(path.absolute()) for name, path in zip(("teacher", "bank", "out"), folders, strict=True)}
    job.write_text(json.dumps({"run": run.model_dump(mode="json"), **paths, "checkpoints": checkpoints}), encoding="utf-8")


def read_job(job: Path) -> tuple[Run, Path, Path, Path, str]:
    """What a worker is to do: those parameters that its step was given, the teacher, the bank, where the student goes, and where checkpoints go beside."""
    content = json.loads(job.read_text(encoding="utf-8"))
    return part_of_run(content["run"]), Path(content["teacher"]), Path(content["bank"]), Path(content["out"]), str(content["checkpoints"])


def die_with_parent(number: signal.Signals) -> None:
    """Have the system send this signal to this process when the one that started it dies (Linux only; elsewhere a killed command leaves its processes)."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, number)
