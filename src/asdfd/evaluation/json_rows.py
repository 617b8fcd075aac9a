"""JSON and JSONL files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from asdfd.base.errors import InputError
from asdfd.evaluation.table import Pick, Table, first_line, picked, unreadable


def read_json(path: Path, text: str, pick: Pick) -> Table:
    """A JSONL file, an object a line; or a JSON file: a list of objects, a list of values for each column, or an object that holds such a list."""
    rows = _json_rows(path, text)
    names = tuple(dict.fromkeys(name for row in rows for name in row))
    if not rows:
        raise InputError(f"{path}: holds no rows; name a file with texts")
    wanted = picked(path, pick, names)
    return Table({name: [row.get(name) for row in rows] for name in wanted}, names, {})


def _json_rows(path: Path, text: str) -> list[dict[str, Any]]:
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if path.suffix.lower() == ".json":
        try:
            return _rows_of_document(path, json.loads(text))
        except ValueError as error:
            if len(lines) < 2 or not lines[0][1].lstrip().startswith("{") or not lines[0][1].rstrip().endswith("}"):
                raise unreadable(path, first_line(error)) from None  # else it is one object a line under the name of the other form
    rows = []
    for number, line in lines:
        try:
            row = json.loads(line)
        except ValueError as error:
            raise unreadable(path, f"line {number}: {first_line(error)}") from None
        if not isinstance(row, dict):
            raise unreadable(path, f"line {number} is no object")
        rows.append(row)
    return rows


def _rows_of_document(path: Path, document: Any) -> list[dict[str, Any]]:
    if isinstance(document, list) and all(isinstance(row, dict) for row in document):
        return document
    if isinstance(document, dict):
        lists = [value for value in document.values() if isinstance(value, list) and value and all(isinstance(row, dict) for row in value)]
        if len(lists) == 1:
            return lists[0]
        columns = {name: list(value.values()) if isinstance(value, dict) else value for name, value in document.items()}
        if all(isinstance(value, list) for value in columns.values()) and len({len(value) for value in columns.values()}) == 1:
            return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    raise unreadable(path, "it is neither a list of objects nor a list of values for each column")
