"""Which class a label of the data means: the one rule, which docs/data.md tells in words.

A column is read as a whole. Every label is looked for among the names of the teacher's classes: as it stands, then with case, `_`, `-` and spaces aside, then
as the beginning of a name or the other way round, where that pairs them off. Where not all are found there, all must be class ids (`1`, `1.0`, `LABEL_1`, and
true or false for two classes). Nothing else is guessed: the user's `evaluation.labels` says what a label means, and the line of a refusal names both sets.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asdfd.base.errors import InputError
from asdfd.evaluation.table import shown

FEWEST_LETTERS = 3
"""Letters of a beginning that stands for a whole name; fewer must end with a word."""
SUGGESTED = 5
"""Labels that the line of a refusal maps, as an example."""
UNNAMED = re.compile(r"LABEL_([0-9]{1,9})")
"""How transformers names the classes of a model that nobody named."""
_ID = re.compile(r"([0-9]{1,9})(\.0+)?")


@dataclass(frozen=True)
class Reading:
    """What the labels of a column mean."""

    classes: Mapping[str, int]
    """The class of each label, by the label's text."""
    remark: str = ""
    """What the user should know of it; empty where every label is the name of its class."""


def label_text(value: Any) -> str | None:
    """A label as text; None for what is no label: a number with a fraction, a list, an object."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip() if isinstance(value, str | int) else None


def read_labels(labels: Iterable[str], names: Sequence[str], mapping: Mapping[str, int]) -> Reading | str:
    """What each of a column's labels means among the classes `names`, or the first one that means none; `mapping` is what the user said of some of them.

    Raises:
        InputError: the labels can be read in two ways; the line does not say where yet.
    """
    found = list(dict.fromkeys(labels))
    mapped = {label: mapping[_plain(label)] for label in found if _plain(label) in mapping}
    rest = [label for label in found if label not in mapped]
    exact, begun = _by_names(rest, names), _by_beginnings(rest, names)
    ids = {} if mapping else _by_ids(rest, names)  # who says that 5 is the last class does not mean by 4 the last one, too
    as_ids = {label: index for label, index in ids.items() if not UNNAMED.fullmatch(names[index])}
    if len(exact) == len(rest):
        return Reading(mapped | exact, _remark(mapped | exact, names))
    if len(exact | begun) == len(rest):
        if len(ids) == len(rest) and ids != exact | begun:
            ways = f"as {_pairs(begun, names)} by name, or as {_pairs(ids, names)} by id"
            raise InputError(f"its labels can be read {ways}; say which with --set evaluation.labels={_setting(begun, names)}")
        return Reading(mapped | exact | begun, _remark(mapped | exact | begun, names))
    if len(ids) == len(rest):
        return Reading(mapped | ids, _remark(mapped | as_ids, names))
    better = ids if len(ids) > len(exact | begun) else exact | begun
    return next(label for label in rest if label not in better)


def parse_mapping(setting: str, names: Sequence[str]) -> dict[str, int]:
    """`DATA=CLASS,DATA=CLASS` as the class of each label; a quoted pair may hold a comma, and a class is a name or an id.

    Raises:
        InputError: a pair without a class of the teacher.
    """
    found: dict[str, int] = {}
    for pair in next(csv.reader([setting], skipinitialspace=True)) if setting.strip() else ():
        ends = [match.start() for match in re.finditer("=", pair)]
        known = {end: {**_by_ids([name], names), **_by_names([name], names)} for end in ends for name in [pair[end + 1 :].strip()]}
        end = next((end for end in ends if known[end]), None)
        if end is None:
            raise InputError(f"evaluation.labels: {pair!r} names no class of the teacher ({shown(names)}); write LABEL=CLASS,LABEL=CLASS")
        found[_plain(pair[:end])] = next(iter(known[end].values()))
    return found


def unknown(label: str, row: int, labels: Iterable[str], names: Sequence[str]) -> str:
    """The line for a label that means no class: both sets, and what maps them."""
    sets = f"the data has {shown(dict.fromkeys(labels))}; the model knows {shown(names)}, or ids 0 to {len(names) - 1} throughout"
    other = [each for each in dict.fromkeys(labels) if each not in _by_names([each], names)]
    setting = ",".join(f"{each:.40}=CLASS" for each in other[:SUGGESTED]) + (",..." if len(other) > SUGGESTED else "")
    return f"row {row} has the unknown label {label!r:.60}; {sets}; map them with --set evaluation.labels={setting} or correct the data"


def _by_names(labels: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    """Labels that are a name, exactly or, where that leaves one class, with case and separators aside."""
    exact = {name.strip(): index for index, name in enumerate(names)}
    by_fold: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        by_fold.setdefault(folded(name), []).append(index)
    found = {}
    for label in labels:
        matches = [exact[label]] if label in exact else by_fold.get(folded(label), [])
        if len(matches) == 1:
            found[label] = matches[0]
    return found


def _by_beginnings(labels: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    """Labels that begin one name only, or that one name only begins, as `neg` and `NEGATIVE` do; none that shares its class with another label."""
    found = {}
    for label in labels:
        matches = [index for index, name in enumerate(names) if _begins(label, name) or _begins(name, label)]
        if len(matches) == 1:
            found[label] = matches[0]
    taken = [*found.values(), *_by_names(labels, names).values()]
    own = _by_names(labels, names)
    return {label: index for label, index in found.items() if label not in own and taken.count(index) == 1}


def _begins(short: str, whole: str) -> bool:
    short, whole = folded(short), folded(whole)
    rest = whole.removeprefix(short)
    return bool(short) and len(rest) < len(whole) and (rest.startswith(" ") or (len(short) >= FEWEST_LETTERS and short.isalpha()))


def _by_ids(labels: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    """Labels that are class ids from 0."""
    found = {}
    for label in labels:
        digits = UNNAMED.fullmatch(label) or _ID.fullmatch(label)
        index = int(digits[1]) if digits else {"false": 0, "true": 1}.get(label.casefold()) if len(names) == 2 else None
        if index is not None and index < len(names):
            found[label] = index
    return found


def folded(name: str) -> str:
    """A name with case, `_`, `-` and spaces aside."""
    return " ".join(re.sub(r"[_\-\s]+", " ", name).split()).casefold()


def _plain(label: str) -> str:
    """A label as `evaluation.labels` knows it: `1.0` is `1`, and case does not count."""
    number = _ID.fullmatch(label.strip())
    return number[1] if number else label.strip().casefold()


def _remark(classes: Mapping[str, int], names: Sequence[str]) -> str:
    """How labels that are no names of their classes were read."""
    other = {label: index for label, index in classes.items() if folded(label) != folded(names[index])}
    return f"labels are read as {_pairs(other, names)}" if other else ""


def _pairs(classes: Mapping[str, int], names: Sequence[str]) -> str:
    return shown(f"{label} = {names[index]}" for label, index in sorted(classes.items(), key=lambda pair: pair[1]))


def _setting(classes: Mapping[str, int], names: Sequence[str]) -> str:
    return ",".join(f"{label}={names[index]}" for label, index in classes.items())
