"""Artifacts that look like those of the steps and take a millisecond: no model is in them, which the registry never notices."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asdfd.base.artifacts import Artifact, Recipe, open_workspace
from asdfd.base.config import Gate, Registry, Run
from asdfd.registry.publication import judge_evaluation

ROWS = 400
DATA = "d" * 64
"""Digest of the labelled texts."""
CLASSES = ("yes", "no")


@dataclass(frozen=True)
class Folders:
    """The artifacts of one run."""

    teacher: Path
    student: Path
    evaluation: Path

    def with_verdict(self, verdict: Path) -> dict[str, Path]:
        """All that a push needs."""
        return {"teacher": self.teacher, "student": self.student, "evaluation": self.evaluation, "verdict": verdict}


def run_of(location: str, name: str = "tiny", gate: Mapping[str, Any] | None = None, **registry: Any) -> Run:
    """Parameters of a run that pushes to `location`."""
    return Run(registry=Registry(location=location, name=name, **registry), gate=Gate(**(gate or {})))


def make_folders(folder: Path, content: str, wrong: Sequence[int] = (), data: str = DATA, changes: Mapping[str, Any] | None = None) -> Folders:
    """The artifacts of a run whose student is told apart by `content` and errs on the rows `wrong`; `changes` are written into its metrics.json."""
    teacher = _artifact(folder / "teacher", Recipe("teacher", config={"reference": "folder:x"}), {"config.json": "{}", "model.safetensors": "teacher"})
    files = {"config.json": "{}", "model.safetensors": content, "distillation.json": "{}"}
    student = _artifact(folder / "student", Recipe("student", {"teacher": teacher.digest, "bank": "b" * 64}, seed=0), files)
    evaluation = make_evaluation(folder / "evaluation", teacher, student, wrong, data, changes)
    return Folders(teacher.path, student.path, evaluation.path)


def make_evaluation(
    out: Path, teacher: Artifact, student: Artifact, wrong: Sequence[int] = (), data: str = DATA, changes: Mapping[str, Any] | None = None
) -> Artifact:
    """An evaluation of a student that errs on the rows `wrong`."""
    errors = set(wrong)
    labels = [CLASSES[row % 2] for row in range(ROWS)]
    answers = [CLASSES[(row + (row in errors)) % 2] for row in range(ROWS)]
    accuracy = 1 - len(errors) / ROWS
    recall = {name: 1 - sum(labels[row] == name for row in errors) / (ROWS / 2) for name in CLASSES}
    metrics = {
        "data": {"kind": "labelled_text", "name": "x", "digest": data, "rows": ROWS},
        "teacher_accuracy": 1.0,
        "student_accuracy": accuracy,
        "agreement": accuracy,
        "per_class": [{"name": name, "support": ROWS // 2, "student_recall": recall[name]} for name in CLASSES],
        "student_bytes": 1000,
        "student_latency_p50_seconds": 0.001,
        **(changes or {}),
    }
    metrics = {name: value for name, value in metrics.items() if value is not None}
    rows = "".join(f"{row},{labels[row]},{labels[row]},{answers[row]},0.9\n" for row in range(ROWS))
    files = {"metrics.json": json.dumps(metrics), "predictions.csv": "index,label,teacher,student,student_confidence\n" + rows, "report.html": "<p>"}
    inputs = {"teacher": teacher.digest, "student": student.digest, **({"data": data} if data else {})}
    return _artifact(out, Recipe("evaluation", inputs), files)


def make_judged(run: Run, folder: Path, content: str, wrong: Sequence[int] = (), **more: Any) -> dict[str, Path]:
    """The artifacts of a run with the verdict over them: all that a push needs."""
    folders = make_folders(folder, content, wrong, **more)
    return folders.with_verdict(judge_evaluation(run, folders.evaluation, folder / "verdict").path)


def _artifact(out: Path, recipe: Recipe, files: Mapping[str, str]) -> Artifact:
    workspace = open_workspace(out, recipe)
    if isinstance(workspace, Artifact):
        return workspace
    for name, content in files.items():
        (workspace.artifact / name).write_text(content, encoding="utf-8")
    return workspace.finish({})
