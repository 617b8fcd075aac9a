"""A bank that several make: machines, each a shard of it, or the devices of one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from asdfd import steps
from asdfd.base.errors import StoppedError
from asdfd.base.loading import load_run
from asdfd.method.bank import Entries, write_part
from asdfd.models import classifiers

SMALL = ["synthesis.samples=224", "synthesis.minimum_length=3", "synthesis.maximum_length=4", "synthesis.guessing=none"]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of 32 entries, so that 224 samples are seven parts: four of the first shard and three of the second."""
    monkeypatch.setattr("asdfd.method.bank.PART", 32)
    monkeypatch.setattr("asdfd.method.synthesis.PART", 32)


def test_shards_of_several_machines_are_the_bank_of_one(teacher_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = load_run(settings=SMALL)
    one = steps.synthesize(run, teacher_artifact, tmp_path / "one")
    assert "synthesize, parts 7/7 (100 %)" in capsys.readouterr().err
    shards = [steps.synthesize(run, teacher_artifact, tmp_path / str(number), steps.Shard(number, 2)) for number in range(2)]
    assert [sorted(shard.files) for shard in shards] == [[f"part-{part:05d}.safetensors" for part in range(first, 7, 2)] for first in (0, 1)]
    told = capsys.readouterr().err
    assert "synthesize shard 0/2, parts 4/4 (100 %)" in told
    assert "synthesize shard 1/2, parts 3/3 (100 %)" in told
    assert steps.merge([shards[1].path, shards[0].path], tmp_path / "merged").digest == one.digest


def devices(count: int) -> Callable[[str], list[torch.device]]:
    """So many devices, all of them the processor: there is no machine with several GPUs here."""
    return lambda _: [torch.device("cpu")] * count


@pytest.mark.parametrize("guessing", ["none", "embedding"])
def test_several_devices_share_the_parts_of_one_bank(guessing: str, teacher_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = load_run(settings=[*SMALL, f"synthesis.guessing={guessing}", "synthesis.rounds=1"])
    one = steps.synthesize(run, teacher_artifact, tmp_path / "one")
    made: dict[str, list[int]] = {}
    write = write_part

    def noted(folder: Path, part: int, entries: Entries) -> None:
        made.setdefault(threading.current_thread().name, []).append(part)
        write(folder, part, entries)

    monkeypatch.setattr("asdfd.method.synthesis.write_part", noted)
    monkeypatch.setattr(classifiers, "usable_devices", devices(3))
    several = steps.synthesize(run, teacher_artifact, tmp_path / "several")
    assert sorted(made.values()) == [[0, 3, 6], [1, 4], [2, 5]]
    assert several.digest == one.digest


def test_a_stop_ends_the_work_of_every_device_and_what_is_made_is_kept(teacher_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = load_run(settings=SMALL)
    monkeypatch.setattr(classifiers, "usable_devices", devices(2))
    with pytest.raises(StoppedError, match="of 7; run the same command again to go on"):
        steps.synthesize(run, teacher_artifact, tmp_path / "bank", should_stop=lambda: True)
    assert 1 <= len(list((tmp_path / "bank.partial").rglob("part-*.safetensors"))) < 7
    assert steps.synthesize(run, teacher_artifact, tmp_path / "bank").digest == steps.synthesize(run, teacher_artifact, tmp_path / "straight").digest
