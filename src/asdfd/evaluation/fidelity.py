"""Fidelity: how far one model answers as another one does, whether that is right or not. It needs texts and no labels.

Shapes: N inputs, C classes. Every figure has an interval, from the texts that there happen to be to all texts of their kind.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from asdfd.base.evidence import INTERVAL
from asdfd.base.figures import FIGURES
from asdfd.evaluation.scores import answers_of, divergences, same_answers

DEVIATIONS = NormalDist().inv_cdf((1 + INTERVAL) / 2)
"""Standard deviations from the middle to an end of an interval."""


@dataclass(frozen=True)
class Estimate:
    """A figure and the ends of its interval (`evidence.INTERVAL`)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Fidelity:
    """A model beside its teacher on the same inputs."""

    agreement: Estimate
    """Share of inputs where both give the same class, or exactly the same labels."""
    mean_kl: Estimate
    """Mean KL(teacher || model) in nats."""
    largest_class_shift: Estimate
    """Largest absolute difference of the shares of inputs that the two put in a class, or give a label."""
    shifted_class: int
    """The class of that difference."""

    def figures(self, role: str) -> dict[str, float]:
        """Its part of a metrics.json, for the model of a role: each figure on texts, with its interval where it has one."""
        found: dict[str, float] = {}
        for figure in FIGURES:
            if (figure.of, figure.on) == ("the pair", "texts"):
                found |= named(figure.of_role(role), getattr(self, figure.name))
        return found


def named(name: str, figure: float | Estimate) -> dict[str, float]:
    """A figure as it stands in metrics.json, with the ends of its interval where it has one."""
    return {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high} if isinstance(figure, Estimate) else {name: figure}


def fidelity(teacher_logits: np.ndarray, logits: np.ndarray, *, several: bool = False) -> Fidelity:
    """From logits [N, C] of the teacher and of another model on N >= 1 inputs."""
    teacher, model = (answers_of(each, several=several) for each in (teacher_logits, logits))
    same = same_answers(teacher, model)
    shift, shifted = class_shift(teacher, model, teacher_logits.shape[1])
    divergence = mean_estimate(divergences(teacher_logits, logits, several=several), lowest=0.0)
    return Fidelity(share_estimate(int(same.sum()), len(same)), divergence, shift, shifted)


def class_shift(teacher: np.ndarray, model: np.ndarray, classes: int) -> tuple[Estimate, int]:
    """The largest difference of a class's share between answers int64 [N], or sets of labels bool [N, C], and the class.

    The interval is that of this class's difference, paired by input.
    """
    one, other = (answers if answers.ndim == 2 else answers[:, None] == np.arange(classes) for answers in (teacher, model))
    differences = other.mean(axis=0) - one.mean(axis=0)
    worst = int(np.abs(differences).argmax())
    sign = 1 if differences[worst] >= 0 else -1
    return mean_estimate(sign * (other[:, worst].astype(np.float64) - one[:, worst]), lowest=0.0), worst


def mean_estimate(values: np.ndarray, *, lowest: float) -> Estimate:
    """The mean of values [N] with the usual interval of a mean, no end of it below `lowest`."""
    mean = max(float(values.mean()), lowest)
    reach = DEVIATIONS * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return Estimate(mean, max(mean - reach, lowest), mean + reach) if math.isfinite(reach) else Estimate(mean, lowest, mean)


def share_estimate(count: int, rows: int) -> Estimate:
    """A share with Wilson's interval, which holds near 0 and 1 as well (Wilson 1927)."""
    share, square = count / rows, DEVIATIONS**2
    middle = (share + square / (2 * rows)) / (1 + square / rows)
    reach = DEVIATIONS * math.sqrt(share * (1 - share) / rows + square / (4 * rows**2)) / (1 + square / rows)
    return Estimate(share, max(0.0, min(share, middle - reach)), min(1.0, max(share, middle + reach)))
