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
from asdfd.method import vocabulary
from asdfd.method.bank import Bank
from asdfd.models.classifiers import load_teacher
from asdfd.registry.publication import push
from asdfd.registry.versions import resolve
from asdfd.steps.promotion import evaluate_version
from asdfd.storage.objects import open_objects
from tests.fine_tuned import TEXTS, fine_tune
from tests.tiny_models import WORDS, label_names
from tests.tolerance import assert_close

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


def test_a_student_with_fewer_words_is_compared_with_its_teacher_as_one_with_all(
    tuned: Path, teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On held-out samples it is asked with all words again, so its figures are those of the whole student; its files are smaller and say what was kept."""
    monkeypatch.setattr(vocabulary, "LEAST_EQUAL", 0.0)
    run = parameters(tuned, teacher_folder)
    fewer, whole = made(run, tmp_path / "fewer"), made(run.changed(student=run.student.changed(vocabulary="whole")), tmp_path / "whole")
    assert fewer["student"].recipe.config["vocabulary"] == "pruned"
    facts = json.loads((fewer["student"].path / "distillation.json").read_text())["vocabulary"]
    assert "vocabulary" not in json.loads((whole["student"].path / "distillation.json").read_text())
    weights = {name: sum(path.stat().st_size for path in found["student"].path.glob("*.safetensors")) for name, found in (("fewer", fewer), ("whole", whole))}
    assert facts["bytes"] == weights["fewer"] < weights["whole"]
    assert abs(facts["bytes_with_all"] - weights["whole"]) < 200, "but for the header"
    numbers = f"{facts['tokens']} of {facts['whole']} tokens"
    assert f"the student keeps {numbers}" in capsys.readouterr().err
    assert f"Of those {facts['whole']} tokens it has {facts['tokens']}" in (fewer["student"].path / "README.md").read_text()
    assert f"It has {facts['tokens']} of the teacher's {facts['whole']} tokens" in (fewer["evaluation"].path / "report.html").read_text()
    small, large = (json.loads((found["evaluation"].path / "metrics.json").read_text()) for found in (fewer, whole))
    for name in ("agreement_on_pseudo_samples", "mean_kl_on_pseudo_samples", "predicted_agreement"):
        assert_close(small[name], large[name], 1e-4, name)
    assert small["student_parameters"] < large["student_parameters"]


def test_the_teachers_int8_has_the_words_of_the_student_and_is_asked_by_its_own_tokenizer(
    tuned: Path, teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A student of all layers is the teacher, so its export is the teacher's int8 to the byte, and both say the same of texts of words that were dropped."""
    monkeypatch.setattr(vocabulary, "LEAST_EQUAL", 0.0)
    run = parameters(tuned, teacher_folder)
    run = run.changed(
        student=run.student.changed(layers="all"), gate=run.gate.changed(minimum_parity=0.5, largest_export_drop=1.0, largest_parity_difference=0.0)
    )
    teacher = steps.fetch(run, tmp_path / "teacher")
    rival = steps.export_teacher(run, teacher, tmp_path / "teacher-int8")
    student = steps.distill(run, teacher, steps.synthesize(run, teacher, tmp_path / "bank"), tmp_path / "student")
    exported = steps.export(run, student, tmp_path / "export", "int8")
    facts = json.loads((rival.path / "export.json").read_text())["vocabulary"]
    assert len(AutoTokenizer.from_pretrained(rival.path)) == facts["tokens"] < facts["whole"]
    assert not (rival.path / "footprint.npz").exists()
    data = tmp_path / "texts.csv"
    rows = [f"{' '.join(WORDS[start : start + 6])},{label_names(3)[start % 3]}" for start in range(60, 90)]
    data.write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    for name, source in (("none", ""), ("texts", str(data))):
        wanted = run.changed(evaluation=run.evaluation.changed(data=source))
        evaluation = steps.evaluate(wanted, teacher, student, tmp_path / name, beside=steps.Beside(exported, rival))
        metrics = json.loads((evaluation.path / "metrics.json").read_text())
        assert metrics["export_is_teacher_int8"]
        agreement = "agreement" if source else "agreement_on_pseudo_samples"
        assert metrics[f"teacher_int8_{agreement}"] == metrics[f"export_{agreement}"]
    for copied in ("tokenizer.json", "config.json"):
        assert (rival.path / copied).read_bytes() == (exported.path / copied).read_bytes()
