"""The gate: what a student must show, rule by rule, before a stage is moved to it.

The rules are the fields of config.Gate. What cannot be judged (a metric that is missing or not finite, other data than the champion's, a rule that this version
does not know) rejects, with the reason. A verdict never raises: it is a document, for people and for machines.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from asdfd.base import artifacts
from asdfd.base.artifacts import Artifact
from asdfd.base.config import Gate
from asdfd.base.figures import SEVERAL_LABELS, Figure, against_teacher_int8, choices, drawn, judged_role, limited_by

BOOTSTRAP_RESAMPLES = 10_000
SMALLEST_DIFFERENCE = 1e-9
"""Differences of shares below this are rounding."""


@dataclass(frozen=True)
class Evidence:
    """What an evaluation says about a student."""

    student: str
    """Digest of the student artifact."""
    data: str
    """Digest of the labelled texts; empty for pseudo samples."""
    metrics: Mapping[str, Any]
    answers: Sequence[tuple[str, str]]
    """True class, or set of labels, of each labelled text, in the order of the data, and what the export, or without one the student, takes it for."""
    evaluation: str
    """Digest of the evaluation artifact."""
    export: str = ""
    """Digest of the export of the student, which is judged in its place; empty where there is none."""


@dataclass(frozen=True)
class Champion:
    """The version that holds the stage, with its evaluation on the data at hand; None where there is none."""

    version: str
    student: str
    """Digest of its student artifact."""
    evidence: Evidence | None
    problem: str = ""
    """Why there is no evidence, where something is wrong with the version."""
    export: str = ""
    """Digest of its export; empty where it has none."""


@dataclass(frozen=True)
class Check:
    """One rule and what came of it."""

    check: str
    value: float | None
    """What was measured; None where it is missing or not finite."""
    limit: float | None
    passed: bool
    reason: str
    warning: bool = False
    """Whether a rule that rejects nothing has something to say."""


@dataclass(frozen=True)
class Verdict:
    """All rules together."""

    student: str
    """Digest of the student artifact."""
    champion: str | None
    """Version that it was compared with; None where the stage was free."""
    checks: tuple[Check, ...]
    judged: str = "student"
    """What was judged: the student, or the export of it and its format."""
    choices: tuple[Sequence[str], Sequence[Sequence[str]]] = ((), ())
    """Heading and rows of the table of what can be served (`figures.choices`)."""

    @property
    def passed(self) -> bool:
        """Whether every rule is met."""
        return all(check.passed for check in self.checks)

    @property
    def reasons(self) -> list[str]:
        """Why it is rejected, a line for each rule that is not met."""
        return [f"{check.check}: {check.reason}" for check in self.checks if not check.passed]

    @property
    def warnings(self) -> list[str]:
        """What rules that reject nothing have to say."""
        return [f"{check.check}: {check.reason}" for check in self.checks if check.warning]

    def document(self) -> dict[str, Any]:
        """The content of verdict.json."""
        checks = [asdict(check) for check in self.checks]
        return {
            "passed": self.passed,
            "reasons": self.reasons,
            "warnings": self.warnings,
            "checks": checks,
            "champion": self.champion,
            "student": self.student,
            "judged": self.judged,
            "choices": {"columns": list(self.choices[0]), "rows": [list(row) for row in self.choices[1]]},
        }

    def markdown(self) -> str:
        """The content of verdict.md: a table that a pull request can show."""
        against = f"version `{self.champion}`" if self.champion else "no champion (the stage is free)"
        rows = [f"| {check.check} | {_shown(check.value)} | {_shown(check.limit)} | {_met(check)} | {_cell(check.reason)} |" for check in self.checks]
        head = [
            f"**{'Passed' if self.passed else 'Rejected'}**: {'' if self.judged == 'student' else f'{self.judged} of '}student `{self.student[:12]}` "
            f"against {against}",
            "",
            "| rule | value | limit | met | |",
            "|---|---:|---:|---|---|",
        ]
        return "\n".join([*head, *rows, *self._table_of_choices()]) + "\n"

    def _table_of_choices(self) -> list[str]:
        heading, rows = self.choices
        if not rows:
            return []
        table = [heading, ["---", *("---:" for _ in heading[1:])], *rows]
        return ["", *("| " + " | ".join(map(_cell, row)) + " |" for row in table)]


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


def read_evidence(evaluation: Path | Artifact) -> Evidence:
    """What an evaluation artifact says.

    Raises:
        InputError: it is not an evaluation, or is damaged.
    """
    found = artifacts.verified(evaluation, "evaluation")
    metrics = json.loads((found.path / "metrics.json").read_text(encoding="utf-8")) if "metrics.json" in found.files else {}
    answers: list[tuple[str, str]] = []
    if "predictions.csv" in found.files:
        with (found.path / "predictions.csv").open(encoding="utf-8", newline="") as stream:
            answers = [(row["label"], row.get("export") or row["student"]) for row in csv.DictReader(stream)]
    student, data, export = (found.recipe.inputs.get(name, "") for name in ("student", "data", "export"))
    return Evidence(student, data, metrics, answers, found.digest, export)


def judge(gate: Gate, evidence: Evidence, champion: Champion | None) -> Verdict:
    """Judge a student by every rule that `gate` has. The same arguments give the same verdict."""
    case = Case(gate, evidence, champion)
    checks: list[Check] = []
    for rule in type(gate).model_fields:
        if rule in PARTS_OF_RULES:
            continue
        limited = limited_by(rule, on_texts=bool(evidence.data))
        if limited is not None:
            checks += _limit(rule, limited, case)
        elif rule not in RULES:
            checks.append(Check(rule, None, None, False, "this version of asdfd does not know the rule; update asdfd or remove the rule"))
        elif (check := RULES[rule](case)) is not None:
            checks.append(check)
    judged = f"{evidence.metrics.get('export_format', '')} export".strip() if case.deployed == "export" else "student"
    return Verdict(evidence.student, champion.version if champion else None, tuple(checks), judged, choices(evidence.metrics))


def _largest_drop(case: Case) -> Check | None:
    limit = case.gate.largest_drop
    if limit >= 1:
        return None
    teacher, student = (_number(case.evidence.metrics, f"{role}_accuracy") for role in ("teacher", case.deployed))
    if teacher is None or student is None:
        return _missing("largest_drop", case, f"{'teacher' if teacher is None else case.deployed}_accuracy", limit)
    drop = teacher - student
    reason = f"the {case.deployed} loses {drop:.4f} of the teacher's {_accuracy(case)} {teacher:.4f}"
    return _check("largest_drop", drop, limit, drop <= limit + SMALLEST_DIFFERENCE, reason)


def _accuracy(case: Case) -> str:
    """What accuracy is: where a text can have several labels, all of them have to be right."""
    return "subset accuracy" if SEVERAL_LABELS in case.evidence.metrics else "accuracy"


def _largest_export_drop(case: Case) -> Check | None:
    limit, name = case.gate.largest_export_drop, "largest_export_drop"
    if case.deployed == "student" or limit >= 1 or not case.evidence.data:
        return None
    student, export = (_number(case.evidence.metrics, f"{role}_accuracy") for role in ("student", "export"))
    if student is None or export is None:
        return _missing(name, case, f"{'student' if student is None else 'export'}_accuracy", limit)
    drop = student - export
    return _check(name, drop, limit, drop <= limit + SMALLEST_DIFFERENCE, f"the export loses {drop:.4f} of the student's accuracy {student:.4f}")


def _champion_margin(case: Case) -> Check | None:
    """Not worse than the champion: the lower end of the interval of the difference lies above minus the margin."""
    limit, champion = case.gate.champion_margin, case.champion
    if champion is None or limit >= 1:
        return None
    name = "champion_margin"
    if (champion.student, champion.export) == (case.evidence.student, case.evidence.export):
        return Check(name, 0.0, -limit, True, f"the same {case.deployed} as version {champion.version}")
    problem = _incomparable(case.evidence, champion)
    if problem:
        return Check(name, None, -limit, False, problem)
    assert champion.evidence is not None
    pairs = zip(case.evidence.answers, champion.evidence.answers, strict=True)
    differences = [int(ours[0] == ours[1]) - int(theirs[0] == theirs[1]) for ours, theirs in pairs]
    low, high = bootstrap_interval(differences, case.gate.confidence_level)
    mean = sum(differences) / len(differences)
    reason = f"{_accuracy(case)} differs by {mean:+.4f} from version {champion.version}, {case.gate.confidence_level:.0%} interval {low:+.4f} to {high:+.4f}"
    passed = low >= -limit - SMALLEST_DIFFERENCE
    if not passed:
        reason += (
            f": a loss of more than {limit} cannot be ruled out on {len(differences)} texts; improve the student, evaluate on more texts or raise the margin"
        )
    return Check(name, low, -limit, passed, reason)


def _minimum_class_recall(case: Case) -> Check | None:
    limit, name = case.gate.minimum_class_recall, "minimum_class_recall"
    if limit <= 0:
        return None
    table = case.evidence.metrics.get("per_class")
    classes = [row for row in table if row.get("support", 0) > 0] if isinstance(table, list) else []
    if not classes:
        return _missing(name, case, "per_class", limit)
    recalls = {str(row.get("name")): _number(row, f"{case.deployed}_recall") for row in classes}
    if unknown := [label for label, recall in recalls.items() if recall is None]:
        return Check(name, None, limit, False, f"{case.deployed}_recall of class {unknown[0]!r} is missing or not finite; evaluate again")
    worst = min(recalls, key=lambda label: recalls[label] or 0.0)
    value = recalls[worst] or 0.0
    return _check(name, value, limit, value >= limit - SMALLEST_DIFFERENCE, f"class {worst!r} has the lowest recall, {value:.4f}")


INSTEAD = "register that instead by the same run with --set student.layers=all, which learns nothing and needs no bank"


def _worth(case: Case) -> Check | None:
    """Does the student beat what its teacher gives at once: its own int8, which needs no data and no distillation?

    It warns by default. The student meets every other rule, so that nothing bad is served; and the ratio of two times moves with whatever else the machine
    does, so that a stage would be moved by chance.
    """
    gate, metrics, name = case.gate, case.evidence.metrics, "worth"
    rivals = against_teacher_int8(metrics)
    if gate.worth == "ignore" or (rivals is None and gate.worth == "warn" and "teacher_int8_missing" not in metrics):
        return None
    if rivals is None:
        why = metrics.get("teacher_int8_missing", "evaluate with --teacher-int8")
        return Check(name, None, gate.worth_speedup, gate.worth == "warn", f"the teacher's int8 was not measured: {why}")
    if rivals.same:
        return Check(name, rivals.faster, gate.worth_speedup, True, "the export is the teacher's own int8")
    student = f"the {case.deployed} is {rivals.faster:.2f} times as fast as the teacher's int8 and {rivals.smaller:.2f} times smaller"
    asked = f"{gate.worth_speedup:g} times as fast or {gate.worth_compression:g} times smaller is asked for"
    if why := _no_choice(case):
        return Check(name, rivals.faster, gate.worth_speedup, True, f"{student}; {why}, so it is no choice")
    if rivals.faster >= gate.worth_speedup or rivals.smaller >= gate.worth_compression:
        return Check(name, rivals.faster, gate.worth_speedup, True, student)
    answers = _answers_of_both(case)
    reason = f"the teacher's int8 is the better choice{answers}: {student}, {asked}; {INSTEAD}"
    return Check(name, rivals.faster, gate.worth_speedup, gate.worth == "warn", reason, warning=gate.worth == "warn")


def _no_choice(case: Case) -> str:
    """Why the teacher's int8 would not pass the gate itself; empty where it would."""
    gate, metrics = case.gate, case.evidence.metrics
    teacher, int8 = (_number(metrics, f"{role}_accuracy") for role in ("teacher", "teacher_int8"))
    if teacher is not None and int8 is not None and teacher - int8 > gate.largest_drop + SMALLEST_DIFFERENCE:
        return f"that one loses {teacher - int8:.4f} of the teacher's accuracy, gate.largest_drop allows {gate.largest_drop:g}"
    limited = limited_by("minimum_agreement", on_texts=bool(case.evidence.data))
    agreement = None if limited is None else _number(metrics, limited.of_role("teacher_int8"))
    if agreement is not None and agreement < gate.minimum_agreement - SMALLEST_DIFFERENCE:
        return f"that one agrees with the teacher on {agreement:.4f}, gate.minimum_agreement asks for {gate.minimum_agreement:g}"
    return ""


