"""Predicted fidelity: how often a student will give its teacher's class on real texts, where there are none.

The logit of the agreement on texts falls with the logarithm of KL(teacher || student) on held-out samples (`method.held_out`). The line was fitted once, on
students of many qualities of teachers whose texts are known; `benchmarks/predicted_fidelity.py` makes them, fits, and checks by leaving whole data sets out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from asdfd.evaluation.fidelity import Estimate

NOT_FOR_PAIRS = "it was calibrated on single texts, and these are pairs"
NOT_FOR_SEVERAL = "it was calibrated on teachers that give one label a text"
SMALLEST = 1e-4
"""Nats that are added to a divergence, so that none has no logarithm; rounding to eight bits alone is more."""


@dataclass(frozen=True)
class Calibration:
    """A line, and how far from it the truth was on data sets that had no part in it."""

    constant: float
    slope: float
    """Of the logarithm of the divergence on held-out samples."""
    reach: float
    """Most by which the truth was off the line, in logits, for nine of ten students of data sets that were left out."""


CALIBRATION = Calibration(-0.236, -0.67, 0.52)
"""The constants of benchmarks/results/predicted_fidelity.json."""


@dataclass(frozen=True)
class Basis:
    """What held-out samples are, which decides whether they tell of texts."""

    pairs: bool = False
    several: bool = False
    """Whether a sample can have several labels."""

    @property
    def problem(self) -> str:
        """Why nothing is predicted; empty where something is."""
        return NOT_FOR_SEVERAL if self.several else NOT_FOR_PAIRS if self.pairs else ""

    def predicted(self, mean_kl: float) -> Estimate | None:
        """The agreement on real texts of a model that is so far from its teacher on held-out samples."""
        return None if self.problem else predicted_agreement(mean_kl)


def predicted_agreement(mean_kl: float, calibration: Calibration = CALIBRATION) -> Estimate:
    """The agreement on real texts, with its 90 % interval, from the mean KL(teacher || student) in nats on held-out samples."""
    middle = calibration.constant + calibration.slope * math.log(mean_kl + SMALLEST)
    return Estimate(sigmoid(middle), sigmoid(middle - calibration.reach), sigmoid(middle + calibration.reach))


def sigmoid(value: float) -> float:
    """The share of a logit."""
    return 1 / (1 + math.exp(-value))
