"""What the tests of the command line share: parameters that take seconds, and one artifact of every kind, made once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

TINY = {
    "synthesis.samples": "96",
    "synthesis.minimum_length": "3",
    "synthesis.maximum_length": "6",
    "synthesis.pool": "64",
    "distillation.steps": "24",
    "distillation.batch_size": "8",
    "distillation.adversary": "embedding",
    "distillation.selfsup_weight": "0.1",
    "distillation.checkpoint_seconds": "0",
    "distillation.log_every": "1",
    "evaluation.pseudo_samples": "32",
    "evaluation.latency_runs": "2",
    "evaluation.batch_size": "8",
}
"""Parameters of a run that takes about a second."""


def tiny_options(**changes: object) -> list[str]:
    """The options that set the tiny parameters; `section__name=value` changes or adds one."""
    settings = TINY | {name.replace("__", "."): str(value) for name, value in changes.items()}
    return [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]


@dataclass(frozen=True)
class Made:
    """One artifact of every kind, and some that do not belong to them. Read only: copy one before a change."""

    source: Path
    """The Hugging Face folder that the teacher was fetched from."""
    teacher: Path
    bank: Path
    student: Path
    shards: tuple[Path, Path]
    other_teacher: Path
    other_shard: Path
    """Shard 1 of the bank of another seed."""


@pytest.fixture(scope="session")
def made(teacher_folder: Path, teacher_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    from asdfd import steps
    from asdfd.base.loading import load_run
    from tests.tiny_models import make_teacher

    folder = tmp_path_factory.mktemp("made")
    run = load_run(settings=[f"{name}={value}" for name, value in TINY.items()])
    other = run.changed(seed=1, teacher=run.teacher.changed(reference=str(make_teacher(folder / "source", seed=1))))
    shards = [steps.synthesize(run, teacher_artifact, folder / f"shard-{number}", steps.Shard(number, 2)).path for number in range(2)]
    bank = steps.merge(shards, folder / "bank").path
    return Made(
        source=teacher_folder,
        teacher=teacher_artifact,
        bank=bank,
        student=steps.distill(run, teacher_artifact, bank, folder / "student").path,
        shards=(shards[0], shards[1]),
        other_teacher=steps.fetch(other, folder / "other-teacher").path,
        other_shard=steps.synthesize(other, teacher_artifact, folder / "other-shard", steps.Shard(1, 2)).path,
    )


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled texts for the tiny teacher."""
    path = tmp_path_factory.mktemp("data") / "data.csv"
    rows = ["wonderful movie,praise", "delivery late again,complaint", "where is my order,question", "boring plot,complaint", "i like this phone,praise"]
    path.write_text("text,label\n" + "\n".join(rows) + "\n")
    return path
