"""What came of a judgement: a document, for people and for machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from asdfd.base.evidence import Level


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
    evidence: Level
    """What it was judged on."""
    statement: str
    """The same, and what is therefore known, in a sentence."""
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
            "evidence": self.evidence,
            "statement": self.statement,
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
            self.statement,
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


def _met(check: Check) -> str:
    return "warning" if check.warning else "yes" if check.passed else "**no**"


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ").replace("\r", " ")
