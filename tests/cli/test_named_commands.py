"""What an error tells a person to type: the commands are there and parse, and the errors that a command of ours mends name it."""

from __future__ import annotations

import argparse
import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import asdfd
from asdfd.base.artifacts import MAKERS, read
from asdfd.base.errors import InputError
from asdfd.cli.main import build_parser, main

SOURCE = Path(asdfd.__file__).parent


def text_of(node: ast.expr) -> str:
    """The text of a message, with X in place of what is filled in when it is raised."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
    return ""


def messages() -> Iterator[tuple[str, str]]:
    """Every text in the source that is no docstring: where it stands, and the text."""
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in inside | said:
                yield f"{path.relative_to(SOURCE)}:{node.lineno}", text_of(node)


def named_commands() -> list[tuple[str, str]]:
    """The commands that messages name: where, and the command without our name."""
    return [(place, command) for place, text in messages() for command in re.findall(r"`asdfd ([^`]*)`", text)]


def verbs_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The verbs below a parser."""
    (below,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)] or [None]
    return dict(below.choices) if below is not None else {}


def parser_of(words: list[str]) -> tuple[argparse.ArgumentParser, list[str]]:
    """The parser of the verb that a command begins with, and the words after it."""
    parser, rest = build_parser(), list(words)
    while rest and (below := verbs_of(parser)):
        assert rest[0] in below, f"there is no verb {rest[0]}"
        parser = below[rest.pop(0)]
    return parser, rest


def test_messages_name_commands_that_there_are() -> None:
    named = named_commands()
    assert len(named) > 30
    for place, command in named:
        if command.split()[0] in ("X", "VERB"):
            continue  # a verb that is filled in, which the tests below look at
        parser, rest = parser_of(shlex.split(command))
        known = {option: action for action in parser._actions for option in action.option_strings}
        assert [word for word in rest if word.startswith("--") and word not in known] == [], f"{place}: {command}"


def test_every_command_of_ours_stands_in_backticks_or_begins_a_line() -> None:
    """So that the test above finds it: nothing looks like a command elsewhere in a message."""
    verbs = "|".join(verbs_of(build_parser()))
    loose = [(place, text) for place, text in messages() if re.search(rf"(?<![`\w-])(?:see |with:? )asdfd (?:{verbs})\b", text)]
    assert loose == []


@pytest.mark.parametrize("kind", MAKERS)
def test_who_names_no_artifact_is_told_what_makes_one(kind: str, tmp_path: Path) -> None:
    for folder, place in ((tmp_path / "missing", "as"), (tmp_path, "that")):
        with pytest.raises(InputError, match=rf"{place} `asdfd {MAKERS[kind]}`"):
            read(folder, kind)
    parser_of(shlex.split(MAKERS[kind]))


@pytest.mark.parametrize(
    ("words", "helps"),
    [
        (["distil"], "did you mean distill?"),
        (["registry", "lst"], "did you mean list?"),
        (["distill"], "see asdfd distill --help"),
        (["run", "--out", "x", "--params", "none.yaml"], "leave --params out"),
        (["evaluate", "--teacher", "x", "--student", "x", "--out", "y"], "`asdfd fetch`"),
        (["report", "none"], "`asdfd run`"),
    ],
)
def test_the_line_of_an_error_says_what_to_type(
    words: list[str], helps: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert helps in line
