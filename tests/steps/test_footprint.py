"""A run with the teacher's public encoder: what it reveals is in the student's facts, card and report, and samples take after the training texts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from asdfd import steps
from asdfd.base.artifacts import Artifact
from asdfd.base.config import Run
from asdfd.base.loading import load_run
from asdfd.method.bank import Bank
from asdfd.models.classifiers import load_teacher
from asdfd.registry.publication import push
from asdfd.registry.versions import resolve
from asdfd.steps.promotion import evaluate_version
from asdfd.storage.objects import open_objects
from tests.fine_tuned import TEXTS, fine_tune

SMALL = ("samples=96", "minimum_length=3", "maximum_length=20")


def parameters(teacher: Path, base: Path | None) -> Run:
    more = ("distillation.steps=3", "distillation.batch_size=8", "evaluation.pseudo_samples=32", "evaluation.latency_runs=1", "device=cpu")
    small = (f"synthesis.{name}" for name in SMALL)
    named = [] if base is None else [f"teacher.base={base}"]
    return load_run(settings=[f"teacher.reference={teacher}", *named, *small, *more])


def made(run: Run, out: Path) -> dict[str, Artifact]:
    """Teacher, bank, student and evaluation of a run without data."""
    teacher = steps.fetch(run, out / "teacher")
    bank = steps.synthesize(run, teacher, out / "bank")
    student = steps.distill(run, teacher, bank, out / "student")
    return {"teacher": teacher, "bank": bank, "student": student, "evaluation": steps.evaluate(run, teacher, student, out / "evaluation")}


@pytest.fixture(scope="module")
def tuned(teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fine_tune(teacher_folder, tmp_path_factory.mktemp("tuned") / "teacher")


def test_a_run_with_the_encoder_says_what_the_teacher_reveals_and_draws_accordingly(tuned: Path, teacher_folder: Path, tmp_path: Path) -> None:
    found = made(parameters(tuned, teacher_folder), tmp_path)
    footprint = load_teacher(found["teacher"]).footprint
    assert footprint is not None
    facts = json.loads((found["student"].path / "distillation.json").read_text())
    assert facts["bank"]["what_the_teacher_reveals"] == footprint.facts()
    numbers = f"{footprint.moved} of {len(footprint.tokens)} tokens"
    assert f"reveal which {numbers} those texts held" in " ".join((found["student"].path / "README.md").read_text().split())
    report = (found["evaluation"].path / "report.html").read_text()
    assert "What the teacher reveals" in report
    assert footprint.base in report
    bank = Bank(found["bank"].path)
    drawn = {int(token) for row in range(len(bank)) for token in bank.content(np.array([row]))[0]}
    rows = AutoTokenizer.from_pretrained(tuned)(TEXTS, add_special_tokens=False)["input_ids"]
    assert drawn <= {token for row in rows for token in row}
    assert bank.lengths.max() <= max(map(len, rows))


def test_without_it_nothing_is_said_and_an_encoder_that_tells_nothing_changes_no_file_of_the_student(teacher_folder: Path, tmp_path: Path) -> None:
    frozen = fine_tune(teacher_folder, tmp_path / "frozen", freeze=True)
    plain, named = (made(parameters(frozen, base), tmp_path / name) for name, base in (("plain", None), ("named", teacher_folder)))
    assert "what_the_teacher_reveals" not in (plain["student"].path / "distillation.json").read_text()
    assert "reveal" not in (plain["student"].path / "README.md").read_text()
    for kind in ("teacher", "bank", "student"):
        assert named[kind].digest == plain[kind].digest


def test_a_promotion_fetches_the_teacher_with_the_encoder_of_its_run(
    tuned: Path, teacher_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only then it is the teacher that the student was made from, and evaluated with."""
    run = parameters(tuned, teacher_folder)
    loose = run.gate.changed(largest_drop=1.0, minimum_agreement=0.0, champion_margin=1.0)
    run = run.changed(gate=loose, registry=run.registry.changed(location=str(tmp_path / "registry")))
    found = made(run, tmp_path)
    found["verdict"] = steps.judge(run, found["evaluation"].path, tmp_path / "verdict")
    pushed = push(run, {kind: artifact.path for kind, artifact in found.items() if kind != "bank"}, {})
    store = open_objects(run.registry.location)
    capsys.readouterr()
    again = evaluate_version(
        store, run.changed(teacher=run.teacher.changed(base="")), resolve(store, f"{pushed.name}@{pushed.version}", signed=False), "", tmp_path / "v"
    )
    assert again.recipe.inputs["teacher"] == found["teacher"].digest
    assert "teacher.base is empty" not in capsys.readouterr().err
