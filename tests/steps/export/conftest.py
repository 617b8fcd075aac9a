"""What the tests of the export share: a tiny student, and both of its exports, made once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from asdfd.base.config import Run
from asdfd.base.loading import load_run

SETTINGS = (
    "synthesis.samples=96",
    "synthesis.maximum_length=6",
    "synthesis.pool=32",
    "distillation.steps=6",
    "distillation.batch_size=8",
    "evaluation.pseudo_samples=96",
    "evaluation.batch_size=16",
    "evaluation.latency_runs=3",
    "gate.minimum_agreement=0.5",
    "gate.minimum_parity=0.5",
    "gate.largest_export_drop=1",
)
"""Parameters of runs that take seconds. Tiny random models have logits of like size, which eight bits mix up more often than a trained model's."""


@dataclass(frozen=True)
class Exports:
    """A student, its teacher and its exports. Read only: copy one before a change."""

    run: Run
    teacher: Path
    student: Path
    onnx: Path
    int8: Path
    data: Path
    """Labelled texts that the int8 export was compared on as well."""


@pytest.fixture(scope="session")
def exports(teacher_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Exports:
    from asdfd import steps

    folder, run = tmp_path_factory.mktemp("exports"), load_run(settings=SETTINGS)
    bank = steps.synthesize(run, teacher_artifact, folder / "bank").path
    student = steps.distill(run, teacher_artifact, bank, folder / "student").path
    data = write_labelled(folder / "texts.csv")
    labelled = run.changed(evaluation=run.evaluation.changed(data=str(data)))
    onnx = steps.export(run, student, folder / "onnx", "onnx").path
    return Exports(run, teacher_artifact, student, onnx, steps.export(labelled, student, folder / "int8", "int8").path, data)


def write_labelled(path: Path) -> Path:
    """Random texts with labels that mean nothing: every figure on them is some number that is known."""
    from tests.tiny_models import label_names, random_texts

    names = label_names(3)
    rows = [f"{text},{names[index % 3]}" for index, text in enumerate(random_texts(60, seed=5, longest=30))]
    path.write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path
