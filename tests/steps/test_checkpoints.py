"""Checkpoints that outlive a pod: each pod is a folder here, in some tests a process too, that shares nothing with the one before but the store."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from asdfd import steps
from asdfd.base import artifacts
from asdfd.base.config import Run
from asdfd.base.errors import StoppedError
from asdfd.base.loading import load_run
from asdfd.base.telemetry import read_records
from asdfd.storage.objects import open_objects
from tests.cli.processes import CONTEXT
from tests.patience import PATIENCE
from tests.steps.parallel.ranks import together

pytestmark = pytest.mark.slow  # dozens of small ones that together take long

STEPS = 40
SETTINGS = {
    "synthesis.samples": 96,
    "synthesis.minimum_length": 3,
    "synthesis.maximum_length": 6,
    "synthesis.pool": 64,
    "distillation.steps": STEPS,
    "distillation.batch_size": 8,
    "distillation.adversary": "embedding",
    "distillation.selfsup_weight": 0.1,
    "distillation.checkpoint_seconds": 0,
    "distillation.log_every": 1,
    "device": "cpu",
}
RUN = load_run(settings=[f"{name}={value}" for name, value in SETTINGS.items()])


@pytest.fixture(scope="module")
def bank(teacher_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return steps.synthesize(RUN, teacher_artifact, tmp_path_factory.mktemp("bank") / "bank").path


@pytest.fixture(scope="module")
def straight(teacher_artifact: Path, bank: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Digest of the student that nobody interrupted."""
    return steps.distill(RUN, teacher_artifact, bank, tmp_path_factory.mktemp("straight") / "student").digest


def after(count: int) -> Callable[[], bool]:
    """Stop after so many steps."""
    left = iter(range(count))
    return lambda: next(left, None) is None


def distill_until(count: int, teacher: Path, bank: Path, pod: Path, location: str) -> None:
    """Distil in a pod that gets SIGTERM after so many steps of its own."""
    pod.mkdir()
    with pytest.raises(StoppedError):
        steps.distill(RUN, teacher, bank, pod / "student", after(count - 1), location)


def keys(location: str) -> list[str]:
    """What lies at a location."""
    return [info.key.partition("/")[2] for info in open_objects(location).list("")]


def test_another_pod_goes_on_to_the_same_bytes(teacher_artifact: Path, bank: Path, straight: str, location: str, tmp_path: Path) -> None:
    distill_until(7, teacher_artifact, bank, tmp_path / "first", location)
    assert [key[:9] for key in keys(location)] == ["000000007", "000000007"]
    distill_until(5, teacher_artifact, bank, tmp_path / "second", location)
    assert [key[:9] for key in keys(location)] == ["000000012", "000000012"], "the earlier one is gone"
    student = steps.distill(RUN, teacher_artifact, bank, tmp_path / "third", checkpoints=location)
    assert student.digest == straight
    assert [record["step"] for record in read_records(steps.metrics_path(tmp_path / "third"))] == list(range(1, STEPS + 1)), "every step once"
    assert keys(location), "whoever made the student may still lose it"
    steps.forget_checkpoints(location, student.path)
    assert keys(location) == []


def distill_in_a_pod(run: Run, teacher: Path, bank: Path, out: Path, location: str, environment: Mapping[str, str] | None = None) -> None:
    """Be the process of a pod, which the environment of this one does not reach by itself."""
    os.environ.update(environment or {})
    steps.distill(run, teacher, bank, out, checkpoints=location)


def test_a_killed_pod_loses_no_more_than_what_came_after_its_last_checkpoint(
    teacher_artifact: Path, bank: Path, straight: str, location: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "first").mkdir()
    words = (RUN, teacher_artifact, bank, tmp_path / "first" / "student", location, dict(os.environ))
    process = CONTEXT.Process(target=distill_in_a_pod, args=words, daemon=True)
    process.start()
    end = time.monotonic() + PATIENCE
    while not any(key.endswith(".json") for key in keys(location)) and process.is_alive() and time.monotonic() < end:
        time.sleep(0.01)
    process.kill()
    process.join()
    complete = max(int(key[:9]) for key in keys(location) if key.endswith(".json"))
    assert complete > 0
    assert steps.distill(RUN, teacher_artifact, bank, tmp_path / "student", checkpoints=location).digest == straight
    assert f"asdfd: going on after step {complete}, from " in capfd.readouterr().err


