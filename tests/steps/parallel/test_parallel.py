"""Processes that share the batches of a distillation compute what one process computes, and stop and go on as one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from asdfd.base.config import Distillation, Run
from asdfd.base.errors import StoppedError
from asdfd.base.telemetry import Record
from asdfd.method import distillation
from asdfd.method.bank import Bank
from asdfd.method.parallel import ALONE, WHOLE, Processes, joined
from asdfd.models.classifiers import load_teacher
from asdfd.models.students import derive_student
from tests.steps.parallel.ranks import together
from tests.tolerance import FORWARD, TRAINED

pytestmark = pytest.mark.slow

UNEVEN = Distillation(
    steps=14,
    batch_size=15,
    learning_rate=2e-3,
    selfsup_weight=0.1,
    checkpoint_seconds=1000,
    log_every=1,
    adversary="embedding",
    adversary_warmup=0.2,
    adversary_every=2,
    hardened_capacity=20,
)
"""Two processes have 7 and 8 rows of a batch; harder entries come, are used again and are forgotten."""


@dataclass(frozen=True)
class Job:
    """A distillation, and where each of its processes leaves what it ended with."""

    teacher: Path
    bank: Path
    folder: Path
    config: Distillation
    stop: tuple[int, int] | None = None
    """Step after which one process, named by its rank, hears a signal."""
    lost: tuple[int, int] | None = None
    """Step after which one process is gone, and its rank."""

    @property
    def parameters(self) -> Run:
        return Run(device="cpu", distillation=self.config)


def perform(job: Job) -> None:
    """The distillation in this process."""
    torch.set_num_threads(1)  # several of them share the cores, and those that wait for each other must not spin
    with joined(job.parameters) as processes:
        teacher = load_teacher(job.teacher)
        setup = distillation.prepare(teacher, Bank(next(job.bank.glob("**/part-00000.safetensors")).parent), (1, 3), job.config, 5, processes)
        state = distillation.start(setup, derive_student(teacher, (1, 3)))
        distillation.load_checkpoint(state, job.folder)
        assert processes.agree(f"step {state.step}")
        assert not processes.agree(f"rank {processes.rank}") or processes.count == 1
        own = torch.nn.Parameter(torch.full((2,), 1.5 + processes.rank))
        processes.take_over([own])
        assert own.tolist() == [1.5, 1.5], "the first one's"
        records: list[Record] = []

        def should_stop() -> bool:
            if job.lost == (state.step, processes.rank):
                os._exit(9)
            return job.stop == (state.step, processes.rank)

        outcome = "done"
        try:
            distillation.train(setup, state, job.folder, distillation.Hooks(records.append, should_stop))
        except (StoppedError, ConnectionResetError) as error:
            outcome = f"{type(error).__name__}: {error}"
        if job.lost is None:
            processes.wait()
        tensors = {**state.student.state_dict(), **{f"head.{name}": value for name, value in state.head.state_dict().items()}}
        left = {"outcome": outcome, "step": state.step, "records": records, "weights": tensors, "hardened": state.hardened.tensors()}
        torch.save(left, job.folder / f"{processes.rank}.pt")
        if job.lost is not None:
            os._exit(0)  # nobody is left to say goodbye to


def left_by(job: Job, count: int) -> list[dict[str, Any]]:
    """What the processes of a distillation ended with."""
    job.folder.mkdir(exist_ok=True)
    if count == 1:
        threads = torch.get_num_threads()
        perform(job)
        torch.set_num_threads(threads)
    else:
        codes = together(count, perform, job)
        assert codes == [9 if job.lost is not None and rank == job.lost[1] else 0 for rank in range(count)]
    return [torch.load(path) for path in sorted(job.folder.glob("?.pt"))]


def assert_same_curve(found: list[Record], expected: list[Record], tolerance: float) -> None:
    """The same numbers step by step, speed aside."""
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name in one.keys() - {"samples_per_second"}:
            assert one[name] == pytest.approx(other[name], rel=tolerance, abs=1e-6), (one["step"], name)


def assert_equal_weights(one: dict[str, Any], other: dict[str, Any]) -> None:
    """The same bits: all processes step by the same sums, and those that go on do so on one machine, as many and with as many threads as before."""
    for part in ("weights", "hardened"):
        assert one[part].keys() == other[part].keys()
        assert all(torch.equal(value, other[part][name]) for name, value in one[part].items())


@pytest.mark.parametrize("size", range(1, 9))
@pytest.mark.parametrize("count", range(1, 6))
def test_shares_are_a_partition(size: int, count: int) -> None:
    shares = [Processes(rank, count).share(size) for rank in range(count)]
    rows = list(range(size))
    assert [row for share in shares if share.weight for row in rows[share.rows]] == rows
    assert sum(share.weight for share in shares) == pytest.approx(1)
    assert all(rows[share.rows] for share in shares), "a mean over no row is no number"
    assert all(share.weight in (0, len(rows[share.rows]) / size) for share in shares)


def test_a_process_that_is_alone_changes_nothing() -> None:
    values = torch.ones(3, 2, requires_grad=True)
    assert ALONE.share(7) is WHOLE
    assert ALONE.mean(values, WHOLE) is values
    assert ALONE.gather(values, WHOLE, 3) is values
    assert ALONE.any(True)
    assert not ALONE.any(False)
    assert ALONE.writes
    assert ALONE.agree("anything")


@pytest.fixture(scope="module")
def straight(teacher_artifact: Path, bank_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Two processes, not interrupted."""
    return left_by(Job(teacher_artifact, bank_artifact, tmp_path_factory.mktemp("straight") / "two", UNEVEN), 2)


