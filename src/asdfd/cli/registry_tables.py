"""What the verbs of the registry show to people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from asdfd.base.evidence import TITLES
from asdfd.base.figures import columns
from asdfd.cli.presentation import rendered
from asdfd.registry.collection import Garbage


def verdict_table(verdict: Mapping[str, Any]) -> Table:
    """Every rule of a verdict.json."""
    champion = f"against version {verdict['champion']}" if verdict["champion"] else "no version holds the stage"
    title = f"{verdict['judged']} {'passed' if verdict['passed'] else 'rejected'}, {champion}"
    table = Table("rule", box=SIMPLE_HEAD, title=f"{title}\n{verdict['statement']}", title_justify="left", title_style="")
    for column in ("value", "limit"):
        table.add_column(column, justify="right")
    table.add_column("met")
    table.add_column("", overflow="fold")
    for check in verdict["checks"]:
        table.add_row(
            check["check"],
            _number(check["value"]),
            _number(check["limit"]),
            "warning" if check["warning"] else "yes" if check["passed"] else "NO",
            check["reason"],
        )
    return table


def versions_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """The versions of a registry, with the stages that they hold."""
    table = Table("model", "version", "holds", "judged on", box=SIMPLE_HEAD)
    for column in (*columns({}), "MB"):
        table.add_column(column, justify="right")
    table.add_column("stored (UTC)")
    for row in rows:
        figures = [_number(value) for value in columns(row["metrics"]).values()]
        whose = (row["name"], row["version"], ", ".join(row["stages"]), TITLES[row["evidence"]])
        table.add_row(*whose, *figures, f"{row['bytes'] / 1e6:,.2f}", _moment(row["created"]))
    return table


def history_table(moves: Iterable[Mapping[str, Any]]) -> Table:
    """The moves of stages, the first one first."""
    table = Table("", "stage", "time (UTC)", "what", "version", "before", "who", "run", box=SIMPLE_HEAD)
    table.add_column("why", overflow="fold")
    for move in moves:
        who = (move["actor"], move["run"])
        table.add_row(str(move["number"]), move["stage"], _moment(move["time"]), move["action"], move["version"], move["previous"] or "", *who, move["reason"])
    return table


def garbage_table(found: Sequence[Garbage]) -> Table:
    """What `gc` found."""
    table = Table("what", "model", "version", box=SIMPLE_HEAD)
    for column in ("objects", "MB"):
        table.add_column(column, justify="right")
    table.add_column("why", overflow="fold")
    for one in found:
        table.add_row(one.kind, one.name, one.version, str(len(one.keys)), f"{one.bytes / 1e6:,.2f}", one.reason)
    return table


def description_text(facts: Mapping[str, Any]) -> str:
    """All about one version; its parameters are left to --json."""
    rows = [("version", f"{facts['name']}@{facts['version']}"), ("holds", ", ".join(facts["stages"]) or "no stage"), ("stored", facts["created"])]
    rows += [
        ("made by", facts["made_by"]),
        ("manifest", facts["manifest_sha256"]),
        ("teacher", facts["teacher_reference"]),
        ("judged on", TITLES[facts["evidence"]]),
        *([("data", facts["data"])] if facts["data"] else []),
    ]
    rows += [(f"{kind} digest", digest) for kind, digest in facts["digests"].items()]
    rows += [(name.replace("_", " "), value) for name, value in facts["provenance"].items()]
    rows += [(name.replace("_", " "), _number(value)) for name, value in facts["metrics"].items()]
    table = Table("file", box=SIMPLE_HEAD)
    table.add_column("bytes", justify="right")
    table.add_column("SHA-256", no_wrap=True)
    for file, entry in facts["files"].items():
        table.add_row(file, f"{entry['bytes']:,}", entry["sha256"])
    return "".join(f"{name:<28}{value}\n" for name, value in rows) + rendered(table)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _moment(time: str) -> str:
    return time[:19].replace("T", " ")
