"""Which version answers, look by look: it follows the stage, and whatever goes wrong leaves the old one answering."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from asdfd.base.errors import InputError
from asdfd.registry.records import alias_key
from asdfd.serving.instruments import Instruments
from asdfd.serving.stage import LONGEST_PAUSE, Stage
from asdfd.steps.promotion import roll_back
from asdfd.storage.folder import FolderObjects
from tests.registry.makers import run_of
from tests.serving.makers import NAME, push_student

HOUR = 3600.0


def staged(folder: Path, which: str = "production", every: float = HOUR) -> tuple[Stage, Instruments]:
    """What serves NAME@`which` of the registry in a folder."""
    instruments = Instruments(NAME, which, unsure_below=0.5)
    return Stage(FolderObjects(folder), f"{NAME}@{which}", signed=False, every=every, instruments=instruments), instruments


def value(instruments: Instruments, name: str) -> float | None:
    """A metric's value; None where it has none."""
    found = re.search(rf"^{name}{{[^}}]*}} (\S+)$", instruments.text(0).decode(), re.MULTILINE)
    return float(found[1]) if found else None


def weights_of(registry: Path, version: str) -> Path:
    """The weights of a stored version."""
    (found,) = (registry / "models" / NAME / "versions" / version).glob("student/model.safetensors")
    return found


def test_the_stage_is_followed_there_and_back(tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    first = push_student(str(registry), tmp_path / "1", 1)
    stage, instruments = staged(registry)
    assert (stage.model.version, stage.moves) == (first, True)
    before = stage.model
    stage.look()
    assert stage.model is before, "nothing is loaded again while nothing moves"
    second = push_student(str(registry), tmp_path / "2", 2)
    assert stage.model.version == first
    stage.look()
    assert stage.model.version == second
    assert f'version="{second}"' in instruments.text(0).decode()
    assert f'asdfd_serving_version_info{{format="pytorch",model="tiny",stage="production",version="{first}"}}' not in instruments.text(0).decode()
    roll_back(run_of(str(registry), NAME), NAME, "production", "worse")
    stage.look()
    assert stage.model.version == first


def test_a_version_that_is_named_never_moves(tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    first = push_student(str(registry), tmp_path / "1", 1)
    stage, instruments = staged(registry, first)
    push_student(str(registry), tmp_path / "2", 2)
    assert not stage.moves
    stage.look()
    assert stage.model.version == first
    assert value(instruments, "asdfd_serving_last_look_timestamp_seconds") is None, "no alert may fire on it"


def test_a_version_that_does_not_load_leaves_the_old_one_and_is_tried_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    registry = tmp_path / "registry"
    first = push_student(str(registry), tmp_path / "1", 1)
    stage, instruments = staged(registry, every=0.0)
    second = push_student(str(registry), tmp_path / "2", 2)
    weights = weights_of(registry, second)
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    stage.look()
    assert stage.model.version == first
    assert value(instruments, "asdfd_serving_load_failed") == 1
    told = capsys.readouterr().err
    assert "tiny@production: its version does not load" in told
    assert "model.safetensors: is not the file that its manifest describes" in told
    weights.write_bytes(whole)
    stage.look()
    assert stage.model.version == second
    assert value(instruments, "asdfd_serving_load_failed") == 0


def test_tries_become_rarer_until_the_stage_moves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    registry = tmp_path / "registry"
    first = push_student(str(registry), tmp_path / "1", 1)
    stage, instruments = staged(registry)
    weights_of(registry, push_student(str(registry), tmp_path / "2", 2)).write_bytes(b"broken")
    for _ in range(3):
        stage.look()
    assert capsys.readouterr().err.count("does not load") == 1, f"the next try comes after a pause, which grows to {LONGEST_PAUSE}"
    assert value(instruments, "asdfd_serving_load_failed") == 1
    roll_back(run_of(str(registry), NAME), NAME, "production", "broken")
    stage.look()
    assert (stage.model.version, value(instruments, "asdfd_serving_load_failed")) == (first, 0)


def test_a_stage_that_is_gone_leaves_the_version_answering(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    registry = tmp_path / "registry"
    first = push_student(str(registry), tmp_path / "1", 1)
    stage, instruments = staged(registry)
    looked = value(instruments, "asdfd_serving_last_look_timestamp_seconds")
    (registry / alias_key(NAME, "production")).unlink()
    stage.look()
    assert stage.model.version == first
    assert "no version holds this stage" in capsys.readouterr().err
    assert value(instruments, "asdfd_serving_last_look_timestamp_seconds") == looked


def test_nothing_is_served_where_there_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no version holds this stage"):
        staged(tmp_path / "registry")
    with pytest.raises(InputError, match="is not in"):
        staged(tmp_path / "registry", "0" * 16)
