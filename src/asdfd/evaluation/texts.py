"""Texts for the evaluation, with labels or without: what a row of a table must hold, and what the user is told about the rows. Rows are counted from 1."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from asdfd.base.artifacts import canonical_json
from asdfd.base.config import Evaluation
from asdfd.base.errors import InputError
from asdfd.evaluation.label_sets import columns_of_labels, sets_of_cells, sets_of_columns
from asdfd.evaluation.labels import UNNAMED, label_text, parse_mapping, read_labels, unknown
from asdfd.evaluation.table import Table, counted, is_missing, shown
from asdfd.evaluation.tables import read_table
from asdfd.models.encoding import Input

LABEL = "label"
"""The column of the labels where the user names none."""


@dataclass(frozen=True)
class Texts:
    """Texts, and the class of each where the data tells."""

    texts: tuple[str, ...]
    labels: tuple[int, ...] | tuple[tuple[int, ...], ...] | None
    """Index of each text's class into the label names that the data was read with; where a text can have several labels, those of all that it has. None where
    the data holds no labels."""
    digest: str
    """SHA-256 of the texts and the names of their classes: the same whatever the file format, and whether the labels came as names or ids."""
    name: str
    """File name or data set reference; never a folder."""
    seconds: tuple[str, ...] = ()
    """The second text of each pair; empty where texts stand alone."""
    remarks: tuple[str, ...] = ()
    """What the user is told about the rows: how many were read, which were left out, and what is odd about them."""

    several: bool = False
    """Whether a text can have several labels."""

    @property
    def labelled(self) -> bool:
        """Whether it is known what is right."""
        return self.labels is not None

    def truth(self, classes: int) -> np.ndarray:
        """What is right: class indices [N], or sets of labels, bool [N, C]; only of labelled texts."""
        assert self.labels is not None
        if not self.several:
            return np.asarray(self.labels)
        sets = np.zeros((len(self.texts), classes), dtype=bool)
        for row, labels in enumerate(self.labels):
            sets[row, list(cast("tuple[int, ...]", labels))] = True
        return sets

    @property
    def inputs(self) -> Sequence[Input]:
        """What is classified: the texts, or the pairs."""
        return tuple(zip(self.texts, self.seconds, strict=True)) if self.seconds else self.texts


def read_texts(config: Evaluation, label_names: Sequence[str], *, several: bool = False) -> Texts:
    """Read the texts that `config.data` names, with the columns, the split and the meaning of labels that `config` says.

    A table with the column of labels is labelled: each text has one label, or where the teacher gives `several` any number of them, none included. A table
    without one is not, unless the user named the column. Rows without a text or without a label are left out and reported.

    Raises:
        InputError: what cannot be read, a missing column, no rows, an unknown label; the line names the place and the remedy.
    """
    mapping = parse_mapping(config.labels, label_names)
    table, name = read_table(config, lambda names: _wanted(config, names, label_names, several=several))
    labelled = len(table.columns) > len(text_columns(config))
    label = _label_column(config, table.names) or LABEL if labelled else ""
    cells: dict[str, list[Any]] = {column: table.columns[column] for column in text_columns(config)}
    if labelled:
        values = label_sets(config, table, label, label_names) if several else label_values(table, label, label_names)
        cells[label] = list(values)
    kept = _kept_rows(config, cells, label)
    texts, seconds = (*(tuple(cells[column][row] for row in kept) for column in text_columns(config)), ())[:2]
    inputs = list(zip(texts, seconds, strict=True)) if seconds else texts
    labels, content, told = None, {"texts": texts, **({"seconds": seconds} if seconds else {})}, [_unlabelled(config, table.names, len(kept))]
    if labelled:
        indices, remark = _classes(f"{config.data}, column {label}", cells[label], kept, label_names, mapping, several=several)
        labels = tuple(indices) if several else tuple(index for (index,) in indices)
        content, told = content | {"labels": _named(labels, label_names)}, [remark, *_oddities(inputs, indices, kept, label_names)]
    elif config.labels:
        raise InputError(f"{config.data}: evaluation.labels says what labels mean, and there is no column {LABEL!r}; name theirs with evaluation.label_column")
    else:
        told += _oddities(inputs, [()] * len(kept), kept, ())
    read = f"{counted(len(cells[config.text_column]), 'row')} and {counted(len(table.names), 'column')} ({shown(table.names)}) were read"
    remarks = filter(None, [read, _left_out(config, cells, kept, label), *told])
    return Texts(texts, labels, hashlib.sha256(canonical_json(content)).hexdigest(), name, seconds, tuple(remarks), several)


def _unlabelled(config: Evaluation, names: Sequence[str], rows: int) -> str:
    """That there are no labels, so that who meant some sees it."""
    others = [name for name in names if name not in text_columns(config)]
    which = f"{shown(map(repr, others))} {'holds' if len(others) == 1 else 'hold'}"
    hint = f" (there is no column {LABEL!r}; if {which} them, name it with evaluation.label_column)" if others else ""
    return f"{counted(rows, 'text')} without labels: judged by fidelity{hint}"


def _named(labels: Any, names: Sequence[str]) -> Any:
    return names[labels] if isinstance(labels, int) else [_named(label, names) for label in labels]


def text_columns(config: Evaluation) -> list[str]:
    """The columns of the texts: one, or the two of a pair."""
    return [config.text_column, *([config.pair_column] if config.pair_column else [])]


def _label_column(config: Evaluation, names: Sequence[str]) -> str:
    """The column of the labels: the one that the user named, or the usual one where it is there; empty where there is none."""
    return config.label_column or (LABEL if LABEL in names else "")


def _wanted(config: Evaluation, names: Sequence[str], label_names: Sequence[str], *, several: bool) -> list[str]:
    """The columns that are read. Where a text can have several labels and there is no column of them, each label may have its own."""
    label = _label_column(config, names)
    if several and label not in names and (of_labels := columns_of_labels(names, label_names)):
        return [*_wanted_of(config, text_columns(config), names), *of_labels]
    return _wanted_of(config, [*text_columns(config), *([label] if label else [])], names)


def _wanted_of(config: Evaluation, wanted: list[str], names: Sequence[str]) -> list[str]:
    if len(set(wanted)) < len(wanted):
        raise InputError(f"evaluation.text_column, pair_column and label_column name {', '.join(map(repr, wanted))}; name another column with each")
    for column in wanted:
        if column not in names:
            raise InputError(
                f"has no column {column!r}; it has {shown(map(repr, names))}: its first line, or each row, must name the columns; "
                f"set evaluation.text_column{', evaluation.pair_column' if config.pair_column else ''} and evaluation.label_column"
            )
    return wanted


def label_values(table: Table, column: str, label_names: Sequence[str]) -> list[Any]:
    """The labels of a column. Where the data set names its classes, a label is that name: another model may count them in another order."""
    values, class_names = table.columns[column], table.class_names.get(column)
    if class_names is None or all(UNNAMED.fullmatch(name) for name in label_names):  # a model without names of its own can only mean the ids
        return values
    return [None if value is None else [class_names[each] for each in value] if isinstance(value, list) else class_names[value] for value in values]


def label_sets(config: Evaluation, table: Table, column: str, label_names: Sequence[str]) -> list[list[Any] | None]:
    """The labels of each row; None where nobody labelled it."""
    place = f"{config.data}, column {column}"
    try:
        if column in table.columns:
            return sets_of_cells(label_values(table, column, label_names), label_names)
        place = config.data
        return sets_of_columns([table.columns[column] for column in columns_of_labels(table.names, label_names)], label_names)
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


def _kept_rows(config: Evaluation, cells: Mapping[str, Sequence[Any]], label: str) -> list[int]:
    """The rows, from 0, that have a text, or the two of a pair, and where there are labels one of those."""
    if not cells[config.text_column]:
        raise InputError(f"{config.data}: holds no rows; name a file with texts")
    for column in text_columns(config):
        for row, text in enumerate(cells[column], start=1):
            if not isinstance(text, str) and not is_missing(text):
                place = f"{config.data}, column {column}"
                raise InputError(f"{place}: row {row} holds {text!r:.60}, not a text; name the column of the texts or quote the value")
    for column, values in cells.items():
        if all(map(is_missing, values)):
            what = "label" if column == label and column not in text_columns(config) else "text"
            raise InputError(f"{config.data}, column {column}: no row has a {what}; name another column, or another split with evaluation.split")
    kept = [row for row, values in enumerate(zip(*cells.values(), strict=True)) if not any(map(is_missing, values))]
    if not kept:
        raise InputError(f"{config.data}: no row has both {'a text and a label' if label in cells else 'texts'}; name other columns")
    return kept


def _classes(
    place: str, values: Sequence[Any], kept: Sequence[int], names: Sequence[str], mapping: Mapping[str, int], *, several: bool
) -> tuple[list[tuple[int, ...]], str]:
    """The class of each kept row, or all of its labels in the order of the classes, and what is to be said about how the labels were read; `place` is where
    they stand."""
    found: list[tuple[int, str]] = []
    for row in kept:
        labels = values[row] if isinstance(values[row], list | tuple) else [values[row]]
        if not several and len(labels) != 1:
            what = f"{counted(len(labels), 'label')} ({shown(labels)})"
            raise InputError(f"{place}: row {row + 1} has {what}, the model gives one class; name a column of one label")
        for value in labels:
            label = label_text(value)
            if label is None:
                raise InputError(f"{place}: row {row + 1} holds {value!r:.60}, not a label; name the column of the labels")
            found.append((row, label))
    texts = [label for _, label in found]
    try:
        reading = read_labels(texts, names, mapping)
    except InputError as error:
        raise InputError(f"{place}: {error}") from None
    if isinstance(reading, str):
        raise InputError(f"{place}: {unknown(reading, found[texts.index(reading)][0] + 1, texts, names)}")
    classes: dict[int, set[int]] = {row: set() for row in kept}
    for row, label in found:
        classes[row].add(reading.classes[label])
    return [tuple(sorted(classes[row])) for row in kept], reading.remark


def _left_out(config: Evaluation, cells: Mapping[str, Sequence[Any]], kept: Sequence[int], label: str) -> str:
    """Which rows were left out."""
    parts = []
    for column, values in cells.items():
        what = {label: "label", config.pair_column: "second text"}.get(column, "text")
        rows = [row for row, value in enumerate(values, start=1) if is_missing(value)]
        if rows:
            parts.append(f"{len(rows):,} without a {what} (the first is row {rows[0]})")
    return f"{counted(len(cells[config.text_column]) - len(kept), 'row')} left out: {' and '.join(parts)}" if parts else ""


def _oddities(texts: Sequence[Input], labels: Sequence[tuple[int, ...]], kept: Sequence[int], names: Sequence[str]) -> list[str]:
    """Rows that stand there twice, texts with two labels, and classes without a text; `labels` are empty, and so are `names`, where nobody labelled them."""
    first: dict[Input, int] = {}
    again: list[int] = []
    disputed: list[tuple[int, int]] = []
    for place, text in enumerate(texts):
        before = first.setdefault(text, place)
        if before != place and labels[before] == labels[place]:
            again.append(place)
        elif before != place:
            disputed.append((before, place))
    present = {index for each in labels for index in each}
    absent = [name for index, name in enumerate(names) if index not in present]
    found = []
    if again:
        found.append(f"{counted(len(again), 'repetition')} of an earlier row (the first is row {kept[again[0]] + 1})")
    if disputed:
        rows = f"rows {kept[disputed[0][0]] + 1} and {kept[disputed[0][1]] + 1}"
        found.append(f"{counted(len(disputed), 'repetition')} of an earlier text with another label (the first is that of {rows})")
    if absent:
        found.append(f"no text is of the {'class' if len(absent) == 1 else 'classes'} {shown(absent)}")
    return found
