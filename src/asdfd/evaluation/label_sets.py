"""Several labels a text, as people write them: a list, a text that holds one, a 0 or 1 for each label, or a column for each label."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

from asdfd.base.errors import InputError
from asdfd.evaluation.labels import folded
from asdfd.evaluation.table import is_missing

SEPARATORS = "|;,"
"""What may stand between the labels of one cell."""


def columns_of_labels(columns: Sequence[str], names: Sequence[str]) -> list[str]:
    """The column of each label by its name, in the order of the labels; empty where one has none."""
    known = {folded(column): column for column in columns}
    found = [known[folded(name)] for name in names if folded(name) in known]
    return found if len(found) == len(names) else []


def sets_of_columns(columns: Sequence[Sequence[Any]], names: Sequence[str]) -> list[list[str] | None]:
    """The labels of each row of a table with a column for each label; None where one is missing or -1, the mark of a row that nobody labelled.

    Raises:
        InputError: a cell is neither 0 nor 1; the line does not say where yet.
    """
    return [_set_of_flags(flags, names, row) for row, flags in enumerate(zip(*columns, strict=True), start=1)]


def sets_of_cells(cells: Sequence[Any], names: Sequence[str]) -> list[list[Any] | None]:
    """The labels of each cell: a list of them, a text that holds a list or labels with a bar, semicolon or comma between them, or one label; None where it
    holds nothing. Where every cell is a list of 0 and 1, one for each label, it says which labels the text has.

    Raises:
        InputError: a text that begins as a list and is none; the line does not say where yet.
    """
    lists = [_listed(cell, names, row) for row, cell in enumerate(cells, start=1)]
    given = [each for each in lists if each is not None]
    if given and all(len(each) == len(names) and all(_flag(value) is not None for value in each) for each in given):
        return [None if each is None else _set_of_flags(each, names, row) for row, each in enumerate(lists, start=1)]
    return lists


def _listed(cell: Any, names: Sequence[str], row: int) -> list[Any] | None:
    if is_missing(cell):
        return None
    if isinstance(cell, list | tuple):
        return list(cell)
    if not isinstance(cell, str) or cell.strip() in names:
        return [cell]
    text = cell.strip()
    if text.startswith("["):
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = None
        if not isinstance(value, list):
            raise InputError(f"row {row} holds {text!r:.60}, which begins as a list and is none; repair it")
        return value
    separator = next((each for each in SEPARATORS if each in text), None)
    return [part.strip() for part in text.split(separator) if part.strip()] if separator else [text]


def _set_of_flags(flags: Sequence[Any], names: Sequence[str], row: int) -> list[str] | None:
    if any(is_missing(flag) or str(flag).strip() in ("-1", "-1.0") for flag in flags):
        return None
    found = [_flag(flag) for flag in flags]
    if None in found:
        raise InputError(f"row {row} holds {flags[found.index(None)]!r:.40} for the label {names[found.index(None)]!r}; 0 or 1 is needed")
    return [name for name, flag in zip(names, found, strict=True) if flag]


def _flag(value: Any) -> bool | None:
    """A 0 or 1, in any of the forms that tables have; None for another value."""
    return {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}.get(str(value).strip().casefold())
