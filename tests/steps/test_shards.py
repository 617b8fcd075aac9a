"""What two shards of a bank tell of their progress, and what `asdfd run` shows of it."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path

import pytest
import torch

from asdfd import steps
from asdfd.base.errors import StoppedError
from asdfd.base.interruption import StopRequest
from asdfd.base.loading import load_run
from asdfd.base.telemetry import RUN_FOLDER, Lines
from asdfd.kubeflow.relay import Relay
from asdfd.method.bank import Entries, write_part
from asdfd.models import classifiers

SMALL = ["synthesis.samples=224", "synthesis.minimum_length=3", "synthesis.maximum_length=4", "synthesis.guessing=none"]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of 32 entries, so that 224 samples are seven parts: four of the first shard and three of the second."""
    monkeypatch.setattr("asdfd.method.bank.PART", 32)
    monkeypatch.setattr("asdfd.method.synthesis.PART", 32)


def told(teacher: Path, out: Path, shards: int, shard: int, capsys: pytest.CaptureFixture[str]) -> str:
    """What the step of a shard writes to stderr."""
    capsys.readouterr()
    steps.synthesize(load_run(settings=[*SMALL, f"synthesis.shards={shards}"]), teacher, out, shard)
    return capsys.readouterr().err


def test_each_of_two_shards_is_shown_by_its_own_parts(
    teacher_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(RUN_FOLDER, str(tmp_path))
    events = [told(teacher_artifact, tmp_path / str(shard), 2, shard, capsys) for shard in range(2)]
    monkeypatch.delenv(RUN_FOLDER)
    relay = Relay(io.StringIO(), StopRequest(), Lines().hear)
    for lines in zip_longest(*(re.findall(r".*\n", text) for text in events), fillvalue=""):  # they run side by side
        relay.write("".join(lines))
    lines = capsys.readouterr().err.splitlines()
    assert {line.partition(",")[0] for line in lines} == {"synthesize shard 0", "synthesize shard 1"}
    ends = sorted(line.rpartition(" (100 %)")[0] for line in lines if "100 %" in line)  # whichever comes to its end first
    assert ends == ["synthesize shard 0, parts 4/4", "synthesize shard 1, parts 3/3"]


def test_a_shard_that_is_alone_is_no_shard_to_people(teacher_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "synthesize, parts 7/7 (100 %)" in told(teacher_artifact, tmp_path / "shard", 1, 0, capsys)


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
