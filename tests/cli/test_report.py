"""`asdfd report`: which report it finds, and where it opens it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from asdfd.cli.main import main
from tests.terminal import Terminal

SCRIPT = str(Path(sys.executable).with_name("asdfd"))


def make_report(folder: Path, age: int) -> Path:
    """A report that was written so many seconds ago, as `evaluate` leaves it."""
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text("{}", encoding="utf-8")
    page = folder / "report.html"
    page.write_text("<!DOCTYPE html><title>report</title>", encoding="utf-8")
    os.utime(page, (1e9 - age, 1e9 - age))
    return page


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two runs, an evaluation of `asdfd evaluate`, and what is no report."""
    make_report(tmp_path / "runs" / "first" / "evaluation", 300)
    make_report(tmp_path / "runs" / "second" / "evaluation", 200)
    make_report(tmp_path / "steps" / "evaluation", 400)
    make_report(tmp_path / ".hidden" / "evaluation", 1)
    make_report(tmp_path / "runs" / "third" / "evaluation.partial" / "artifact", 1)
    (tmp_path / "report.html").write_text("of somebody else", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("named", "found"),
    [
        ([], "runs/second/evaluation/report.html"),
        (["runs"], "runs/second/evaluation/report.html"),
        (["runs/first"], "runs/first/evaluation/report.html"),
        (["steps/evaluation"], "steps/evaluation/report.html"),
    ],
)
def test_the_newest_report_of_a_folder_is_found(
    runs: Path, named: list[str], found: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(runs)
    monkeypatch.setenv("BROWSER", "/not/there %s")  # stdout is no terminal, so nothing is opened
    assert main(["report", *named]) == 0
    assert capsys.readouterr().out == f"{found}\n"
    assert main(["report", *named, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"report": found, "opened": False}


@pytest.mark.parametrize(("named", "line"), [("none", "no such folder"), ("runs/third", "holds no report; make one with `asdfd run` or `asdfd evaluate`")])
def test_where_there_is_none_the_line_says_what_makes_one(
    runs: Path, named: str, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(runs)
    assert main(["report", named]) == 2
    assert capsys.readouterr().err.startswith(f"asdfd: {named}: {line}")


@pytest.mark.slow
@pytest.mark.parametrize(("options", "opens"), [((), True), (("--no-open",), False)])
def test_a_terminal_with_a_browser_opens_it(runs: Path, options: tuple[str, ...], opens: bool) -> None:
    """The browser is a script that writes down what it is asked for."""
    browser = runs / "browser"
    browser.write_text('#!/bin/sh\necho "$1" > "$(dirname "$0")/asked"\n', encoding="utf-8")
    browser.chmod(0o755)
    terminal = Terminal(200, environment={"BROWSER": f"{browser} %s"})
    terminal.start([SCRIPT, "report", "runs", *options], runs)
    assert terminal.read_to_the_end() == ["runs/second/evaluation/report.html"]
    assert terminal.exit_code == 0
    asked = runs / "asked"
    assert asked.exists() == opens
    if opens:
        assert asked.read_text(encoding="utf-8").strip() == (runs / "runs" / "second" / "evaluation" / "report.html").as_uri()


@pytest.mark.slow
def test_a_terminal_without_a_browser_prints_the_path(runs: Path) -> None:
    terminal = Terminal(200, environment={"BROWSER": "", "DISPLAY": "", "WAYLAND_DISPLAY": ""})
    terminal.start([SCRIPT, "report"], runs)
    assert terminal.read_to_the_end() == ["runs/second/evaluation/report.html"]
    assert terminal.exit_code == 0
