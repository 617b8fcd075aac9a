"""The blocks of commands in the pages, with the comment that stands before each: whether it is run, where, or why not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.ci.workflows import ROOT

SHELLS = ("bash", "console", "sh", "shell")
PROGRAMS = "asdfd|cosign|curl|docker|dvc|export|git|helm|kind|kubectl|kustomize|make|openssl|pip|podman|printf|python|python3|skopeo|sudo"
COMMAND = re.compile(rf"(?:[A-Z_][A-Z0-9_]*=\S* )*(?:\S*/)?(?:{PROGRAMS}) ")
"""How a block begins that is no listing but commands, where it is indented and names no language."""
MARK = re.compile(r"<!-- (?:(run)|run by (tests/[\w/.]+\.py)|not run: (\S.*\S)) -->")


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    """Number of its first line, from 1."""
    text: str
    mark: re.Match[str] | None
    """The comment before it; None where there is none."""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """All pages that people read."""
    return sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "examples").rglob("*.md")])


def blocks_of(page: Path, text: str) -> Iterator[Block]:
    """The blocks of commands of a page, in order."""
    lines = text.splitlines()
    number, before = 0, ""
    while number < len(lines):
        line, start = lines[number], number
        fence = re.match(r"( *)(`{3,}|~{3,})(\w*)", line)
        if fence:
            end = next(place for place in range(number + 1, len(lines)) if lines[place].strip().startswith(fence.group(2)))
            if fence.group(3) in SHELLS:
                yield Block(page, start + 1, "\n".join(lines[number + 1 : end]), MARK.fullmatch(before))
            number = end
        elif line.startswith("    ") and (number == 0 or not lines[number - 1].strip()):
            while number + 1 < len(lines) and (lines[number + 1].startswith("    ") or not lines[number + 1].strip()):
                number += 1
            text = "\n".join(part.strip() for part in lines[start : number + 1]).strip()
            if COMMAND.match(text):
                yield Block(page, start + 1, text, MARK.fullmatch(before))
            before = ""
        if lines[number].strip():
            before = lines[number].strip()
        number += 1
