"""Scores against values worked out by hand, predictions against transformers' own, and what metrics.json holds."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from asdfd.base.errors import InputError, RefusedError
from asdfd.evaluation.comparison import Evaluated, LabelledEvaluation, UnlabelledEvaluation, compare_on_text, evaluate_pseudo, evaluate_text
from asdfd.evaluation.documents import metrics_document, write_predictions
from asdfd.evaluation.latency import BATCHES, WARM_UP, Latency, LatencyComparison, measure
from asdfd.evaluation.logits import predict
from asdfd.evaluation.prediction import NOT_FOR_PAIRS, NOT_FOR_SEVERAL, Basis
from asdfd.evaluation.scores import expected_calibration_error, log_softmax, mean_kl, score, softmax
from asdfd.evaluation.texts import Texts
from asdfd.models.classifiers import Classifier, load_classifier
from asdfd.models.encoding import encode
from asdfd.models.sizes import Size, size
from asdfd.models.students import derive_student, save_student
from tests.tiny_models import FAMILIES, POSITIONS, make_teacher, random_texts
from tests.tolerance import assert_close

NAMES = ("ham", "spam", "other")
LABELS = np.array([0, 0, 0, 1, 1, 2])
TEACHER_CLASSES = [0, 0, 0, 1, 2, 2]
STUDENT_CLASSES = [0, 0, 1, 1, 2, 1]


def logits_of(classes: list[int], height: float = 2.0) -> np.ndarray:
    """Logits [N, 3] with `height` at each class and 0 elsewhere."""
    return (height * np.eye(3)[classes]).astype(np.float32)


def labelled(texts: list[str], labels: list[int]) -> Texts:
    return Texts(tuple(texts), tuple(labels), "d" * 64, "texts.csv")


DATA = labelled(["x"] * 6, LABELS.tolist())
UNLABELLED = replace(DATA, labels=None)
SINGLE = Basis()


def on_labels(teacher: list[int], student: list[int], data: Texts = DATA, names: tuple[str, ...] = NAMES) -> LabelledEvaluation:
    result = compare_on_text(logits_of(teacher), logits_of(student), data, names)
    assert isinstance(result, LabelledEvaluation)
    return result


@pytest.fixture(scope="module")
def teacher(teacher_folder: Path) -> Classifier:
    return load_classifier(teacher_folder, "teacher")


@pytest.fixture(scope="module")
def student(teacher: Classifier) -> Classifier:
    return Classifier(derive_student(teacher, (1, 3)), teacher.tokenizer, teacher.label_names)


def test_text_evaluation_against_values_worked_out_by_hand() -> None:
    result = on_labels(TEACHER_CLASSES, STUDENT_CLASSES)
    assert result.support == (3, 2, 1)
    assert result.teacher.accuracy == pytest.approx(5 / 6)
    assert result.student.accuracy == pytest.approx(3 / 6)
    assert result.retention == pytest.approx(3 / 5)
    assert result.fidelity.agreement.value == pytest.approx(4 / 6)
    assert result.student.confusion_matrix == ((2, 1, 0), (0, 1, 1), (0, 1, 0))
    assert result.student.precision == pytest.approx((1, 1 / 3, 0))
    assert result.student.recall == pytest.approx((2 / 3, 1 / 2, 0))
    assert result.student.f1 == pytest.approx((4 / 5, 2 / 5, 0))
    assert result.student.macro_f1 == pytest.approx((4 / 5 + 2 / 5) / 3)
    confidence = math.exp(2) / (math.exp(2) + 2)
    assert result.student.expected_calibration_error == pytest.approx(confidence - 1 / 2)
    assert result.teacher.expected_calibration_error == pytest.approx(5 / 6 - confidence)
    # where they differ the teacher gives p to one class and q to another, the student the other way round: KL = (p - q) * log(p / q), and log(p / q) = 2
    assert result.fidelity.mean_kl.value == pytest.approx(2 / 6 * (confidence - (1 - confidence) / 2) * 2, rel=1e-6)
    row = result.predictions[4]
    assert (row.index, row.label, row.teacher, row.student) == (4, "spam", "other", "other")
    assert row.student_confidence == pytest.approx(confidence)


def test_classes_that_seem_to_be_counted_in_another_order_are_told() -> None:
    right, turned = [0, 0, 0, 1, 1, 2], [1, 1, 1, 0, 0, 2]
    assert on_labels(right, right).source.remarks == ()
    (remark,) = on_labels(turned, right).source.remarks
    assert remark.startswith("the teacher is right on 16.7 % of the texts, and on 100.0 % when labels are read otherwise (ham as spam, spam as ham): ")
    assert on_labels([1] * 6, right).source.remarks == (), "a teacher that is merely bad"


def test_predictions_are_written_as_csv_for_texts_only(tmp_path: Path) -> None:
    names = ('ham, "the good"', "spam", "other")
    result = on_labels(TEACHER_CLASSES, STUDENT_CLASSES, DATA, names)
    write_predictions(tmp_path / "predictions.csv", result)
    with (tmp_path / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["student"] for row in rows] == [names[which] for which in STUDENT_CLASSES]
    assert list(rows[2]) == ["index", "label", "teacher", "student", "student_confidence"]
    assert (rows[2]["index"], rows[2]["label"], rows[2]["teacher"]) == ("2", names[0], names[0])
    assert float(rows[2]["student_confidence"]) == result.predictions[2].student_confidence
    write_predictions(tmp_path / "pseudo.csv", evaluate_pseudo(logits_of([0]), logits_of([0]), SINGLE))
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.csv"]
    write_predictions(tmp_path / "unlabelled.csv", compare_on_text(logits_of(TEACHER_CLASSES), logits_of(STUDENT_CLASSES), UNLABELLED, names))
    with (tmp_path / "unlabelled.csv").open(newline="") as stream:
        assert list(csv.DictReader(stream)) == [{name: value for name, value in row.items() if name != "label"} for row in rows]


def test_macro_f1_counts_the_classes_that_the_texts_have() -> None:
    assert score(logits_of([0, 0, 2, 1]), np.array([0, 0, 1, 1])).macro_f1 == pytest.approx((1 + 2 / 3) / 2)


def test_retention_of_a_teacher_that_is_never_right_is_absent() -> None:
    result = on_labels([1, 2], [0, 2], labelled(["x", "y"], [0, 0]))
    assert result.retention is None
    document = document_of(result)
    assert (document["retention"], document["retention_missing"]) == (None, "the teacher's accuracy is 0")


def test_calibration_error_against_values_worked_out_by_hand() -> None:
    probabilities = np.array([[0.95, 0.05], [0.05, 0.95], [0.9, 0.1], [0.62, 0.38], [0.6, 0.4]])
    labels = np.array([0, 0, 0, 0, 1])
    # bins of width 1/15: (14/15, 1] holds both 0.95, one right; (13/15, 14/15] 0.9, right; (9/15, 10/15] 0.62, right; (8/15, 9/15] 0.6 on its edge, wrong
    expected = (abs(0.95 + 0.95 - 1) + abs(0.9 - 1) + abs(0.62 - 1) + 0.6) / 5
    assert expected_calibration_error(probabilities, labels) == pytest.approx(expected)


finite_logits = arrays(np.float32, st.tuples(st.integers(1, 40), st.integers(2, 6)), elements=st.floats(-50, 50, width=32))


@settings(deadline=None)
@given(finite_logits, st.integers(0, 2**31))
def test_calibration_error_is_a_share(logits: np.ndarray, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, logits.shape[1], len(logits))
    error = expected_calibration_error(softmax(logits), labels)
    assert 0 <= error <= 1
    order = np.random.default_rng(seed).permutation(len(logits))
    assert expected_calibration_error(softmax(logits)[order], labels[order]) == pytest.approx(error, abs=1e-12)


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=30))
def test_calibration_error_of_certain_answers_is_the_error_rate(labels: list[int]) -> None:
    right = np.eye(5)[labels]
    assert expected_calibration_error(right, np.array(labels)) == 0
    assert expected_calibration_error(np.roll(right, 1, axis=1), np.array(labels)) == 1


@settings(deadline=None)
@given(finite_logits, st.floats(-1e4, 1e4))
def test_divergence_is_zero_for_equal_answers_and_never_negative(logits: np.ndarray, shift: float) -> None:
    assert mean_kl(logits, logits) == 0
    assert mean_kl(logits, logits + np.float64(shift)) == pytest.approx(0, abs=1e-9)
    assert mean_kl(logits, logits[:, ::-1]) >= 0


def test_divergence_of_extreme_logits_is_finite() -> None:
    extreme = np.array([[1e30, -1e30], [0, 0]], dtype=np.float32)
    assert np.isfinite(log_softmax(extreme)).all()
    assert math.isfinite(mean_kl(extreme, -extreme))


def test_pseudo_evaluation_counts_agreement_and_never_says_accuracy() -> None:
    result = evaluate_pseudo(logits_of([0, 1, 1, 1]), logits_of([0, 1, 2, 1]), SINGLE)
    assert result.agreement_on_pseudo_samples == 0.75
    assert result.teacher_class_counts == (1, 3, 0)
    assert result.mean_kl_on_pseudo_samples > 0
    document = document_of(result)
    confidence = pytest.approx(math.exp(2) / (math.exp(2) + 2))
    assert document["data"] == {"kind": "pseudo_samples", "rows": 4, "teacher_confidence": confidence}
    assert document["agreement_on_pseudo_samples"] == 0.75
    assert not [name for name in document if "accuracy" in name or name == "agreement"]


@pytest.mark.parametrize("family", FAMILIES)
def test_predictions_are_transformers_own_whatever_the_batch_and_the_order(tmp_path: Path, family: str) -> None:
    folder = make_teacher(tmp_path / family, family, layers=2)
    classifier = load_classifier(folder, family)
    texts = [*random_texts(11, seed=3, longest=20), "", "one"]
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        expected = np.concatenate([model(**tokenizer(text, return_tensors="pt")).logits.numpy() for text in texts])
    for batch_size in (1, 4, 64):
        found = predict(classifier, texts, batch_size=batch_size, maximum_length=64)
        assert found.dtype == np.float32
        assert_close(found, expected)
    backwards = predict(classifier, texts[::-1], batch_size=4, maximum_length=64)
    assert_close(backwards[::-1].copy(), expected)


def test_no_texts_give_no_rows(teacher: Classifier) -> None:
    assert predict(teacher, [], batch_size=4, maximum_length=16).shape == (0, 3)


@pytest.mark.parametrize("family", ["bert", "roberta", "mpnet"])
def test_long_texts_are_cut_at_the_limit_and_at_the_model_s_positions(tmp_path: Path, family: str) -> None:
    classifier = load_classifier(make_teacher(tmp_path / family, family, layers=1), family)
    classifier.tokenizer.model_max_length = 10**30  # as in the many tokenizers that were saved without a limit
    text = "time " * 500
    assert len(encode(classifier, [text], 20)[0]) == 20
    assert len(encode(classifier, [text], 1000)[0]) == POSITIONS
    assert np.isfinite(predict(classifier, [text], batch_size=1, maximum_length=1000)).all()
    cut, whole = predict(classifier, [text, "time " * 18], batch_size=2, maximum_length=20)
    assert_close(cut, whole)


def test_a_model_whose_logits_are_not_finite_is_refused(student: Classifier) -> None:
    model = derive_student(student, (0,))
    with torch.no_grad():
        model.get_input_embeddings().get_parameter("weight")[student.tokenizer.convert_tokens_to_ids("terrible")] = math.nan
    broken = replace(student, model=model)
    with pytest.raises(RefusedError, match="logits that are not finite on row 2 of the data"):
        predict(broken, ["good film", "terrible film"], batch_size=2, maximum_length=16)


def test_texts_without_labels_tell_fidelity_and_no_accuracy() -> None:
    result = compare_on_text(logits_of(TEACHER_CLASSES), logits_of(STUDENT_CLASSES), UNLABELLED, NAMES)
    assert isinstance(result, UnlabelledEvaluation)
    assert result.fidelity == on_labels(TEACHER_CLASSES, STUDENT_CLASSES).fidelity
    document = document_of(result)
    assert (document["data"]["kind"], document["data"]["rows"], document["agreement"]) == ("unlabelled_text", 6, pytest.approx(4 / 6))
    assert (document["largest_class_shift"], document["most_shifted_class"]) == (pytest.approx(2 / 6), "spam")
    for name in ("agreement", "mean_kl", "largest_class_shift"):
        assert document[f"{name}_low"] <= document[name] <= document[f"{name}_high"]
    assert not [name for name in document if any(word in name for word in ("accuracy", "recall", "f1", "confusion", "per_class", "calibration", "retention"))]


@pytest.mark.parametrize(("basis", "reason"), [(Basis(pairs=True), NOT_FOR_PAIRS), (Basis(several=True), NOT_FOR_SEVERAL)])
def test_nothing_is_predicted_of_what_was_not_calibrated(basis: Basis, reason: str) -> None:
    document = document_of(evaluate_pseudo(logits_of([0, 1]), logits_of([0, 1]), basis))
    assert "predicted_agreement" not in document
    assert document["predicted_agreement_missing"] == reason
    assert document["agreement_on_pseudo_samples"] == 1


def test_a_teacher_agrees_with_itself(teacher: Classifier) -> None:
    texts = random_texts(12)
    labels = predict(teacher, texts, batch_size=8, maximum_length=32).argmax(axis=1)
    result = evaluate_text(teacher, teacher, labelled(texts, labels.tolist()), batch_size=5, maximum_length=32)
    assert isinstance(result, LabelledEvaluation)
    assert (result.teacher.accuracy, result.retention, result.fidelity.agreement.value) == (1, 1, 1)
    assert result.fidelity.mean_kl.value == pytest.approx(0, abs=1e-9), "two passes through the same model"
    assert result.student.confusion_matrix == result.teacher.confusion_matrix
    assert [row.label for row in result.predictions] == [row.student for row in result.predictions] == [teacher.label_names[label] for label in labels]


def test_a_student_with_other_classes_is_refused(teacher: Classifier, student: Classifier) -> None:
    other = replace(student, label_names=student.label_names[::-1])
    with pytest.raises(InputError, match="different label names"):
        evaluate_text(teacher, other, DATA, batch_size=2, maximum_length=8)


SPEED = LatencyComparison(Latency(0.02, 0.03, 100.0), Latency(0.008, 0.01, 260.0), "a processor", 2, 50, 64)


def document_of(evaluation: Evaluated, speed: LatencyComparison = SPEED) -> dict[str, Any]:
    return metrics_document(evaluation, teacher_size=Size(1000, 4000), student_size=Size(400, 1600), latency=speed)


def test_metrics_are_flat_numbers_that_survive_json() -> None:
    document = document_of(compare_on_text(logits_of(TEACHER_CLASSES), logits_of(STUDENT_CLASSES), DATA, NAMES))
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["data"] == {"kind": "labelled_text", "name": "texts.csv", "digest": "d" * 64, "rows": 6, "remarks": [], "texts_cut": 0, "maximum_length": 0}
    assert (document["student_accuracy"], document["retention"]) == (pytest.approx(0.5), pytest.approx(0.6))
    assert (document["compression"], document["speedup"]) == (2.5, 2.5)
    assert (document["student_parameters"], document["teacher_bytes"], document["student_latency_p95_seconds"]) == (400, 4000, 0.01)
    assert document["per_class"][1] == {
        "name": "spam",
        "support": 2,
        "teacher_precision": 1.0,
        "teacher_recall": 0.5,
        "teacher_f1": pytest.approx(2 / 3),
        "student_precision": pytest.approx(1 / 3),
        "student_recall": 0.5,
        "student_f1": pytest.approx(0.4),
    }
    assert document["confusion_matrix"] == [[2, 1, 0], [0, 1, 1], [0, 1, 0]]
    nested = {name for name, value in document.items() if isinstance(value, dict | list)}
    assert nested == {"data", "per_class", "confusion_matrix", "teacher_confusion_matrix"}


def test_metrics_that_are_not_finite_are_never_written() -> None:
    evaluation = evaluate_pseudo(logits_of([0, 1]), logits_of([0, 1]), SINGLE)
    with pytest.raises(ValueError, match="not JSON compliant"):
        document_of(replace(evaluation, mean_kl_on_pseudo_samples=math.nan))
    with pytest.raises(ValueError, match="not JSON compliant"):
        document_of(evaluation, replace(SPEED, student=Latency(0.01, 0.01, math.inf)))


@pytest.mark.parametrize("ids", [False, True], ids=["texts", "ids"])
def test_both_models_are_timed_on_texts_and_on_ids(teacher: Classifier, student: Classifier, ids: bool) -> None:
    texts = random_texts(5)
    given_texts = encode(teacher, texts, 16) if ids else texts
    result = measure(teacher, student, given_texts, runs=4, batch_size=8, maximum_length=16)
    for one in (result.teacher, result.student):
        assert 0 < one.p50_seconds <= one.p95_seconds
        assert one.throughput_per_second > 0
    assert (result.runs, result.batch_size, result.threads) == (4, 8, torch.get_num_threads())
    assert result.device
    assert result.speedup == result.teacher.p50_seconds / result.student.p50_seconds


def test_models_take_turns_and_the_warm_up_does_not_count(teacher: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock and the models are stand-ins: no real model takes a time that is known beforehand."""
    now, calls = [0.0], []

    def stand_in(name: str, seconds: Callable[[int, int], float]) -> Classifier:
        def forward(input_ids: torch.Tensor, attention_mask: torch.Tensor) -> None:
            assert attention_mask.shape == input_ids.shape
            now[0] += seconds(len([call for call in calls if call[0] == name]), len(input_ids))
            calls.append((name, len(input_ids)))

        class Model:
            device = torch.device("cpu")

            def __call__(self, **batch: torch.Tensor) -> None:
                forward(**batch)

        return cast(Classifier, SimpleNamespace(model=Model(), tokenizer=teacher.tokenizer))

    monkeypatch.setattr("asdfd.evaluation.latency.time.perf_counter", lambda: now[0])
    slow = stand_in("teacher", lambda call, rows: 100.0 if call < WARM_UP else 2.0 * rows)
    fast = stand_in("student", lambda call, rows: 100.0 if call < WARM_UP else (3.0 if call == WARM_UP else 1.0) * rows)
    result = measure(slow, fast, [[1, 2], [1, 2, 3]], runs=3, batch_size=4, maximum_length=16)
    one_round = [("teacher", 1), ("student", 1)] * (WARM_UP + 3) + [("teacher", 4), ("student", 4)] * (1 + BATCHES)
    assert calls == one_round * 2, "with all threads and with one"
    assert result.teacher == Latency(2.0, 2.0, 0.5, Latency(2.0, 2.0, 0.5))
    assert result.student.one_thread == Latency(1.0, 1.0, 1.0)
    assert (result.student.p50_seconds, result.student.p95_seconds, result.student.throughput_per_second) == (1.0, pytest.approx(2.8), 1.0)
    assert result.speedup == 2.0


def test_size_is_parameters_in_memory_and_weights_on_disk(tmp_path: Path, teacher: Classifier, student: Classifier, teacher_folder: Path) -> None:
    save_student(student.model, student, tmp_path / "student")
    large, small = size(teacher, teacher_folder), size(student, tmp_path / "student")
    layer = sum(parameter.numel() for name, parameter in teacher.model.named_parameters() if ".layer.0." in name)
    assert large.parameters - small.parameters == 2 * layer
    assert small.bytes == (tmp_path / "student" / "model.safetensors").stat().st_size
    assert 0 < small.bytes - 4 * small.parameters < 20_000