def test_a_checkpoint_of_another_recipe_is_none(teacher_artifact: Path, bank: Path, tmp_path: Path) -> None:
    location = str(tmp_path / "checkpoints")
    distill_until(7, teacher_artifact, bank, tmp_path / "first", location)
    other = RUN.changed(seed=1)
    student = steps.distill(other, teacher_artifact, bank, tmp_path / "other", checkpoints=location)
    assert student.digest == steps.distill(other, teacher_artifact, bank, tmp_path / "straight").digest
    steps.forget_checkpoints(location, student.path)
    assert [key[:9] for key in keys(location)] == ["000000007", "000000007"]


@pytest.mark.parametrize("damage", ["another byte", "cut off", "no declaration", "no JSON"])
def test_a_checkpoint_that_is_not_whole_is_passed_over(damage: str, teacher_artifact: Path, bank: Path, straight: str, tmp_path: Path) -> None:
    location = tmp_path / "checkpoints"
    distill_until(7, teacher_artifact, bank, tmp_path / "first", str(location))
    shutil.copytree(location, tmp_path / "aside")
    distill_until(5, teacher_artifact, bank, tmp_path / "second", str(location))
    shutil.copytree(tmp_path / "aside", location, dirs_exist_ok=True)
    (newest,) = location.glob("*/000000012-*.safetensors")
    content = newest.read_bytes()
    match damage:
        case "another byte":
            newest.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        case "cut off":
            newest.write_bytes(content[:-100])
        case "no declaration":
            newest.with_suffix(".json").unlink()
        case _:
            newest.with_suffix(".json").write_text("{", encoding="utf-8")
    (tmp_path / "third").mkdir()
    with pytest.raises(StoppedError, match="stopped after step 8 of 40"):
        steps.distill(RUN, teacher_artifact, bank, tmp_path / "third" / "student", after(0), str(location))
    assert steps.distill(RUN, teacher_artifact, bank, tmp_path / "student", checkpoints=str(location)).digest == straight


def test_a_place_that_cannot_be_written_costs_its_checkpoints_and_nothing_else(
    teacher_artifact: Path, bank: Path, straight: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert steps.distill(RUN, teacher_artifact, bank, tmp_path / "student", checkpoints=str(tmp_path / "file")).digest == straight
    assert "asdfd: a checkpoint could not be stored, and the training goes on: " in capfd.readouterr().err


def test_several_processes_of_a_pod_go_on_together(teacher_artifact: Path, bank: Path, tmp_path: Path) -> None:
    location = str(tmp_path / "checkpoints")
    together_run = RUN.changed(distillation=RUN.distillation.changed(adversary="none"))
    assert together(2, distill_in_a_pod, together_run, teacher_artifact, bank, tmp_path / "straight", "") == [0, 0]
    assert together(2, stopped_pod, together_run, teacher_artifact, bank, tmp_path / "first", location) == [0, 0]
    assert [key[:9] for key in keys(location)] == ["000000007", "000000007"]
    assert together(2, distill_in_a_pod, together_run, teacher_artifact, bank, tmp_path / "student", location) == [0, 0]
    assert artifacts.read(tmp_path / "student", "student").digest == artifacts.read(tmp_path / "straight", "student").digest
    records = (tmp_path / "student.metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in records] == list(range(1, STEPS + 1))


def stopped_pod(run: Run, teacher: Path, bank: Path, out: Path, location: str) -> None:
    """Be one of the processes of a pod that gets SIGTERM after seven steps."""
    with pytest.raises(StoppedError):
        steps.distill(run, teacher, bank, out, after(6), location)
