"""Versions whose students really answer: tiny random classifiers, pushed to a registry as the pipeline pushes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asdfd.base import artifacts
from asdfd.base.artifacts import Artifact, Recipe, open_workspace
from asdfd.models.classifiers import load_student
from asdfd.models.encoding import Input, encode, input_limit
from asdfd.models.onnx import FIGURES, MODEL, load_export, write_model
from asdfd.models.pruning import prune
from asdfd.models.students import save_student
from asdfd.registry import publication
from asdfd.registry.publication import judge_evaluation
from tests.registry.makers import make_evaluation, run_of
from tests.tiny_models import POSITIONS, bert_tokenizer, make_teacher

NAME = "tiny"
ABOUT = ("config.json", "tokenizer.json", "tokenizer_config.json")
"""Files of a student that its export has as well."""


def make_student(folder: Path, seed: int = 0, *, teacher: str = "a" * 64, pairs: bool = False, several: bool = False) -> Artifact:
    """A random classifier as a student, each seed another one; of pairs of texts, or with several labels a text."""
    workspace = open_workspace(folder, Recipe("student", {"teacher": teacher, "bank": "b" * 64}, seed=seed))
    if isinstance(workspace, Artifact):
        return workspace
    make_teacher(workspace.artifact, layers=1, seed=seed, problem_type="multi_label_classification" if several else None)
    (workspace.artifact / "distillation.json").write_text(json.dumps({"parameters": {"synthesis": {"pairs": pairs}}}), encoding="utf-8")
    return workspace.finish({})


def make_pruned(folder: Path, whole: Artifact, texts: Sequence[str]) -> Artifact:
    """A student with the tokens of some texts, and those that it cannot do without."""
    workspace = open_workspace(folder, Recipe("student", {"teacher": "a" * 64, "bank": "b" * 64}, {"vocabulary": "pruned"}))
    assert not isinstance(workspace, Artifact)
    classifier = load_student(whole)
    pruned = prune(classifier, {token for ids in classifier.tokenizer(list(texts))["input_ids"] for token in ids})
    save_student(pruned.model, pruned, workspace.artifact)
    (workspace.artifact / "distillation.json").write_text("{}", encoding="utf-8")
    return workspace.finish({})


def make_export(folder: Path, student: Artifact, form: str, belongs_to: str = "", *, pairs: bool = False) -> Artifact:
    """An export as `asdfd export` lays it out, without the comparison that takes most of the time; of another student where a digest is given."""
    workspace = open_workspace(folder, Recipe("export", {"student": belongs_to or student.digest}, {"format": form}))
    assert not isinstance(workspace, Artifact)
    classifier = load_student(student)
    write_model(classifier, student.path, workspace.artifact / MODEL, form, workspace.path / "float32.onnx")
    for name in ABOUT:
        (workspace.artifact / name).write_bytes((student.path / name).read_bytes())
    figures = {
        "format": form,
        "label_names": list(classifier.label_names),
        "padding": classifier.tokenizer.pad_token_id,
        "maximum_length": input_limit(classifier, 0),
        "pairs": pairs,
        "several_labels": classifier.several,
    }
    (workspace.artifact / FIGURES).write_text(json.dumps(figures), encoding="utf-8")
    return workspace.finish({})


def push_student(location: str, folder: Path, seed: int, form: str = "", *, pairs: bool = False, several: bool = False) -> str:
    """Push the student of a seed, with an export of a format or without one, so that it takes production; its version."""
    run = run_of(location, NAME, {"minimum_agreement": 0, "champion_margin": 1}, stage="production")
    teacher = open_workspace(folder / "teacher", Recipe("teacher", config={"reference": "folder:x"}))
    if not isinstance(teacher, Artifact):
        (teacher.artifact / "config.json").write_text("{}", encoding="utf-8")
        teacher = teacher.finish({})
    student = make_student(folder / "student", seed, teacher=teacher.digest, pairs=pairs, several=several)
    export = make_export(folder / "export", student, form, pairs=pairs) if form else None
    evaluation = make_evaluation(folder / "evaluation", teacher, student, export=export)
    verdict = judge_evaluation(run, evaluation.path, folder / "verdict")
    folders = {"teacher": teacher.path, "student": student.path, "evaluation": evaluation.path, "verdict": verdict.path}
    return publication.push(run, folders | ({"export": export.path} if export else {}), {}).version


def probabilities_of(student: Path, inputs: Sequence[Input]) -> list[list[float]]:
    """What a student answers by itself, each text or pair alone."""
    import torch

    classifier = load_student(artifacts.read(student, "student"))
    rows = []
    with torch.inference_mode():
        for texts in inputs:
            first, second = texts if isinstance(texts, tuple) else (texts, None)
            batch = bert_tokenizer()(first, second, truncation=True, max_length=POSITIONS, return_tensors="pt")
            logits = classifier.model(**batch).logits[0].double()
            rows.append((torch.sigmoid(logits) if classifier.several else torch.softmax(logits, 0)).tolist())
    return rows


def probabilities_of_export(folder: Path, texts: Sequence[str]) -> list[list[float]]:
    """What the export in a pushed student's folder answers to texts in one batch, by itself."""
    classifier = load_student(artifacts.read(folder / "student", "student"))
    logits = load_export(folder / "export").logits(encode(classifier, texts, 0), len(texts)).astype(np.float64)
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (shifted / shifted.sum(axis=1, keepdims=True)).tolist()
