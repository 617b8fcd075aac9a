"""Stopped politely, impatiently and by force: what is finished is kept, nothing half-done looks finished, and going on ends where a straight run ends."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from asdfd import steps
from asdfd.base import artifacts
from asdfd.base.config import Run
from asdfd.base.interruption import stop_requests
from asdfd.base.telemetry import read_records
from asdfd.cli.main import main
from tests.cli.conftest import Made, tiny_options
from tests.cli.processes import KILLED, KILLED_IN_A_WRITE, TRIES, exit_code, parts_done, started, steps_done, wait_until
from tests.patience import PATIENCE

pytestmark = pytest.mark.slow

KILLS = 20


def distill(made: Made, out: Path, **changes: object) -> list[str]:
    """The command that distils to `out`."""
    return ["distill", "--teacher", str(made.teacher), "--bank", str(made.bank), "--out", str(out), *tiny_options(**changes)]


def synthesize(made: Made, out: Path) -> list[str]:
    """The command that makes a bank of four parts."""
    return ["synthesize", "--teacher", str(made.teacher), "--out", str(out), *tiny_options(synthesis__samples=3200)]


def terminated(words: list[str], student: Path, after: int) -> tuple[str, str]:
    """What a distillation said that SIGTERM ended after so many of its steps."""
    for _ in range(TRIES):
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while steps_done(student) < after and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=PATIENCE)
        if process.returncode != 0:
            assert process.returncode == 143, errors
            return output, errors
        shutil.rmtree(student)
    raise AssertionError("it never hears the signal")


def test_sigterm_stops_with_a_checkpoint_and_the_same_command_goes_on_to_the_same_bytes(made: Made, tmp_path: Path) -> None:
    """Through the real command, as a pod is stopped. On one machine, with as many threads: then the bits are the same too."""
    words = [sys.executable, "-m", "asdfd.cli", *distill(made, tmp_path / "student", distillation__steps=120, distillation__checkpoint_seconds=1000)]
    output, errors = terminated([*words, "--json"], tmp_path / "student", after=40)
    document = json.loads(output)
    assert document["exit_code"] == 143
    assert errors.splitlines()[-1] == f"asdfd: {document['error']}"
    stopped = int(document["error"].split()[3])
    assert document["error"] == f"stopped after step {stopped} of 120 with a checkpoint; run the same command again to go on"
    assert 40 <= stopped < 120
    assert (tmp_path / "student.partial" / "checkpoint.safetensors").is_file()
    assert not (tmp_path / "student").exists()
    assert exit_code(words[3:]) == 0
    assert not (tmp_path / "student.partial").exists()
    assert [record["step"] for record in read_records(tmp_path / "student.metrics.jsonl")] == list(range(1, 121)), "every step once"
    assert main(distill(made, tmp_path / "straight", distillation__steps=120)) == 0
    assert (tmp_path / "student" / "model.safetensors").read_bytes() == (tmp_path / "straight" / "model.safetensors").read_bytes()
    assert artifacts.read(tmp_path / "student", "student").digest == artifacts.read(tmp_path / "straight", "student").digest


def test_ctrl_c_stops_at_a_checkpoint_too(made: Made, tmp_path: Path) -> None:
    out = tmp_path / "student"
    with started(distill(made, out, distillation__steps=100000, distillation__checkpoint_seconds=100000)) as process:
        assert wait_until(lambda: steps_done(out) > 5, process)
        os.kill(process.pid or 0, signal.SIGINT)
        process.join(PATIENCE)
        assert process.exitcode == 130
    assert (tmp_path / "student.partial" / "checkpoint.safetensors").is_file()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_synthesis_stops_between_two_parts(made: Made, tmp_path: Path, number: signal.Signals, code: int) -> None:
    out = tmp_path / "bank"
    with started([*synthesize(made, out), "--set", "synthesis.samples=1024000"]) as process:
        assert wait_until(lambda: parts_done(out) > 0, process)
        os.kill(process.pid or 0, number)
        process.join(PATIENCE)
        assert process.exitcode == code
    assert 1 <= parts_done(out) < 1000
    assert [path.name for path in (tmp_path / "bank.partial" / "artifact").iterdir() if path.suffix == ".tmp"] == []


def test_a_second_ctrl_c_does_not_wait(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """The step is replaced by one that gets both signals before it could ask: no real one can be made to, at a time of our choosing."""
    heard = []

    def busy(run: Run, teacher: Path, bank: Path, out: Path, should_stop: Callable[[], bool]) -> None:
        del run, teacher, bank, out
        heard.append(should_stop())
        signal.raise_signal(signal.SIGINT)
        heard.append(should_stop())
        signal.raise_signal(signal.SIGINT)
        heard.append("went on")

    monkeypatch.setattr(steps, "distill", busy)
    before = signal.getsignal(signal.SIGINT)
    assert main(["distill", "--teacher", "t", "--bank", "b", "--out", "o"]) == 130
    assert heard == [False, True]
    first, second = capfd.readouterr().err.splitlines()
    assert first == "asdfd: stopping at the next checkpoint; press Ctrl-C again to stop at once"
    assert second.startswith("asdfd: stopped at once; run the same command again")
    assert signal.getsignal(signal.SIGINT) is before


def test_what_the_caller_had_us_ignore_stays_ignored() -> None:
    """As nohup does for a signal."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_requests() as stop:
            signal.raise_signal(signal.SIGINT)
            assert not stop()
            stop.patient = True
            signal.raise_signal(signal.SIGTERM)
            assert stop()
            assert stop.exit_code == 143
    finally:
        signal.signal(signal.SIGINT, before)