def _answers_of_both(case: Case) -> str:
    """How well the teacher's int8 and what is judged do, as a part of a sentence."""
    figure, _ = drawn(case.evidence.metrics)
    int8, judged = (_number(case.evidence.metrics, figure.of_role(role)) for role in ("teacher_int8", case.deployed))
    return "" if int8 is None or judged is None else f" ({figure.name.replace('_', ' ')} {int8:.4f} against {judged:.4f})"


RULES: Mapping[str, Callable[[Case], Check | None]] = {
    "largest_drop": _largest_drop,
    "champion_margin": _champion_margin,
    "largest_export_drop": _largest_export_drop,
    "worth": _worth,
    "minimum_class_recall": _minimum_class_recall,
}
"""The function of each rule that is more than a limit of one figure; it returns None where the rule is switched off or has nothing to compare with."""
PARTS_OF_RULES = ("confidence_level", "worth_speedup", "worth_compression")
"""Fields of config.Gate that are not rules of their own."""


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


def _incomparable(evidence: Evidence, champion: Champion) -> str:
    """Why the two cannot be compared; empty where they can."""
    theirs = champion.evidence
    again = "evaluate the champion on this data first: promote it to its own stage with --data"
    if not evidence.data:
        return "there are no labelled texts to compare with the champion on; name evaluation.data, or set gate.champion_margin=1 to do without"
    if champion.problem:
        return f"{champion.problem}; roll the stage back, or set gate.champion_margin=1 to do without the comparison"
    if theirs is None or theirs.data != evidence.data:
        return f"version {champion.version} was not evaluated on this data (digest {evidence.data[:12]}); {again}"
    if not evidence.answers or len(evidence.answers) != len(theirs.answers):
        return f"{len(evidence.answers)} predictions cannot be compared with {len(theirs.answers)} of version {champion.version}; evaluate again"
    if [label for label, _ in evidence.answers] != [label for label, _ in theirs.answers]:
        return f"the labels are not those that version {champion.version} was evaluated on; {again}"
    return ""


