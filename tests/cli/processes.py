"""Commands in processes of their own that start in a tenth of a second: a server that has imported everything forks them."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerProcess
from multiprocessing.process import BaseProcess
from pathlib import Path

from asdfd.base.telemetry import read_records
from tests.patience import PATIENCE

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "asdfd.cli.main",
        "asdfd.cli.presentation",
        "asdfd.steps",
        "asdfd.method.distillation",
        "asdfd.models.model_card",
        "asdfd.evaluation.report",
        "asdfd.evaluation.latency",
        "datasets",
    ]
)


def main_of_child(words: list[str], file_bytes: int) -> None:
    """Be the command."""
    from asdfd.cli.main import main

    if file_bytes:
        with Path(os.devnull).open("wb") as nowhere:  # where the test's own output goes is a file, too, and a slow machine shows more progress
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
            os.dup2(nowhere.fileno(), sys.stderr.fileno())
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    sys.exit(main(words))


@contextmanager
def started(words: list[str], file_bytes: int = 0) -> Iterator[ForkServerProcess]:
    """The command as a process; it is killed at the end if it still runs, and by the system in the middle of a write that grows a file beyond `file_bytes`."""
    process = CONTEXT.Process(target=main_of_child, args=(words, file_bytes), daemon=True)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def exit_code(words: list[str]) -> int | None:
    """The exit code of a command that is left alone."""
    with started(words) as process:
        process.join(PATIENCE)
        return process.exitcode


def wait_until(condition: Callable[[], bool], process: BaseProcess) -> bool:
    """Wait until the condition holds or the process has ended; whether it holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if not process.is_alive():
            return condition()
        assert time.monotonic() < deadline, "the command hangs"
        time.sleep(0.001)
    return True


TRIES = 10
"""How often a command is started that has to be interrupted in its middle: a machine that is busy elsewhere may let it end before the signal is sent."""


def steps_done(student: Path) -> int:
    """Steps that a distillation to `student` has written records of."""
    records = read_records(student.with_name(f"{student.name}.partial") / "metrics.jsonl")
    return int(records[-1]["step"] or 0) if records else 0


def parts_done(bank: Path) -> int:
    """Parts that a synthesis to `bank` has written."""
    return len(list((bank.with_name(f"{bank.name}.partial") / "artifact").glob("part-*.safetensors")))


KILLED_IN_A_WRITE = -signal.SIGXFSZ
"""Exit code of a process that wrote too large a file."""
KILLED = -signal.SIGKILL
"""Exit code of a process that was killed."""
