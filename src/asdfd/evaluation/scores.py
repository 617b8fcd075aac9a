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
    """Share of texts with the right class, or, where there can be several labels, with exactly the right ones: subset accuracy."""
    macro_f1: float
    """Mean F1 of the classes that the texts have."""
    expected_calibration_error: float
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    f1: tuple[float, ...]
    confusion_matrix: tuple[tuple[int, ...], ...]
    """Texts, row = true class, column = predicted class; empty where there can be several labels."""
    micro_f1: float | None = None
    """F1 of all decisions together where there can be several labels; for one label a text it is the accuracy, and left out."""


def answers_of(logits: np.ndarray, *, several: bool) -> np.ndarray:
    """What a model with logits [N, C] answers: a class each [N], or where there can be several labels the set of them, bool [N, C]."""
    return logits > 0 if several else logits.argmax(axis=1)


def same_answers(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Where two give the same class, or the very same labels: bool [N]."""
    return one == other if one.ndim == 1 else (one == other).all(axis=1)


def score(logits: np.ndarray, labels: np.ndarray) -> Score:
    """Accuracy, F1, calibration and confusion of logits [N, C] against class indices [N], or sets of labels, bool [N, C].

    A class that is never predicted has precision 0.
    """
    from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support

    several = labels.ndim == 2
    predicted = answers_of(logits, several=several)
    classes = np.arange(logits.shape[1])
    zero = cast(Any, 0)  # the stubs ask for a text
    by_class = precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=zero)
    precision, recall, f1, support = (np.asarray(values) for values in by_class)
    if several:  # each decision is one of two classes
        logits = np.stack([np.zeros(logits.size), logits.ravel()], axis=1)
    return Score(
        accuracy=float(same_answers(predicted, labels).mean()),
        macro_f1=float(np.mean(f1[support > 0])) if (support > 0).any() else 0.0,
        expected_calibration_error=expected_calibration_error(softmax(logits), labels.ravel().astype(np.int64)),
        precision=tuple(precision.tolist()),
        recall=tuple(recall.tolist()),
        f1=tuple(f1.tolist()),
        confusion_matrix=() if several else tuple(map(tuple, confusion_matrix(labels, predicted, labels=classes).tolist())),
        micro_f1=float(f1_score(labels, predicted, average="micro", zero_division=zero)) if several else None,
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


def divergences(teacher_logits: np.ndarray, student_logits: np.ndarray, *, several: bool = False) -> np.ndarray:
    """KL(teacher || student) of each row [N], in nats; where there can be `several` labels, the sum of those of each."""
    if several:
        found = sum(_bernoulli_side(sign * teacher_logits, sign * student_logits) for sign in (1, -1))
        return np.maximum(found, 0)
    teacher, student = log_softmax(teacher_logits), log_softmax(student_logits)
    return np.maximum((np.exp(teacher) * (teacher - student)).sum(axis=1), 0)  # equal answers can round to just below it


def mean_kl(teacher_logits: np.ndarray, student_logits: np.ndarray, *, several: bool = False) -> float:
    """Mean over the rows of KL(teacher || student), in nats."""
    return float(divergences(teacher_logits, student_logits, several=several).mean())


def _bernoulli_side(teacher: np.ndarray, student: np.ndarray) -> np.ndarray:
    """p log(p / q) of the sigmoids p and q of logits [N, C], summed over the labels, [N]."""
    log_p, log_q = (-np.logaddexp(0, -logits.astype(np.float64)) for logits in (teacher, student))
    return (np.exp(log_p) * (log_p - log_q)).sum(axis=1)