def test_two_processes_learn_what_one_learns(straight: list[dict[str, Any]], teacher_artifact: Path, bank_artifact: Path, tmp_path: Path) -> None:
    (alone,) = left_by(Job(teacher_artifact, bank_artifact, tmp_path / "one", UNEVEN), 1)
    first, second = straight
    assert_same_curve(first["records"][:1], alone["records"][:1], FORWARD)
    assert_same_curve(first["records"], alone["records"], TRAINED)
    assert any(record.get("hardened", 0) > 0 for record in alone["records"])
    assert [name.split(".")[1] for name in first["hardened"]] == [name.split(".")[1] for name in alone["hardened"]], "the same entries in the same order"
    assert len(alone["hardened"]) == 20, "some were forgotten"
    assert_equal_weights(first, second)
    for name, value in alone["weights"].items():
        if not name.endswith("key.bias"):  # softmax makes its true gradient zero, and Adam takes whole steps along what rounding leaves
            assert torch.allclose(first["weights"][name], value, atol=1e-3), name


def test_three_processes_share_two_rows(teacher_artifact: Path, small_bank_artifact: Path, tmp_path: Path) -> None:
    (alone,) = left_by(Job(teacher_artifact, small_bank_artifact, tmp_path / "one", UNEVEN), 1)
    found = left_by(Job(teacher_artifact, small_bank_artifact, tmp_path / "three", UNEVEN), 3)
    assert_same_curve(found[0]["records"], alone["records"], 1e-3)
    assert_equal_weights(found[0], found[1])
    assert_equal_weights(found[0], found[2])


def test_a_stop_that_one_process_hears_stops_all_and_they_go_on_to_the_same_bits(
    straight: list[dict[str, Any]], teacher_artifact: Path, bank_artifact: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "stopped"
    for step in (4, 9):
        stopped = left_by(Job(teacher_artifact, bank_artifact, folder, UNEVEN, stop=(step, 1)), 2)
        assert [left["step"] for left in stopped] == [step, step]
        assert (
            stopped[0]["outcome"]
            == stopped[1]["outcome"]
            == f"StoppedError: stopped after step {step} of 14 with a checkpoint; run the same command again to go on"
        )
    resumed = left_by(Job(teacher_artifact, bank_artifact, folder, UNEVEN), 2)
    assert [left["outcome"] for left in resumed] == ["done", "done"]
    assert_equal_weights(resumed[0], straight[0])
    assert_equal_weights(resumed[1], straight[0])
    assert [record["loss"] for record in resumed[0]["records"]] == [record["loss"] for record in straight[0]["records"][9:]]


def test_one_process_goes_on_from_the_checkpoint_of_two(straight: list[dict[str, Any]], teacher_artifact: Path, bank_artifact: Path, tmp_path: Path) -> None:
    left_by(Job(teacher_artifact, bank_artifact, tmp_path / "stopped", UNEVEN, stop=(9, 0)), 2)
    alone, _ = left_by(Job(teacher_artifact, bank_artifact, tmp_path / "stopped", UNEVEN), 1)
    assert_same_curve(alone["records"], straight[0]["records"][9:], TRAINED)


def test_the_loss_of_a_process_ends_the_others(teacher_artifact: Path, bank_artifact: Path, tmp_path: Path) -> None:
    (found,) = left_by(Job(teacher_artifact, bank_artifact, tmp_path / "lost", UNEVEN, lost=(3, 1)), 2)
    assert found["outcome"].startswith("ConnectionResetError: ")
    assert "another process of this distillation" in found["outcome"]
