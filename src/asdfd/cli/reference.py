"""The reference pages of the documentation, written from the code: settings, command line, metrics, exit codes.

`python -m asdfd.cli.reference docs/reference` writes them anew (`make manifests`); a test compares them.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from asdfd.base.config import Run
from asdfd.base.figures import FIGURES
from asdfd.base.loading import PRESETS, load_run
from asdfd.cli.exit_codes import EXIT_CODES
from asdfd.cli.main import build_parser
from asdfd.cli.presentation import parameter_descriptions
from asdfd.monitoring.manifests import metric_table, served_table
from asdfd.monitoring.metrics import GROUPING
from asdfd.monitoring.served import SERVED

WIDTH = "100"
"""Columns of the help texts, which argparse would take from the terminal."""


def pages() -> dict[str, str]:
    """The reference pages: their Markdown by the name of their file."""
    return {"settings.md": settings(), "cli.md": command_line(), "metrics.md": metrics(), "exit-codes.md": exit_codes()}


def settings() -> str:
    """Every parameter of a run, and what each preset makes of it."""
    lines = [
        "# Settings",
        "",
        "Every parameter of a run: `params.yaml`, `--params`, `--set SECTION.NAME=VALUE`, and the form in Kubeflow. Written from the code.",
        "",
    ]
    sections: dict[str, list[str]] = {}
    presets = {name: {row["name"]: row["value"] for row in parameter_descriptions(load_run(name))} for name in PRESETS[1:]}
    for parameter in parameter_descriptions(Run()):
        section, _, name = str(parameter["name"]).rpartition(".")
        choices = f" One of {', '.join(f'`{choice}`' for choice in parameter['choices'])}." if parameter["choices"] else ""
        others = [f"`{value[parameter['name']]}` in `{preset}`" for preset, value in presets.items() if value[parameter["name"]] != parameter["value"]]
        default = _code(parameter["value"]) + (f"; {', '.join(others)}" if others else "")
        sections.setdefault(section, []).append(_row(f"`{name}`", default, f"{parameter['description']}{choices}"))
    for section, rows in sections.items():
        lines += [f"## {section or 'Of the whole run'}", "", _row("name", "default", "meaning"), _row("---", "---", "---"), *rows, ""]
    return "\n".join(lines)


def command_line() -> str:
    """The help of every verb, as it is printed."""
    columns = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = WIDTH
    try:
        parts = [f"## {title}\n\n```text\n{help_text.rstrip()}\n```\n" for title, help_text in _helps(build_parser())]
    finally:
        os.environ.pop("COLUMNS") if columns is None else os.environ.update(COLUMNS=columns)
    return "\n".join(["# Command line", "", "What `asdfd VERB --help` prints. Written from the code.", "", *parts])


def _helps(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """The title and the help of a parser and of those below it."""
    yield parser.prog, parser.format_help()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _helps(below)


def metrics() -> str:
    """The figures of an evaluation, and every metric for Prometheus."""
    figures = [_row(f"`{figure.name}`", figure.of, figure.on, figure.unit.name, figure.better, figure.help) for figure in FIGURES]
    lines = [
        "# Metrics",
        "",
        "Written from the code. [Operations](../operations.md) tells what to do when one of them is wrong.",
        "",
        "## Figures of an evaluation",
        "",
        "In `metrics.json`; one of each model stands there as `teacher_NAME`, `student_NAME` and, where an export was measured, `export_NAME`.",
        "",
        _row("name", "of", "measured on", "unit", "better", "meaning"),
        _row(*["---"] * 6),
        *figures,
        "",
        "## Of runs, for Prometheus",
        "",
        f"Gauges, with the labels {', '.join(f'`{label}`' for label in GROUPING)} and those named here.",
        "",
        metric_table(),
        "## Of a server, for Prometheus",
        "",
        f"With the labels {', '.join(f'`{label}`' for label in SERVED)} and those named here.",
        "",
        served_table().rstrip(),
    ]
    return "\n".join(lines) + "\n"


def exit_codes() -> str:
    """What the exit codes mean."""
    rows = [_row(f"`{code}`", meaning) for code, meaning in EXIT_CODES]
    text = "Every error that one can act on is one line on stderr: what, where, what to do; with `--json` it is an object on stdout as well."
    return "\n".join(["# Exit codes", "", text, "Written from the code.", "", _row("code", "meaning"), _row("---", "---"), *rows]) + "\n"


def _row(*cells: str) -> str:
    """A row of a table."""
    return f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |"


def _code(value: object) -> str:
    return "empty" if value == "" else f"`{value}`"


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")
