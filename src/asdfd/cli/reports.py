"""The verb that shows what came out: `report`."""

from __future__ import annotations

import argparse
import os
import sys
import webbrowser
from collections.abc import Iterator
from pathlib import Path

from asdfd.base.errors import InputError
from asdfd.base.interruption import StopRequest
from asdfd.cli.options import Verbs, tell

REPORT = "report.html"
METRICS = "metrics.json"
"""What lies beside every report of ours."""
DEPTH = 4
"""Folders below the one that is searched: runs/first/evaluation is three."""


def add_verbs(verbs: Verbs) -> None:
    """Describe the verb of this module."""
    verb = verbs.add(report, "asdfd report runs/first", parameters=False)
    text = "folder of a run, an evaluation or a pulled version, or one that such folders lie in (default: the one where you are)"
    verb.add_argument("run", metavar="RUN", nargs="?", type=Path, default=Path(), help=text)
    verb.add_argument("--no-open", action="store_true", help="print the path and open nothing, as where there is no terminal or no browser")


def report(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """Open the newest report in the browser, and print its path."""
    del stop
    newest = newest_report(arguments.run)
    wanted = not (arguments.no_open or arguments.json) and sys.stdout.isatty() and has_browser()
    opened = wanted and webbrowser.open(newest.resolve().as_uri())
    tell(arguments, {"report": str(newest), "opened": bool(opened)}, str(newest))


def newest_report(folder: Path) -> Path:
    """The report below a folder that was written last.

    Raises:
        InputError: there is none.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name that of a run, which `asdfd run` makes")
    found = list(_reports(folder, DEPTH))
    if not found:
        raise InputError(f"{folder}: holds no report; make one with `asdfd run` or `asdfd evaluate`, or name the folder of a run")
    return max(found, key=lambda path: path.stat().st_mtime)


def _reports(folder: Path, depth: int) -> Iterator[Path]:
    """The reports in a folder and below, not in hidden folders, nor in what a step has begun."""
    if (folder / REPORT).is_file() and (folder / METRICS).is_file():
        yield folder / REPORT
    if depth == 0:
        return
    try:
        below = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.suffix != ".partial" and path.is_dir())
    except PermissionError:
        return
    for path in below:
        yield from _reports(path, depth - 1)


def has_browser() -> bool:
    """Whether a page can be shown beside this terminal: a text browser would take its place."""
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"))
