"""The rule `champion_margin`: is what is judged not worse than the version that holds the stage?

On texts the two are compared text by text: by what is right, or where nobody says that, by whether each gives its teacher's answer. Without texts there is a
predicted agreement of each, and the point that is predicted decides: both intervals are mostly that of the prediction itself, which the two share.
"""

from __future__ import annotations

from collections.abc import Sequence

from asdfd.base.evidence import TITLES
from asdfd.base.figures import limited_by
from asdfd.registry.cases import SMALLEST_DIFFERENCE, Case, accuracy_of, number
from asdfd.registry.evidence import Champion
from asdfd.registry.verdict import Check

BOOTSTRAP_RESAMPLES = 10_000
NAME = "champion_margin"
WITHOUT = "set gate.champion_margin=1 to do without the comparison"


def champion_margin(case: Case) -> Check | None:
    """Not worse than the champion by more than the margin; None where the stage is free."""
    limit, champion = case.gate.champion_margin, case.champion
    if champion is None or limit >= 1:
        return None
    if (champion.student, champion.export) == (case.evidence.student, case.evidence.export):
        return Check(NAME, 0.0, -limit, True, f"the same {case.deployed} as version {champion.version}")
    problem = _incomparable(case, champion)
    if problem:
        return Check(NAME, None, -limit, False, problem)
    return _on_texts(case, champion, limit) if case.evidence.data else _predicted(case, champion, limit)


def _on_texts(case: Case, champion: Champion, limit: float) -> Check:
    """The lower end of the interval of the difference lies above minus the margin."""
    assert champion.evidence is not None
    pairs = zip(case.evidence.answers, champion.evidence.answers, strict=True)
    differences = [int(ours[0] == ours[1]) - int(theirs[0] == theirs[1]) for ours, theirs in pairs]
    low, high = bootstrap_interval(differences, case.gate.confidence_level)
    mean = sum(differences) / len(differences)
    what = accuracy_of(case) if case.level == "labels" else "agreement with the teacher"
    reason = f"{what} differs by {mean:+.4f} from version {champion.version}, {case.gate.confidence_level:.0%} interval {low:+.4f} to {high:+.4f}"
    passed = low >= -limit - SMALLEST_DIFFERENCE
    if not passed:
        reason += (
            f": a loss of more than {limit} cannot be ruled out on {len(differences)} texts; improve the student, evaluate on more texts or raise the margin"
        )
    return Check(NAME, low, -limit, passed, reason)


def _predicted(case: Case, champion: Champion, limit: float) -> Check:
    """What is predicted of the one is at most the margin below what is predicted of the other."""
    assert champion.evidence is not None
    figure = limited_by("minimum_agreement", case.evidence.metrics)
    assert figure is not None
    theirs_by = Case(case.gate, champion.evidence, None).deployed
    ours, theirs = number(case.evidence.metrics, figure.of_role(case.deployed)), number(champion.evidence.metrics, figure.of_role(theirs_by))
    if ours is None or theirs is None:
        whose = "this evaluation" if ours is None else f"that of version {champion.version}"
        return Check(NAME, None, -limit, False, f"{figure.name} is missing from {whose}; evaluate again, or {WITHOUT}")
    reason = f"{figure.name} differs by {ours - theirs:+.4f} from version {champion.version}, {ours:.4f} against {theirs:.4f}"
    passed = ours - theirs >= -limit - SMALLEST_DIFFERENCE
    return Check(NAME, ours - theirs, -limit, passed, reason if passed else f"{reason}; improve the student, evaluate both on texts or raise the margin")


def bootstrap_interval(differences: Sequence[int], confidence: float) -> tuple[float, float]:
    """Percentile interval of the mean of paired differences of -1, 0 or 1 by the bootstrap (Efron and Tibshirani 1993, chapter 13), drawn with a fixed seed.

    Drawing N pairs with replacement and counting their three values is one draw of a multinomial, which is what is drawn here.
    """
    import numpy as np

    values = np.array([-1, 0, 1])
    shares = np.array([sum(1 for difference in differences if difference == value) for value in values]) / len(differences)
    counts = np.random.default_rng(0).multinomial(len(differences), shares, size=BOOTSTRAP_RESAMPLES)
    tail = (1 - confidence) / 2
    low, high = np.quantile(counts @ values / len(differences), [tail, 1 - tail])
    return float(low), float(high)


def _incomparable(case: Case, champion: Champion) -> str:
    """Why the two cannot be compared; empty where they can."""
    evidence, theirs = case.evidence, champion.evidence
    again = "evaluate the champion on this data first: promote it to its own stage with --data"
    if champion.problem:
        return f"{champion.problem}; roll the stage back, or {WITHOUT}"
    if not evidence.data:
        there = f"version {champion.version} was judged on texts and this one on {TITLES[case.level]}; name the texts with evaluation.data, or {WITHOUT}"
        return there if theirs is None or theirs.data else ""
    if theirs is None or theirs.data != evidence.data:
        return f"version {champion.version} was not evaluated on this data (digest {evidence.data[:12]}); {again}"
    if not evidence.answers or len(evidence.answers) != len(theirs.answers):
        return f"{len(evidence.answers)} predictions cannot be compared with {len(theirs.answers)} of version {champion.version}; evaluate again"
    if case.level == "labels" and [label for label, _ in evidence.answers] != [label for label, _ in theirs.answers]:
        return f"the labels are not those that version {champion.version} was evaluated on; {again}"
    return ""
