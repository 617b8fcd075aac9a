"""A teacher of several labels a text, from its folder to a student that people can use: made, judged, gated, exported, and loaded as its card says."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from asdfd import steps
from tests.tiny_tasks import LABELS, Compression, compressed, labelled_texts, make_label_teacher, write_rows

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Compression:
    folder = tmp_path_factory.mktemp("labels")
    rows = [{"text": text, "label": [LABELS[label] for label in labels]} for text, labels in labelled_texts(200, seed=7)]
    settings = {
        "teacher.reference": make_label_teacher(folder / "source"),
        "synthesis.samples": 2048,
        "distillation.steps": 400,
        "evaluation.data": write_rows(folder / "texts.jsonl", rows),
        "evaluation.latency_runs": 2,
        "evaluation.pseudo_samples": 64,
    }
    return compressed(folder / "run", settings)


def test_the_student_learns_the_labels_of_its_teacher(made: Compression) -> None:
    """One set of labels of eight is right by chance."""
    assert made.metrics["teacher_accuracy"] > 0.9
    assert made.metrics["agreement"] > 0.45
    assert made.metrics["student_micro_f1"] > 0.75


def test_the_figures_are_scikit_learn_s_on_the_predictions(made: Compression) -> None:
    with (made.folder / "evaluation" / "predictions.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    truth, teacher, student = (np.array([[name in json.loads(row[who]) for name in LABELS] for row in rows]) for who in ("label", "teacher", "student"))
    assert made.metrics["several_labels"] is True
    for role, answers in (("teacher", teacher), ("student", student)):
        assert made.metrics[f"{role}_accuracy"] == pytest.approx(accuracy_score(truth, answers))
        assert made.metrics[f"{role}_micro_f1"] == pytest.approx(f1_score(truth, answers, average="micro"))
        assert made.metrics[f"{role}_macro_f1"] == pytest.approx(f1_score(truth, answers, average="macro"))
    assert made.metrics["agreement"] == pytest.approx(accuracy_score(teacher, student))
    assert [row["support"] for row in made.metrics["per_class"]] == truth.sum(0).tolist()
    assert "confusion_matrix" not in made.metrics


def test_report_and_gate_say_what_accuracy_is_and_limit_both_f1(made: Compression, tmp_path: Path) -> None:
    report = (made.folder / "evaluation" / "report.html").read_text(encoding="utf-8")
    for words in ("Subset accuracy (all labels of a text right, and no other)", "Micro F1", "agreement with the teacher on all labels of a text"):
        assert words in report
    off = {"minimum_parity": 0, "largest_parity_difference": 0, "largest_export_drop": 1, "worth": "ignore"}
    limits = made.run.gate.changed(minimum_micro_f1=0.999, minimum_macro_f1=0.1, minimum_accuracy=0.2, largest_drop=0.9, minimum_agreement=0.2, **off)
    verdict = json.loads((steps.judge(made.run.changed(gate=limits), made.folder / "evaluation", tmp_path / "verdict").path / "verdict.json").read_text())
    met = {check["check"]: check["passed"] for check in verdict["checks"]}
    assert met == {"minimum_accuracy": True, "largest_drop": True, "minimum_macro_f1": True, "minimum_micro_f1": False, "minimum_agreement": True}
    assert any("subset accuracy" in check["reason"] for check in verdict["checks"])


def test_the_card_s_lines_give_the_labels(made: Compression, capsys: pytest.CaptureFixture[str]) -> None:
    student = made.folder / "student"
    with (made.folder / "evaluation" / "predictions.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    texts = [text for text, _ in labelled_texts(200, seed=7)]
    index = next(place for place, row in enumerate(rows) if len(json.loads(row["student"])) == 2)
    for lines in re.findall(r"^```python\n(.*?)^```$", (student / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        exec(lines.replace("FOLDER_OR_NAME_OF_THIS_MODEL", str(student)).replace("A text to classify.", texts[index]), {})  # the card's own code
        assert sorted(json.loads(capsys.readouterr().out.replace("'", '"'))) == sorted(json.loads(rows[index]["student"]))


def test_an_export_gives_the_same_labels(made: Compression, tmp_path: Path) -> None:
    found = steps.export(made.run, made.folder / "student", tmp_path / "onnx", "onnx")
    document = json.loads((found.path / "export.json").read_text(encoding="utf-8"))
    assert document["parity"]["labelled_text"]["export_accuracy"] == pytest.approx(made.metrics["student_accuracy"])
    assert "for row in logits > 0" in (found.path / "README.md").read_text(encoding="utf-8")
    measured = steps.evaluate(made.run, made.folder / "teacher", made.folder / "student", tmp_path / "evaluation", beside=steps.Beside(found.path))
    again = json.loads((measured.path / "metrics.json").read_text(encoding="utf-8"))
    assert again["export_micro_f1"] == pytest.approx(made.metrics["student_micro_f1"])
    assert again["export_agreement_with_student"] == 1


def test_without_texts_agreement_is_on_all_labels_of_pseudo_samples(made: Compression, tmp_path: Path) -> None:
    run = made.run.changed(evaluation=made.run.evaluation.changed(data=""))
    found = steps.evaluate(run, made.folder / "teacher", made.folder / "student", tmp_path / "evaluation")
    metrics = json.loads((found.path / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["agreement_on_pseudo_samples"] > 0.5
    assert len(metrics["teacher_class_counts"]) == 3
    assert "labels on" in (found.path / "report.html").read_text(encoding="utf-8")
