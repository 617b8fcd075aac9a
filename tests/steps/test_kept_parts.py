"""Finished parts of a bank that outlive a pod: each pod is a folder here, which shares nothing with the one before but the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from asdfd import steps
from asdfd.base.errors import StoppedError
from asdfd.base.loading import load_run
from asdfd.method import synthesis
from asdfd.method.bank import Entries
from asdfd.storage.objects import open_objects
from tests.steps.test_checkpoints import after

RUN = load_run(
    settings=[
        "synthesis.samples=224",
        "synthesis.minimum_length=3",
        "synthesis.maximum_length=4",
        "synthesis.guessing=embedding",
        "distillation.steps=2",
        "distillation.batch_size=8",
        "device=cpu",
    ]
)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of 32 entries, so that 224 samples are seven parts."""
    monkeypatch.setattr("asdfd.method.bank.PART", 32)
    monkeypatch.setattr("asdfd.method.synthesis.PART", 32)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the parts that are made and not taken over, as they come."""
    found: list[int] = []
    make = synthesis.synthesize_part

    def noted(guesser: synthesis.Guesser, part: int) -> Entries:
        found.append(part)
        return make(guesser, part)

    monkeypatch.setattr(synthesis, "synthesize_part", noted)
    return found


def synthesize_until(count: int, teacher: Path, pod: Path, location: str) -> None:
    """Make the bank in a pod that gets SIGTERM after so many parts."""
    pod.mkdir()
    with pytest.raises(StoppedError):
        steps.synthesize(RUN, teacher, pod / "bank", should_stop=after(count - 1), checkpoints=location)


def parts(location: str) -> list[int]:
    """Numbers of the parts that lie at a location."""
    return [int(info.key.partition("/part-")[2][:5]) for info in open_objects(location).list("")]


def test_another_pod_goes_on_to_the_same_bytes(teacher_artifact: Path, location: str, tmp_path: Path, made: list[int]) -> None:
    straight = steps.synthesize(RUN, teacher_artifact, tmp_path / "straight").digest
    made.clear()
    synthesize_until(3, teacher_artifact, tmp_path / "first", location)
    assert parts(location) == [0, 1, 2]
    synthesize_until(5, teacher_artifact, tmp_path / "second", location)
    assert parts(location) == [0, 1, 2, 3, 4]
    bank = steps.synthesize(RUN, teacher_artifact, tmp_path / "third", checkpoints=location)
    assert (made, bank.digest) == ([0, 1, 2, 3, 4, 5, 6], straight), "every part once"
    assert parts(location), "whoever made the bank may still lose it"
    steps.distill(RUN, teacher_artifact, bank, tmp_path / "student", checkpoints=location)
    assert not [key for info in open_objects(location).list("") if "/part-" in (key := info.key)], "who distils on it has it safe"


def test_parts_are_stored_now_and_then_while_the_others_are_made(
    teacher_artifact: Path, tmp_path: Path, made: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    location = str(tmp_path / "checkpoints")
    steps.synthesize(RUN, teacher_artifact, tmp_path / "quick", checkpoints=location)
    assert parts(location) == [], "a bank of seconds needs none"
    monkeypatch.setattr("asdfd.steps.kept_parts.SECONDS", 0)
    whole = steps.synthesize(RUN, teacher_artifact, tmp_path / "bank", checkpoints=location)
    assert 0 in parts(location)
    made.clear()
    again = steps.synthesize(RUN, teacher_artifact, tmp_path / "again", checkpoints=location)
    assert again.digest == whole.digest
    assert 0 not in made


@pytest.mark.parametrize("damage", ["another byte", "cut off", "another name"])
def test_a_part_that_is_not_whole_is_made_again(
    damage: str, teacher_artifact: Path, tmp_path: Path, made: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    location = tmp_path / "checkpoints"
    synthesize_until(3, teacher_artifact, tmp_path / "first", str(location))
    (part,) = location.glob("*/part-00001-*")
    match damage:
        case "another byte":
            part.write_bytes(part.read_bytes()[:-1] + bytes([part.read_bytes()[-1] ^ 1]))
        case "cut off":
            part.write_bytes(part.read_bytes()[:-100])
        case _:
            part.rename(part.with_name("part-00001.safetensors"))
    made.clear()
    bank = steps.synthesize(RUN, teacher_artifact, tmp_path / "bank", checkpoints=str(location))
    assert made == [1, 3, 4, 5, 6]
    assert bank.digest == steps.synthesize(RUN, teacher_artifact, tmp_path / "straight").digest
    assert ("part 1 cannot be used, it is made again" in capfd.readouterr().err) == (damage != "another name")


def test_a_place_that_cannot_be_written_costs_its_parts_and_nothing_else(teacher_artifact: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    synthesize_until(3, teacher_artifact, tmp_path / "first", str(tmp_path / "file"))
    assert "asdfd: finished parts could not be stored, and the synthesis goes on: " in capfd.readouterr().err