def _limit(rule: str, figure: Figure, case: Case) -> list[Check]:
    """A rule that limits one figure of what is deployed; none where it is 0."""
    limit, name = float(getattr(case.gate, rule)), figure.of_role(case.deployed)
    if limit <= 0 or (figure.of == "the export" and case.deployed == "student"):
        return []
    value = _number(case.evidence.metrics, name)
    if value is None:
        return [_missing(rule, case, name, limit)]
    passed = value >= limit - SMALLEST_DIFFERENCE if figure.better == "higher" else value <= limit
    return [_check(rule, value, limit, passed, f"{name} is {value:.4f}" if figure.better == "higher" else f"{name} is {value:g}")]


def _check(name: str, value: float, limit: float, passed: bool, reason: str) -> Check:
    return Check(name, value, limit, passed, reason if passed else f"{reason}, the limit is {limit:g}")


def _missing(name: str, case: Case, metric: str, limit: float) -> Check:
    if metric in case.evidence.metrics:
        reason = f"{metric} is not a finite number; evaluate again"
    elif case.evidence.data:
        reason = f"{metric} is missing from the evaluation; evaluate again"
    else:
        reason = f"{metric} is missing: the evaluation had no labelled texts; name evaluation.data, or switch the rule off"
    return Check(name, None, limit, False, reason)


def _number(values: Mapping[str, Any], name: str) -> float | None:
    """A finite number, or None."""
    value = values.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None


def _met(check: Check) -> str:
    return "warning" if check.warning else "yes" if check.passed else "**no**"


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ").replace("\r", " ")
