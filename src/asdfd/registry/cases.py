"""What the rules of the gate look at, and the parts that they share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from asdfd.base.config import Gate
from asdfd.base.evidence import Level
from asdfd.base.figures import SEVERAL_LABELS, judged_role
from asdfd.registry.evidence import Champion, Evidence
from asdfd.registry.verdict import Check

SMALLEST_DIFFERENCE = 1e-9
"""Differences of shares below this are rounding."""


@dataclass(frozen=True)
class Case:
    """What the rules look at."""

    gate: Gate
    evidence: Evidence
    champion: Champion | None

    @property
    def deployed(self) -> str:
        """Whose figures the rules look at: the exported model's where the evaluation has one, else the student's."""
        return judged_role(self.evidence.metrics)

    @property
    def level(self) -> Level:
        """What the evaluation rests on."""
        return self.evidence.level


def accuracy_of(case: Case) -> str:
    """What accuracy is: where a text can have several labels, all of them have to be right."""
    return "subset accuracy" if SEVERAL_LABELS in case.evidence.metrics else "accuracy"


def judged_by(name: str, value: float, limit: float, passed: bool, reason: str) -> Check:
    """The check of a figure that has a limit."""
    return Check(name, value, limit, passed, reason if passed else f"{reason}, the limit is {limit:g}")


def missing(name: str, case: Case, metric: str, limit: float) -> Check:
    """The check of a figure that cannot be judged."""
    if metric in case.evidence.metrics:
        reason = f"{metric} is not a finite number; evaluate again"
    elif case.level == "labels":
        reason = f"{metric} is missing from the evaluation; evaluate again"
    else:
        what = "labelled texts" if case.level == "none" else "labels"
        reason = f"{metric} is missing: the evaluation had no {what}; name labelled texts with evaluation.data, or switch the rule off"
    return Check(name, None, limit, False, reason)


def number(values: Mapping[str, Any], name: str) -> float | None:
    """A finite number, or None."""
    value = values.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None
