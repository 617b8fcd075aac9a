"""CSV and TSV files. Every field is the text that stands there, so that `NA`, `null` and `007` stay what they are."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from asdfd.base.config import Evaluation
from asdfd.base.errors import InputError
from asdfd.evaluation.table import Pick, Table, counted, first_line, picked, shown

SEPARATORS = {".csv": ",;\t|", ".tsv": "\t,;|"}
"""What may stand between the fields of a table: the first by which the header holds the columns that are asked for."""
LONGEST_FIELD = 2**31 - 1
"""Characters of a field; Python's own limit is that of a short text."""


def read_separated(path: Path, text: str, config: Evaluation, pick: Pick) -> Table:
    """A CSV or TSV file: every field is the text that stands there, so that `NA`, `null` and `007` stay what they are."""
    separator = _separator(path, text, config.quoting, pick)
    rows = _separated_rows(path, text, separator, config.quoting)
    header = _names(next(rows)[1])
    wanted = picked(path, pick, header)
    if twice := [name for name in wanted if header.count(name) > 1]:
        raise InputError(f"{path}: has two columns {twice[0]!r}; rename one of them")
    places = [header.index(name) for name in wanted]
    columns: list[list[Any]] = [[] for _ in wanted]
    for line, fields in rows:
        if len(fields) < len(header) or any(fields[len(header) :]):  # a separator too many at the end of a line is common, and harmless
            what = "quote the texts that hold a separator" if len(fields) > len(header) else "complete the line or remove it"
            raise InputError(f"{path}: line {line} has {counted(len(fields), 'field')}, the header {len(header)} ({shown(header)}); {what}")
        for column, place in zip(columns, places, strict=True):
            column.append(fields[place])
    return Table(dict(zip(wanted, columns, strict=True)), tuple(header), {})


def _separator(path: Path, text: str, quoting: str, pick: Pick) -> str:
    """What stands between the fields of a table, by its header."""
    separators = SEPARATORS[path.suffix.lower()]
    for separator in separators:
        header = next((fields for fields in csv.reader(io.StringIO(text, newline=""), delimiter=separator, quoting=_quotes(quoting)) if fields), None)
        if header is None:
            raise InputError(f"{path}: holds no rows; name a file with texts")
        with suppress(InputError):
            pick(_names(header))
            return separator
    return separators[0]


def _names(header: Sequence[str]) -> list[str]:
    """The names of the columns; `text, label` has no column ` label`."""
    return [name.strip() for name in header]


def _quotes(quoting: str) -> Literal[0, 3]:
    return csv.QUOTE_NONE if quoting == "none" else csv.QUOTE_MINIMAL


def _separated_rows(path: Path, text: str, separator: str, quoting: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that hold something, each with the number of its first line.

    A quote that opens a field must close it before a separator or the end of a line, and, where `quoting` is one-line, on the same line: a file whose texts
    begin with a quote as a character among others would lose rows otherwise.

    Raises:
        InputError: a quote does not.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, quoting=_quotes(quoting))
    limit = csv.field_size_limit(LONGEST_FIELD)
    begun, plain = 0, "set evaluation.quoting to none where quotes are characters like others"
    try:
        for fields in reader:
            line, begun = begun + 1, reader.line_num
            if begun > line and quoting == "one-line":
                where = f"line {line}: a quoted field goes on to line {begun}, so {begun - line + 1} lines become one row"
                raise InputError(f"{path}: {where}; {plain}, to multi-line where texts hold line breaks")
            if fields:
                yield line, fields
    except csv.Error as error:
        why = "a quote is never closed" if "end of data" in str(error) else f"a quote does not close its field ({first_line(error)})"
        raise InputError(f"{path}: line {begun + 1}: {why}; {plain}, or repair the file") from None
    finally:
        csv.field_size_limit(limit)
