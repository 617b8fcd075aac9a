"""The command, when it shares its work: torchrun below it does not show, neither in what it writes nor in how it fails, stops or is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from asdfd import steps
from asdfd.base import artifacts
from asdfd.base.errors import InputError, RemoteTraceback, StoppedError
from asdfd.base.loading import load_run
from asdfd.base.parts import part_of_run
from asdfd.base.telemetry import read_records
from asdfd.steps.launching import LOST, _first_failure, leave_failure, processes_of_machine, read_job, write_job
from tests.cli.conftest import TINY, tiny_options
from tests.cli.processes import TRIES, steps_done
from tests.patience import PATIENCE
from tests.steps.parallel.ranks import children, command, free_port, together

pytestmark = pytest.mark.slow

STEPS = 60
CHANGES = {"distillation.steps": STEPS, "distillation.processes": 2, "distillation.checkpoint_seconds": 1000, "device": "cpu"}


@pytest.fixture
def words(teacher_artifact: Path, bank_artifact: Path) -> Callable[[Path], list[str]]:
    """The command that distils to a folder in two processes."""

    def distill(out: Path) -> list[str]:
        settings = tiny_options(**{name.replace(".", "__"): value for name, value in CHANGES.items()})
        return ["distill", "--teacher", str(teacher_artifact), "--bank", str(bank_artifact), "--out", str(out), *settings]

    return distill


def start(words: list[str], **environment: str) -> subprocess.Popen[str]:
    """The command, as a person starts it."""
    everything = {**os.environ, **environment}
    return subprocess.Popen([sys.executable, "-m", "asdfd.cli", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=everything)


def interrupted(words: list[str], out: Path, after: int, interrupt: Callable[[subprocess.Popen[str]], object]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a distillation that is interrupted after so many of its steps."""
    for _ in range(TRIES):
        with start(words) as process:
            deadline = time.monotonic() + PATIENCE
            while steps_done(out) <= after and process.poll() is None:
                assert time.monotonic() < deadline, "the command hangs"
                time.sleep(0.005)
            interrupt(process)
            output, errors = process.communicate(timeout=PATIENCE)
        if process.returncode != 0:
            return process.returncode, output, errors
        shutil.rmtree(out)
    raise AssertionError("it is never interrupted")


def signalled(processes: set[int], number: signal.Signals) -> None:
    """Send all of them a signal that are still there."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, number)


def test_killed_and_stopped_and_gone_on_with_is_a_straight_run(words: Callable[[Path], list[str]], tmp_path: Path) -> None:
    """As many processes on one machine with as many threads, whoever starts them: then the bits are the same too."""
    out, run = tmp_path / "student", load_run(settings=[f"{name}={value}" for name, value in (TINY | CHANGES | {"distillation.processes": 1}).items()])
    teacher, bank = (Path(words(out)[place]) for place in (2, 4))

    family: set[int] = set()

    def kill(process: subprocess.Popen[str]) -> None:
        """All of them are held up meanwhile, so that they cannot finish."""
        family.update(children(process.pid))
        signalled(family, signal.SIGSTOP)
        if not out.exists():
            assert len(family) == 3, "the agent and two workers"
            with pytest.raises(InputError, match="another process is making it"):
                steps.distill(run, teacher, bank, out)
            process.kill()
        signalled(family, signal.SIGCONT)
        deadline = time.monotonic() + PATIENCE
        while any(Path(f"/proc/{number}").exists() for number in family):
            assert time.monotonic() < deadline, "somebody is left"
            time.sleep(0.01)
        family.clear()

    code, _, _ = interrupted(words(out), out, 5, kill)  # the first is killed, and takes its processes along
    assert code == -signal.SIGKILL

    code, output, errors = interrupted([*words(out), "--json"], out, 15, subprocess.Popen.terminate)  # the second is stopped
    assert code == 143
    stopped = int(json.loads(output)["error"].split()[3])
    line = f"stopped after step {stopped} of {STEPS} with a checkpoint; run the same command again to go on"
    assert json.loads(output) == {"error": line, "exit_code": 143}
    assert [text for text in errors.splitlines() if not text.startswith("distill, steps")] == [f"asdfd: {line}"]
    assert 15 < stopped < STEPS
    assert (tmp_path / "student.partial" / "checkpoint.safetensors").is_file()

    with start([*words(out), "--json"]) as process:  # the third one finishes
        output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert json.loads(output)["path"] == str(out)
    assert f"distill, steps {STEPS}/{STEPS}" in errors
    assert "torch" not in errors
    made = artifacts.read(out, "student")
    assert made.versions["processes"] == "2"
    assert [record["step"] for record in read_records(tmp_path / "student.metrics.jsonl")] == list(range(1, STEPS + 1))

    assert together(2, command, words(tmp_path / "straight")) == [0, 0]
    assert artifacts.read(tmp_path / "straight", "student").digest == made.digest
    assert together(2, command, words(out)) == [0, 0], "what is finished is found by all"
    assert steps.distill(run, teacher, bank, out).digest == made.digest, "the number of processes is not a part of the recipe"
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".prom") == [
        "straight",
        "straight.metrics.jsonl",
        "student",
        "student.metrics.jsonl",
    ]


def test_a_launcher_of_the_user_s_own_starts_the_processes(words: Callable[[Path], list[str]], tmp_path: Path) -> None:
    """Two of torchrun's agents, as on two machines that share a volume (docs/training.md); here both of them are this machine."""
    out, port = tmp_path / "student", free_port()
    agent = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--master-addr=127.0.0.1", f"--master-port={port}"]
    each = [*words(out), "--set", "distillation.steps=20"]
    commands = [[*agent, f"--node-rank={rank}", "--local-addr=127.0.0.1", "-m", "asdfd.cli", *each] for rank in range(2)]
    agents = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for command in commands]
    said = [each.communicate(timeout=PATIENCE) for each in agents]
    assert [each.returncode for each in agents] == [0, 0], said
    made = artifacts.read(out, "student")
    assert made.versions["processes"] == "2"
    assert all(made.digest in output for output, _ in said)
    assert together(2, command, [*words(tmp_path / "one-machine"), "--set", "distillation.steps=20"]) == [0, 0]
    assert artifacts.read(tmp_path / "one-machine", "student").digest == made.digest


