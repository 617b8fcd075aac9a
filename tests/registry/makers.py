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
OF_AN_EXPORT = {
    "export_format": "int8",
    "export_accuracy": 1.0,
    "export_agreement": 1.0,
    "export_agreement_with_student": 0.99,
    "export_largest_difference": 0.1,
    "export_bytes": 250,
    "export_latency_p50_seconds": 0.0005,
}
"""Metrics of an export."""


@dataclass(frozen=True)
class Folders:
    """The artifacts of one run."""

    teacher: Path
    student: Path
    evaluation: Path
    export: Path | None = None

    def with_verdict(self, verdict: Path) -> dict[str, Path]:
        """All that a push needs."""
        export = {} if self.export is None else {"export": self.export}
        return {"teacher": self.teacher, "student": self.student, "evaluation": self.evaluation, "verdict": verdict, **export}


def run_of(location: str, name: str = "tiny", gate: Mapping[str, Any] | None = None, **registry: Any) -> Run:
    """Parameters of a run that pushes to `location`."""
    return Run(registry=Registry(location=location, name=name, **registry), gate=Gate(**(gate or {})))


def make_folders(
    folder: Path, content: str, wrong: Sequence[int] = (), data: str = DATA, changes: Mapping[str, Any] | None = None, export: str = ""
) -> Folders:
    """The artifacts of a run whose student is told apart by `content` and errs on the rows `wrong`; `changes` are written into its metrics.json. With `export`,
    the content of an export of the student, that is evaluated as well: it is always right."""
    teacher = _artifact(folder / "teacher", Recipe("teacher", config={"reference": "folder:x"}), {"config.json": "{}", "model.safetensors": "teacher"})
    files = {"config.json": "{}", "model.safetensors": content, "distillation.json": "{}"}
    student = _artifact(folder / "student", Recipe("student", {"teacher": teacher.digest, "bank": "b" * 64}, seed=0), files)
    if not export:
        return Folders(teacher.path, student.path, make_evaluation(folder / "evaluation", teacher, student, wrong, data, changes).path)
    made = _artifact(folder / "export", Recipe("export", {"student": student.digest}), {"model.onnx": export, "export.json": '{"format": "int8"}'})
    return Folders(teacher.path, student.path, make_evaluation(folder / "evaluation", teacher, student, wrong, data, changes, made).path, made.path)


def make_evaluation(
    out: Path,
    teacher: Artifact,
    student: Artifact,
    wrong: Sequence[int] = (),
    data: str = DATA,
    changes: Mapping[str, Any] | None = None,
    export: Artifact | None = None,
) -> Artifact:
    """An evaluation of a student that errs on the rows `wrong`, and perhaps of an export that is always right."""
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
        **({} if export is None else OF_AN_EXPORT),
        **(changes or {}),
    }
    metrics = {name: value for name, value in metrics.items() if value is not None}
    more = ["" if export is None else f",{labels[row]}" for row in range(ROWS)]
    rows = "".join(f"{row},{labels[row]},{labels[row]},{answers[row]},0.9{more[row]}\n" for row in range(ROWS))
    head = f"index,label,teacher,student,student_confidence{'' if export is None else ',export'}\n"
    files = {"metrics.json": json.dumps(metrics), "predictions.csv": head + rows, "report.html": "<p>"}
    inputs = {"teacher": teacher.digest, "student": student.digest, **({"data": data} if data else {})}
    inputs |= {} if export is None else {"export": export.digest}
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
