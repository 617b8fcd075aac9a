"""Versions whose students really answer: tiny random classifiers, pushed to a registry as the pipeline pushes."""

from __future__ import annotations

import json
from pathlib import Path

from asdfd.base import artifacts
from asdfd.base.artifacts import Artifact, Recipe, open_workspace
from asdfd.models.classifiers import load_student
from asdfd.models.encoding import input_limit
from asdfd.models.onnx import FIGURES, MODEL, write_model
from asdfd.registry import publication
from asdfd.registry.publication import judge_evaluation
from tests.registry.makers import make_evaluation, run_of
from tests.tiny_models import POSITIONS, bert_tokenizer, make_teacher

NAME = "tiny"
ABOUT = ("config.json", "tokenizer.json", "tokenizer_config.json")
"""Files of a student that its export has as well."""


def make_student(folder: Path, seed: int = 0) -> Artifact:
    """A random classifier as a student; each seed makes another one."""
    workspace = open_workspace(folder, Recipe("student", {"teacher": "a" * 64, "bank": "b" * 64}, seed=seed))
    if isinstance(workspace, Artifact):
        return workspace
    make_teacher(workspace.artifact, layers=1, seed=seed)
    (workspace.artifact / "distillation.json").write_text("{}", encoding="utf-8")
    return workspace.finish({})


def make_export(folder: Path, student: Artifact, form: str, belongs_to: str = "") -> Artifact:
    """An export as `asdfd export` lays it out, without the comparison that takes most of the time; of another student where a digest is given."""
    workspace = open_workspace(folder, Recipe("export", {"student": belongs_to or student.digest}, {"format": form}))
    assert not isinstance(workspace, Artifact)
    classifier = load_student(student)
    write_model(classifier, student.path, workspace.artifact / MODEL, form, workspace.path / "float32.onnx")
    for name in ABOUT:
        (workspace.artifact / name).write_bytes((student.path / name).read_bytes())
    longest = input_limit(classifier, 0)
    figures = {"format": form, "label_names": list(classifier.label_names), "padding": classifier.tokenizer.pad_token_id, "maximum_length": longest}
    (workspace.artifact / FIGURES).write_text(json.dumps(figures), encoding="utf-8")
    return workspace.finish({})


def push_student(location: str, folder: Path, seed: int, stage: str = "production") -> str:
    """Push the student of a seed, which takes a stage; its version."""
    run = run_of(location, NAME, {"minimum_agreement": 0, "champion_margin": 1}, stage=stage)
    teacher = open_workspace(folder / "teacher", Recipe("teacher", config={"reference": "folder:x"}))
    if not isinstance(teacher, Artifact):
        (teacher.artifact / "config.json").write_text("{}", encoding="utf-8")
        teacher = teacher.finish({})
    workspace = open_workspace(folder / "student", Recipe("student", {"teacher": teacher.digest, "bank": "b" * 64}, seed=seed))
    assert not isinstance(workspace, Artifact)
    make_teacher(workspace.artifact, layers=1, seed=seed)
    (workspace.artifact / "distillation.json").write_text("{}", encoding="utf-8")
    student = workspace.finish({})
    evaluation = make_evaluation(folder / "evaluation", teacher, student)
    verdict = judge_evaluation(run, evaluation.path, folder / "verdict")
    folders = {"teacher": teacher.path, "student": student.path, "evaluation": evaluation.path, "verdict": verdict.path}
    return publication.push(run, folders, {}).version


def probabilities_of(student: Path, texts: list[str]) -> list[list[float]]:
    """What a student answers by itself, each text alone."""
    import torch

    classifier = load_student(artifacts.read(student, "student"))
    rows = []
    with torch.inference_mode():
        for text in texts:
            batch = bert_tokenizer()(text, truncation=True, max_length=POSITIONS, return_tensors="pt")
            rows.append(torch.softmax(classifier.model(**batch).logits[0].double(), 0).tolist())
    return rows