def test_what_a_process_finds_wrong_is_the_command_s_one_line(words: Callable[[Path], list[str]], tmp_path: Path) -> None:
    with start([*words(tmp_path / "student"), "--set", "distillation.batch_size=1"]) as process:
        output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert output == ""
    assert errors == "asdfd: distillation.processes: 2 processes cannot share a batch of 1; raise distillation.batch_size\n"
    assert list(tmp_path.iterdir()) == []


def test_the_first_error_counts_and_no_loss_that_follows_from_it(tmp_path: Path) -> None:
    def leave(number: int, error: Exception) -> None:
        leave_failure(tmp_path / "job.json", error)
        (tmp_path / f"failure-{os.getpid()}").rename(tmp_path / f"failure-{number}")

    assert isinstance(_first_failure(tmp_path, stopping=True), StoppedError)
    assert str(_first_failure(tmp_path, stopping=False)) == LOST
    leave(3, ConnectionResetError(104, "Connection reset by peer", "another process"))
    assert str(_first_failure(tmp_path, stopping=False)) == LOST
    leave(2, OSError(28, "No space left on device", "checkpoint.tmp"))
    leave(1, InputError("later"))
    found = _first_failure(tmp_path, stopping=False)
    assert isinstance(found, OSError)
    assert (found.errno, found.filename) == (28, "checkpoint.tmp")
    assert isinstance(found.__cause__, RemoteTraceback)


def test_an_error_that_cannot_travel_keeps_its_text(tmp_path: Path) -> None:
    class Odd(Exception):  # noqa: N818
        """Local, so no other process knows it."""

    leave_failure(tmp_path / "job.json", Odd("of an odd kind"))
    found = _first_failure(tmp_path, stopping=False)
    assert str(found) == "Odd: of an odd kind"


def test_a_worker_is_given_what_its_task_was_given_and_no_default(tmp_path: Path) -> None:
    part = part_of_run(load_run(settings=["distillation.steps=7"]).model_dump(mode="json", include={"seed", "device", "distillation"}))
    write_job(tmp_path / "job.json", part, (tmp_path / "teacher", tmp_path / "bank", tmp_path / "student"), "")
    run, *folders, checkpoints = read_job(tmp_path / "job.json")
    assert (run.distillation, run.seed, checkpoints) == (part.distillation, 0, "")
    assert folders == [tmp_path / "teacher", tmp_path / "bank", tmp_path / "student"]
    with pytest.raises(AttributeError, match="has no attribute 'gate'"):
        run.gate  # noqa: B018


def test_every_gpu_gets_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no machine with several GPUs in CI: torch is told that there are four."""
    import torch

    assert processes_of_machine(load_run(settings=["device=cpu"])) == 1
    assert processes_of_machine(load_run(settings=["device=cpu", "distillation.processes=3"])) == 3
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert processes_of_machine(load_run()) == 4
    assert processes_of_machine(load_run(settings=["distillation.processes=2"])) == 2
    assert processes_of_machine(load_run(settings=["device=cpu"])) == 1
    with pytest.raises(InputError, match=r"distillation\.processes: 5 processes are asked for, this machine has 4 GPU"):
        processes_of_machine(load_run(settings=["distillation.processes=5"]))
