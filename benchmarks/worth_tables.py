"""The tables of worth.py on docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PICTURES = ("accuracy-against-size", "accuracy-against-time-of-one-text-on-one-thread")


def worth_section(result: Mapping[str, Mapping[str, Any]]) -> str:
    """For each data set the models that can be served, drawn and in figures, and what the gate says."""
    parts = []
    for name, run in result.items():
        where = ", ".join(f"{key} {value}" for key, value in run["machine"].items())
        heading, rows = run["choices"]["columns"], run["choices"]["rows"]
        table = [f"| {' | '.join(cells)} |" for cells in (heading, ["---", *("---:" for _ in heading[1:])], *rows)]
        said = [f"- {line}" for line in [*run["reasons"], *run["warnings"]]] or ["- all rules are met"]
        verdict = "lets it pass" if run["passed"] else "rejects it"
        pictures = " ".join(f"![{name}: {picture.replace('-', ' ')}](images/{name}-{picture}.svg)" for picture in PICTURES)
        parts.append("\n".join([f"**{name}** ({where})", "", pictures, "", *table, "", f"The gate judges the {run['judged']} and {verdict}:", "", *said, ""]))
    return "\n".join(parts)
