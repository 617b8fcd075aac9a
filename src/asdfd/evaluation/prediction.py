"""Predicted fidelity: how often a student will give its teacher's class on real texts, where there are none, from its agreement on held-out samples.

The logit of the agreement on texts is a line of what held-out samples tell (`method.held_out`). The line was fitted once, on students of many qualities of
teachers whose texts are known; `benchmarks/predicted_fidelity.py` makes them, fits, and checks by leaving whole data sets out. Nothing here reads a text.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from asdfd.evaluation.fidelity import Estimate

NOT_FOR_PAIRS = "it was calibrated on single texts, and these are pairs"
NOT_FOR_SEVERAL = "it was calibrated on teachers that give one label a text"


@dataclass(frozen=True)
class Calibration:
    """A line between logits, and how far from it the truth was on data sets that had no part in it."""

    constant: float
    slope: float
    """Of the logit of the agreement on held-out samples."""
    low: float
    """Most by which the truth was below the line, in logits, for nine of ten students of data sets that were left out, both sides together."""
    high: float
    """The same above it."""


WITH_FOOTPRINT = Calibration(0.0, 1.0, 1.0, 1.0)
WITHOUT_FOOTPRINT = Calibration(0.0, 1.0, 1.5, 1.5)
"""The constants of benchmarks/results/predicted_fidelity.json, where the teacher's public encoder is named and where it is not."""


@dataclass(frozen=True)
class Basis:
    """What held-out samples were drawn by, which decides what they tell of texts."""

    footprint: bool = False
    """Whether the teacher's footprint told the training vocabulary."""
    pairs: bool = False
    several: bool = False
    """Whether a sample can have several labels."""

    @property
    def problem(self) -> str:
        """Why nothing is predicted; empty where something is."""
        return NOT_FOR_SEVERAL if self.several else NOT_FOR_PAIRS if self.pairs else ""

    def predicted(self, agreement: float, samples: int) -> Estimate | None:
        """The agreement on real texts of a model with this agreement on so many samples."""
        return None if self.problem else predicted_agreement(agreement, samples, footprint=self.footprint)


def predicted_agreement(agreement: float, samples: int, *, footprint: bool) -> Estimate:
    """The agreement on real texts, from the agreement on so many held-out samples; `footprint` says whether those were drawn by the teacher's footprint."""
    calibration = WITH_FOOTPRINT if footprint else WITHOUT_FOOTPRINT
    middle = calibration.constant + calibration.slope * logit(agreement, samples)
    return Estimate(sigmoid(middle), sigmoid(middle - calibration.low), sigmoid(middle + calibration.high))


def logit(share: float, rows: int) -> float:
    """log(p / (1 - p)) of a share of so many rows; half a row is added on both sides, so that 0 and 1 are finite."""
    return math.log((share * rows + 0.5) / ((1 - share) * rows + 0.5))


def sigmoid(value: float) -> float:
    """The share of a logit."""
    return 1 / (1 + math.exp(-value))
