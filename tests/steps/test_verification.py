"""What a process has verified it does not verify again: artifacts are handed on, and a path is read once a step."""

from __future__ import annotations

from pathlib import Path

import pytest

from asdfd import steps
from asdfd.base import artifacts
from asdfd.base.artifacts import Artifact
from asdfd.base.errors import InputError
from asdfd.base.loading import load_run

SETTINGS = [
    *("synthesis.samples=32", "synthesis.maximum_length=8", "synthesis.pool=16", "distillation.steps=1", "distillation.batch_size=8"),
    *("evaluation.pseudo_samples=32", "evaluation.latency_runs=1"),
]


@pytest.fixture
def verifications(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kind of every artifact that is read, by the real reader."""
    read, kinds = artifacts.read, list[str]()

    def counted(path: Path, kind: str) -> Artifact:
        kinds.append(kind)
        return read(path, kind)

    monkeypatch.setattr(artifacts, "read", counted)
    return kinds


@pytest.mark.slow
def test_a_whole_compression_in_one_process_reads_nothing_again(teacher_folder: Path, tmp_path: Path, verifications: list[str]) -> None:
    run = load_run(settings=[f"teacher.reference={teacher_folder}", *SETTINGS])
    made = steps.compress(run, tmp_path / "run")
    assert verifications == []
    for step in (
        lambda: steps.synthesize(run, made["teacher"].path, tmp_path / "bank"),
        lambda: steps.distill(run, made["teacher"].path, made["bank"].path, tmp_path / "student"),
        lambda: steps.evaluate(run, made["teacher"].path, made["student"].path, tmp_path / "evaluation"),
    ):
        verifications.clear()
        again = step()
        assert sorted(verifications) == sorted(set(again.recipe.inputs)), "each input once, in a process of its own"


def test_a_verified_artifact_of_another_kind_is_refused(teacher_artifact: Path) -> None:
    found = artifacts.read(teacher_artifact, "teacher")
    assert artifacts.verified(found, "teacher") is found
    assert artifacts.verified(teacher_artifact, "teacher") == found
    with pytest.raises(InputError, match="is a teacher, a student is needed here"):
        artifacts.verified(found, "student")
