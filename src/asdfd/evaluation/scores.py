"""Numbers from logits: accuracy, F1, calibration, confusion, divergence. Plain functions of arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np

CALIBRATION_BINS = 15


@dataclass(frozen=True)
class Score:
    """One model's answers on labelled texts. Sequences run over the classes; shares are in [0, 1]."""

    accuracy: float
    macro_f1: float
    """Mean F1 of the classes that the texts have."""
    expected_calibration_error: float
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    f1: tuple[float, ...]
    confusion_matrix: tuple[tuple[int, ...], ...]
    """Texts, row = true class, column = predicted class."""


def score(logits: np.ndarray, labels: np.ndarray) -> Score:
    """Accuracy, F1, calibration and confusion of logits [N, C] against class indices [N]; a class that is never predicted has precision 0."""
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    predicted = logits.argmax(axis=1)
    classes = np.arange(logits.shape[1])
    by_class = precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=cast(Any, 0))  # its stub asks for a text
    precision, recall, f1, support = (np.asarray(values) for values in by_class)
    return Score(
        accuracy=float((predicted == labels).mean()),
        macro_f1=float(np.mean(f1[support > 0])),
        expected_calibration_error=expected_calibration_error(softmax(logits), labels),
        precision=tuple(precision.tolist()),
        recall=tuple(recall.tolist()),
        f1=tuple(f1.tolist()),
        confusion_matrix=tuple(map(tuple, confusion_matrix(labels, predicted, labels=classes).tolist())),
    )


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean distance of confidence and accuracy over 15 bins (low, high] of equal width, weighted by the texts in each; in [0, 1].

    Args:
        probabilities: [N, C], rows that sum to 1.
        labels: [N] class indices.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1]
    bins = np.digitize(confidence, edges, right=True)
    surplus = np.bincount(bins, weights=confidence - correct, minlength=CALIBRATION_BINS)
    return float(np.abs(surplus).sum() / len(labels))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities [N, C] in double precision."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities [N, C] in double precision."""
    return np.exp(log_softmax(logits))


def mean_kl(teacher_logits: np.ndarray, student_logits: np.ndarray) -> float:
    """Mean over the rows of KL(teacher || student), in nats."""
    teacher, student = log_softmax(teacher_logits), log_softmax(student_logits)
    divergence = (np.exp(teacher) * (teacher - student)).sum(axis=1).mean()
    return float(np.maximum(divergence, 0))  # equal answers can round to just below it
