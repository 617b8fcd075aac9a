"""Stopped politely, impatiently and by force: what is finished is kept, nothing half-done looks finished, and going on ends where a straight run ends."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from asdfd import artifacts
from asdfd.cli import main
from asdfd.telemetry import read_records
from tests.cli.conftest import Made, tiny_options
from tests.cli.processes import KILLED, exit_code, parts_done, started, steps_done, wait_until

KILLS = 20


def distill(made: Made, out: Path, **changes: object) -> list[str]:
    """The command that distils to `out`."""
    return ["distill", "--teacher", str(made.teacher), "--bank", str(made.bank), "--out", str(out), *tiny_options(**changes)]


def synthesize(made: Made, out: Path) -> list[str]:
    """The command that makes a bank of four parts."""
    return ["synthesize", "--teacher", str(made.teacher), "--out", str(out), *tiny_options(synthesis__samples=3200)]


def test_sigterm_stops_with_a_checkpoint_and_the_same_command_goes_on_to_the_same_bytes(made: Made, tmp_path: Path) -> None:
    """Through the real command, as a pod is stopped."""
    words = [sys.executable, "-m", "asdfd.cli", *distill(made, tmp_path / "student", distillation__steps=300, distillation__checkpoint_every=1000)]
    process = subprocess.Popen([*words, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while steps_done(tmp_path / "student") < 100 and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 143
    document = json.loads(output)
    assert document["exit_code"] == 143
    assert errors.splitlines()[-1] == f"asdfd: {document['error']}"
    stopped = int(document["error"].split()[3])
    assert document["error"] == f"stopped after step {stopped} of 300 with a checkpoint; run the same command again to go on"
    assert 100 <= stopped < 300
    assert (tmp_path / "student.partial" / "checkpoint.safetensors").is_file()
    assert not (tmp_path / "student").exists()
    subprocess.run(words, check=True, capture_output=True)
    assert not (tmp_path / "student.partial").exists()
    assert [record["step"] for record in read_records(tmp_path / "student.metrics.jsonl")] == list(range(1, 301)), "every step once"
    assert main(distill(made, tmp_path / "straight", distillation__steps=300)) == 0
    assert (tmp_path / "student" / "model.safetensors").read_bytes() == (tmp_path / "straight" / "model.safetensors").read_bytes()
    assert artifacts.read(tmp_path / "student", "student").digest == artifacts.read(tmp_path / "straight", "student").digest


def test_ctrl_c_stops_at_a_checkpoint_too(made: Made, tmp_path: Path) -> None:
    out = tmp_path / "student"
    with started(distill(made, out, distillation__steps=100000, distillation__checkpoint_every=100000)) as process:
        assert wait_until(lambda: steps_done(out) > 5, process)
        os.kill(process.pid or 0, signal.SIGINT)
        process.join(60)
        assert process.exitcode == 130
    assert (tmp_path / "student.partial" / "checkpoint.safetensors").is_file()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_synthesis_stops_between_two_parts(made: Made, tmp_path: Path, number: signal.Signals, code: int) -> None:
    out = tmp_path / "bank"
    with started([*synthesize(made, out), "--set", "synthesis.samples=1024000"]) as process:
        assert wait_until(lambda: parts_done(out) > 0, process)
        os.kill(process.pid or 0, number)
        process.join(60)
        assert process.exitcode == code
    assert 1 <= parts_done(out) < 1000
    assert [path.name for path in (tmp_path / "bank.partial" / "artifact").iterdir() if path.suffix == ".tmp"] == []


def test_a_second_ctrl_c_does_not_wait(made: Made, tmp_path: Path) -> None:
    """Both come while the teacher is verified and loaded, long before the first step could ask."""
    with started(distill(made, tmp_path / "student")) as process:
        time.sleep(0.02)
        while process.is_alive():  # as an impatient user
            os.kill(process.pid or 0, signal.SIGINT)
            time.sleep(0.002)
        assert process.exitcode == 130
    assert not (tmp_path / "student").exists()


def test_steps_that_cannot_go_on_stop_at_once(made: Made, tmp_path: Path) -> None:
    """An evaluation that would take hours; nothing of it looks finished."""
    out = tmp_path / "evaluation"
    words = ["evaluate", "--teacher", str(made.teacher), "--student", str(made.student), "--out", str(out), *tiny_options(evaluation__latency_runs=10**8)]
    with started(words) as process:
        assert wait_until((tmp_path / "evaluation.partial").exists, process)
        os.kill(process.pid or 0, signal.SIGTERM)
        process.join(60)
        assert process.exitcode == 143
    assert not out.exists()


def test_kill_9_at_20_points_of_a_distillation_changes_nothing(made: Made, tmp_path: Path) -> None:
    """Kills are spread over the steps, each at a random moment of one, and the last ones over what follows the last step."""
    random_moments = random.Random(0)
    words, out = distill(made, tmp_path / "student", distillation__steps=100), tmp_path / "student"
    assert exit_code(distill(made, tmp_path / "straight", distillation__steps=100)) == 0
    killed = 0
    for kill in range(KILLS):
        target = min(100, 6 * kill + random_moments.randrange(6))
        with started(words) as process:
            wait_until(lambda target=target: steps_done(out) >= target or out.exists(), process)
            time.sleep(random_moments.uniform(0, 0.02 if target < 100 else 0.1))
            process.kill()
            process.join()
            killed += process.exitcode == KILLED
        if out.exists():
            artifacts.read(out, "student")
    assert killed >= KILLS - 4, "all but those after the end must have met a living process"
    assert exit_code(words) == 0
    assert artifacts.read(out, "student").digest == artifacts.read(tmp_path / "straight", "student").digest
    assert [record["step"] for record in read_records(tmp_path / "student.metrics.jsonl")] == list(range(1, 101))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["straight", "straight.metrics.jsonl", "student", "student.metrics.jsonl"]


def test_kill_9_at_20_points_of_a_synthesis_changes_nothing(made: Made, tmp_path: Path) -> None:
    """Kills are spread over the four parts, each at a random moment of one."""
    random_moments = random.Random(0)
    words, out = synthesize(made, tmp_path / "bank"), tmp_path / "bank"
    began = time.monotonic()
    assert exit_code(synthesize(made, tmp_path / "straight")) == 0
    part_seconds = (time.monotonic() - began) / 4
    killed = 0
    for kill in range(KILLS):
        with started(words) as process:
            wait_until(lambda part=kill // 5: parts_done(out) >= part or out.exists(), process)
            time.sleep(random_moments.uniform(0, 1.2 * part_seconds))
            process.kill()
            process.join()
            killed += process.exitcode == KILLED
        if out.exists():
            artifacts.read(out, "bank")
    assert killed >= KILLS - 6, "all but those after the end must have met a living process"
    assert exit_code(words) == 0
    assert artifacts.read(out, "bank").digest == artifacts.read(tmp_path / "straight", "bank").digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bank", "straight"]
