"""The gate: what a student must show, rule by rule, before a stage is moved to it.

The rules are the fields of config.Gate. What an evaluation rests on decides which of them apply: without labels nobody knows what accuracy a student
loses, so `largest_drop` and `largest_export_drop` are no rules then, and `minimum_agreement` judges fidelity, which without texts is a predicted one. What
cannot be judged though it was asked for (a metric that is missing or not finite, other data than the champion's, a rule that this version does not know)
rejects, with the reason. A verdict never raises: it is a document, for people and for machines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from asdfd.base.config import Gate
from asdfd.base.evidence import INTERVAL, LEVELS, TITLES, statement
from asdfd.base.figures import Figure, choices, interval_of, limited_by
from asdfd.registry.cases import SMALLEST_DIFFERENCE, Case, accuracy_of, judged_by, missing, number
from asdfd.registry.champion import champion_margin
from asdfd.registry.evidence import Champion, Evidence
from asdfd.registry.verdict import Check, Verdict
from asdfd.registry.worth import worth


def judge(gate: Gate, evidence: Evidence, champion: Champion | None) -> Verdict:
    """Judge a student by every rule that `gate` has. The same arguments give the same verdict."""
    case = Case(gate, evidence, champion)
    checks: list[Check] = []
    for rule in type(gate).model_fields:
        if rule in PARTS_OF_RULES:
            continue
        limited = limited_by(rule, evidence.metrics)
        if limited is not None:
            checks += _limit(rule, limited, case)
        elif rule not in RULES:
            checks.append(Check(rule, None, None, False, "this version of asdfd does not know the rule; update asdfd or remove the rule"))
        elif (check := RULES[rule](case)) is not None:
            checks.append(check)
    judged = f"{evidence.metrics.get('export_format', '')} export".strip() if case.deployed == "export" else "student"
    return Verdict(
        student=evidence.student,
        champion=champion.version if champion else None,
        checks=tuple(checks),
        evidence=evidence.level,
        statement=statement(evidence.metrics),
        judged=judged,
        choices=choices(evidence.metrics),
    )


def _evidence(case: Case) -> Check | None:
    """Is what it was judged on as much as is asked for?"""
    asked, there = case.gate.evidence, case.level
    if asked == "none":
        return None
    passed = LEVELS.index(there) >= LEVELS.index(asked)
    reason = f"it was judged on {TITLES[there]}"
    return Check("evidence", None, None, passed, reason if passed else f"{reason}, {TITLES[asked]} are asked for; name some with --data")


def _largest_drop(case: Case) -> Check | None:
    limit = case.gate.largest_drop
    if limit >= 1 or case.level != "labels":
        return None
    teacher, student = (number(case.evidence.metrics, f"{role}_accuracy") for role in ("teacher", case.deployed))
    if teacher is None or student is None:
        return missing("largest_drop", case, f"{'teacher' if teacher is None else case.deployed}_accuracy", limit)
    drop = teacher - student
    reason = f"the {case.deployed} loses {drop:.4f} of the teacher's {accuracy_of(case)} {teacher:.4f}"
    return judged_by("largest_drop", drop, limit, drop <= limit + SMALLEST_DIFFERENCE, reason)


def _largest_export_drop(case: Case) -> Check | None:
    limit, name = case.gate.largest_export_drop, "largest_export_drop"
    if case.deployed == "student" or limit >= 1 or case.level != "labels":
        return None
    student, export = (number(case.evidence.metrics, f"{role}_accuracy") for role in ("student", "export"))
    if student is None or export is None:
        return missing(name, case, f"{'student' if student is None else 'export'}_accuracy", limit)
    drop = student - export
    return judged_by(name, drop, limit, drop <= limit + SMALLEST_DIFFERENCE, f"the export loses {drop:.4f} of the student's accuracy {student:.4f}")


def _minimum_class_recall(case: Case) -> Check | None:
    limit, name = case.gate.minimum_class_recall, "minimum_class_recall"
    if limit <= 0:
        return None
    table = case.evidence.metrics.get("per_class")
    classes = [row for row in table if row.get("support", 0) > 0] if isinstance(table, list) else []
    if not classes:
        return missing(name, case, "per_class", limit)
    recalls = {str(row.get("name")): number(row, f"{case.deployed}_recall") for row in classes}
    if unknown := [label for label, recall in recalls.items() if recall is None]:
        return Check(name, None, limit, False, f"{case.deployed}_recall of class {unknown[0]!r} is missing or not finite; evaluate again")
    worst = min(recalls, key=lambda label: recalls[label] or 0.0)
    value = recalls[worst] or 0.0
    return judged_by(name, value, limit, value >= limit - SMALLEST_DIFFERENCE, f"class {worst!r} has the lowest recall, {value:.4f}")


RULES: Mapping[str, Callable[[Case], Check | None]] = {
    "evidence": _evidence,
    "largest_drop": _largest_drop,
    "champion_margin": champion_margin,
    "largest_export_drop": _largest_export_drop,
    "worth": worth,
    "minimum_class_recall": _minimum_class_recall,
}
"""The function of each rule that is more than a limit of one figure; it returns None where the rule is switched off or has nothing to compare with."""
PARTS_OF_RULES = ("confidence_level", "worth_speedup", "worth_compression")
"""Fields of config.Gate that are not rules of their own."""


def _limit(rule: str, figure: Figure, case: Case) -> list[Check]:
    """A rule that limits one figure of what is deployed; none where it is 0."""
    limit, name = float(getattr(case.gate, rule)), figure.of_role(case.deployed)
    if limit <= 0 or (figure.of == "the export" and case.deployed == "student"):
        return []
    value = number(case.evidence.metrics, name)
    if value is None:
        return [missing(rule, case, name, limit)]
    passed = value >= limit - SMALLEST_DIFFERENCE if figure.better == "higher" else value <= limit
    reason = f"{name} is {value:.4f}" if figure.better == "higher" else f"{name} is {value:g}"
    if case.level != "labels" and (interval := interval_of(figure, case.evidence.metrics, case.deployed)) is not None:
        return [_unsure(judged_by(rule, value, limit, passed, f"{reason}, {INTERVAL:.0%} interval {interval[0]:.4f} to {interval[1]:.4f}"), interval[0])]
    return [judged_by(rule, value, limit, passed, reason)]


def _unsure(check: Check, low: float) -> Check:
    """A share that is met, and may well not be: that is a warning."""
    if not check.passed or check.limit is None or low >= check.limit - SMALLEST_DIFFERENCE:
        return check
    return replace(check, warning=True, reason=f"{check.reason}: less than {check.limit:g} cannot be ruled out")