def test_steps_that_cannot_go_on_stop_at_once(made: Made, tmp_path: Path) -> None:
    """An evaluation that would take hours; nothing of it looks finished."""
    out = tmp_path / "evaluation"
    words = ["evaluate", "--teacher", str(made.teacher), "--student", str(made.student), "--out", str(out), *tiny_options(evaluation__latency_runs=10**8)]
    with started(words) as process:
        assert wait_until((tmp_path / "evaluation.partial").exists, process)
        os.kill(process.pid or 0, signal.SIGTERM)
        process.join(PATIENCE)
        assert process.exitcode == 143
    assert not out.exists()


@pytest.mark.parametrize(
    ("verb", "file_bytes", "cut"),
    [
        ("fetch", 100_000, "artifact/model.safetensors"),
        ("synthesize", 2_000, "artifact/.tmp*"),
        ("merge", 2_000, "artifact/part-00000.safetensors"),
        ("distill without checkpoints", 1_000, "metrics.jsonl"),
        ("distill", 100_000, ".tmp*"),
        ("distill without checkpoints", 50_000, "artifact/.tmp*"),
        ("evaluate", 10_000, "artifact/report.html.tmp"),
    ],
)
def test_a_kill_in_the_middle_of_a_write_changes_nothing(verb: str, file_bytes: int, cut: str, made: Made, data: Path, tmp_path: Path) -> None:
    """The system kills the command when a file grows beyond a size, so half of it is there, as after a power cut."""
    out = tmp_path / "out"
    models = ["--teacher", str(made.teacher), "--student", str(made.student), "--data", str(data)]
    words, kind = {
        "fetch": (["fetch", "--teacher", str(made.source), "--out", str(out)], "teacher"),
        "synthesize": (["synthesize", "--teacher", str(made.teacher), "--out", str(out), *tiny_options()], "bank"),
        "merge": (["merge", "--out", str(out), *map(str, made.shards)], "bank"),
        "distill": (distill(made, out), "student"),
        "distill without checkpoints": (distill(made, out, distillation__checkpoint_seconds=1000), "student"),
        "evaluate": (["evaluate", "--out", str(out), *models, *tiny_options()], "evaluation"),
    }[verb]
    with started(words, file_bytes) as process:
        process.join(PATIENCE)
        assert process.exitcode == KILLED_IN_A_WRITE
    assert len(list((tmp_path / "out.partial").glob(cut))) == 1
    assert not out.exists()
    assert exit_code(words) == 0
    found = artifacts.read(out, kind)
    assert kind == "evaluation" or found.digest == artifacts.read(getattr(made, kind), kind).digest, "an evaluation holds timings"
    assert not (tmp_path / "out.partial").exists()


def kill_many_times(words: list[str], out: Path, kind: str, ready: Callable[[int], bool], longest: Callable[[int], float]) -> set[str]:
    """Start the command and kill it until that met a living process `KILLS` times; the digests of what was finished on the way and at the end.

    Kill number n comes at a random moment, up to `longest(n)` seconds after `ready(n)`. What an attempt finishes too early is taken away, so that the next
    ones have work.
    """
    draw, digests, killed = random.Random(0), set(), 0
    for _ in range(5 * KILLS):
        if killed == KILLS:
            break
        with started(words) as process:
            wait_until(lambda number=killed: ready(number) or out.exists(), process)
            time.sleep(draw.uniform(0, longest(killed)))
            process.kill()
            process.join()
            killed += process.exitcode == KILLED
        if out.exists():
            digests.add(artifacts.read(out, kind).digest)
            shutil.rmtree(out)
    assert killed == KILLS
    assert exit_code(words) == 0
    return digests | {artifacts.read(out, kind).digest}


def test_kill_9_at_20_points_of_a_distillation_changes_nothing(made: Made, tmp_path: Path) -> None:
    """Kills are spread over the steps, each at a random moment of one, and the last ones over what follows the last step."""
    draw = random.Random(0)
    words, out = distill(made, tmp_path / "student", distillation__steps=100), tmp_path / "student"
    assert exit_code(distill(made, tmp_path / "straight", distillation__steps=100)) == 0
    targets = [min(100, 6 * kill + draw.randrange(6)) for kill in range(KILLS)]
    digests = kill_many_times(words, out, "student", lambda kill: steps_done(out) >= targets[kill], lambda kill: 0.02 if targets[kill] < 100 else 0.1)
    assert digests == {artifacts.read(tmp_path / "straight", "student").digest}
    assert [record["step"] for record in read_records(tmp_path / "student.metrics.jsonl")] == list(range(1, 101))
    assert content_of(tmp_path) == ["straight", "straight.metrics.jsonl", "student", "student.metrics.jsonl"]


def content_of(folder: Path) -> list[str]:
    """What lies in a folder, but for the metrics of a stage: they are written after its artifact, and a kill may come between."""
    return sorted(path.name for path in folder.iterdir() if ".metrics.prom" not in path.name)


def test_kill_9_at_20_points_of_a_synthesis_changes_nothing(made: Made, tmp_path: Path) -> None:
    """Kills are spread over the four parts, each at a random moment of one."""
    words, out = synthesize(made, tmp_path / "bank"), tmp_path / "bank"
    began = time.monotonic()
    assert exit_code(synthesize(made, tmp_path / "straight")) == 0
    part_seconds = (time.monotonic() - began) / 4
    digests = kill_many_times(words, out, "bank", lambda kill: parts_done(out) >= kill // 5, lambda _: part_seconds)
    assert digests == {artifacts.read(tmp_path / "straight", "bank").digest}
    assert content_of(tmp_path) == ["bank", "straight"]
