"""The whole method on real questions: an encoder fine-tuned on TREC, shrunk to half its layers without TREC, judged on questions that it never saw."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from asdfd import steps
from asdfd.base.config import Evaluation
from asdfd.base.loading import load_run
from tests.real.trained import trained_teacher

BUDGET = ["distillation.steps=80", "synthesis.samples=2560", "evaluation.latency_runs=5"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The benchmark's MiniLM-L6 teacher, fetched."""
    return steps.fetch(load_run(settings=[f"teacher.reference={trained_teacher()}"]), tmp_path_factory.mktemp("trec") / "teacher").path


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The questions that were held out of the teacher's training."""
    import teachers

    names = json.loads((teachers.DATA / "trec" / "labels.json").read_text())["names"]
    file = tmp_path_factory.mktemp("questions") / "held-out.csv"
    with file.open("w", encoding="utf-8", newline="") as stream:
        texts, labels = teachers.read_split("trec", "validation")
        csv.writer(stream).writerows([("text", "label"), *((text, names[label]) for text, label in zip(texts, labels, strict=True))])
    return file


def compress(teacher: Path, questions: Path, folder: Path, settings: Sequence[str] = ()) -> dict[str, Any]:
    """Metrics of the student that the default preset, changed by `settings`, gives at the test's budget."""
    run = load_run(settings=[*BUDGET, *settings, f"evaluation.data={questions}"])
    bank = steps.synthesize(run, teacher, folder / "bank").path
    student = steps.distill(run, teacher, bank, folder / "student").path
    evaluation = steps.evaluate(run, teacher, student, folder / "evaluation").path
    return json.loads((evaluation / "metrics.json").read_text())


def untrained_accuracy(teacher: Path, questions: Path) -> float:
    """Accuracy of the student as it is derived."""
    from asdfd.evaluation.comparison import LabelledEvaluation, evaluate_text
    from asdfd.evaluation.texts import read_texts
    from asdfd.models.classifiers import Classifier, load_teacher
    from asdfd.models.students import derive_student

    classifier = load_teacher(teacher)
    data = read_texts(Evaluation(data=str(questions)), classifier.label_names)
    student = Classifier(derive_student(classifier, (1, 3, 5)), classifier.tokenizer, classifier.label_names)
    found = evaluate_text(classifier, student, data, batch_size=64, maximum_length=256)
    assert isinstance(found, LabelledEvaluation)
    return found.student.accuracy


@pytest.mark.real
def test_the_method_beats_random_tokens_on_real_questions(teacher: Path, questions: Path, tmp_path: Path) -> None:
    """At equal student steps, against a plain distillation on tokens drawn alike from the vocabulary, and against the student as derived."""
    import arms

    found = compress(teacher, questions, tmp_path / "default")
    random = compress(teacher, questions, tmp_path / "random", arms.ARMS["uniform-tokens"][1])
    accuracy = untrained_accuracy(teacher, questions)
    print({name: (found[name], random[name]) for name in ("student_accuracy", "teacher_accuracy", "mean_kl", "agreement")}, accuracy)
    assert found["data"]["rows"] == 500
    assert found["student_accuracy"] > random["student_accuracy"] + 0.02
    assert found["mean_kl"] < 0.9 * random["mean_kl"]
    assert found["student_accuracy"] > accuracy + 0.1
    assert found["compression"] > 1
