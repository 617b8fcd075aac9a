"""A table of texts, its wanted columns, and the words in which something is said of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asdfd.base.errors import InputError

NAMES_SHOWN = 8
"""Names that an error lists."""

Pick = Callable[[Sequence[str]], Sequence[str]]
"""From the names of all columns to those that are wanted. It raises an InputError where one is not there, which does not say where yet."""


@dataclass(frozen=True)
class Table:
    """The wanted columns of a table."""

    columns: Mapping[str, list[Any]]
    """The values of each wanted column, a row each."""
    names: tuple[str, ...]
    """All columns of the source."""
    class_names: Mapping[str, tuple[str, ...]]
    """Of columns that hold class ids and say what they mean: the name of each id."""


def picked(place: object, pick: Pick, names: Sequence[str]) -> Sequence[str]:
    """The wanted columns; the line of an error names the place."""
    try:
        return pick(names)
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


def unreadable(path: Path, why: str) -> InputError:
    return InputError(f"{path}: cannot be read as {path.suffix[1:].upper()} ({why}); repair it or save it again")


def shown(names: Iterable[object]) -> str:
    """Some names on one line; of many the first ones."""
    listed = [" ".join(str(name).split()) or "''" for name in names]
    return ", ".join(listed[:NAMES_SHOWN]) + (f" and {len(listed) - NAMES_SHOWN} more" if len(listed) > NAMES_SHOWN else "")


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: null, not-a-number, or a text of white space only."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def counted(count: int, what: str) -> str:
    """A number of things in words: `1 row`, `2,000 rows`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def first_line(error: BaseException) -> str:
    """The start of an error's message, on one line."""
    return " ".join(str(error).split("\n")[0].split())[:200].rstrip(".") or type(error).__name__
