"""Labelled texts for the evaluation: a CSV, TSV, JSONL or Parquet file, here or on S3, or a data set of the Hugging Face hub.

The rows are read by `datasets`; what is decided here is what a row must hold, which class a label means, and one clear line for everything that is wrong.
Rows are counted from 1, a header not counted.
"""

from __future__ import annotations

import csv
import glob
import hashlib
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asdfd.base.artifacts import canonical_json
from asdfd.base.errors import InputError

BUILDERS = {".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(frozen=True)
class LabelledText:
    """Texts and the class of each."""

    texts: tuple[str, ...]
    labels: tuple[int, ...]
    """Index of each text's class into the label names that the data was read with."""
    digest: str
    """SHA-256 of the texts and the names of their classes: the same whatever the file format, and whether the labels came as names or ids."""
    name: str
    """File name or data set reference; never a folder."""


def read_labelled_text(source: str, *, text_column: str, label_column: str, split: str, label_names: Sequence[str]) -> LabelledText:
    """Read labelled texts.

    `source` is a .csv, .tsv, .jsonl, .json or .parquet file, here or as `s3://bucket/key`, or `hf://organisation/name[@revision]`, or a data set's plain
    name. `split` is read for data sets only. A column of labels is read by name when every label is a name (exact, else with case ignored), by id when every
    label is an id from 0.

    Raises:
        InputError: what cannot be read, a missing column, an empty row, an unknown label; the line names the place and the remedy.
    """
    path = Path(source)
    if source.startswith("s3://"):
        name, (text_values, label_values) = path.name, _read_s3(source, text_column, label_column, label_names)
    elif not source.startswith("hf://") and (path.exists() or "." + path.name.rpartition(".")[2].lower() in BUILDERS):
        name, (text_values, label_values) = path.name, _read_file(path, text_column, label_column, label_names)
    else:
        name, (text_values, label_values) = source, _read_hub(source, split, text_column, label_column, label_names)
    texts = _checked_texts(text_values, source, text_column)
    labels = _class_indices(label_values, label_names, f"{source}, column {label_column}")
    digest = hashlib.sha256(canonical_json({"texts": texts, "labels": [label_names[label] for label in labels]})).hexdigest()
    return LabelledText(tuple(texts), tuple(labels), digest, name)


def _read_s3(source: str, text_column: str, label_column: str, label_names: Sequence[str]) -> tuple[list[Any], list[Any]]:
    """The values of the two columns of a file in a bucket."""
    from asdfd.storage.downloads import download_file

    suffix = Path(source).suffix
    if suffix.lower() not in BUILDERS:
        raise InputError(f"{source}: the extension {suffix or '(none)'} is not known; use .csv, .tsv, .jsonl, .json or .parquet")
    with tempfile.TemporaryDirectory(prefix="asdfd-data-") as folder:
        path = download_file(source, Path(folder))
        try:
            return _read_file(path, text_column, label_column, label_names)
        except InputError as error:
            raise InputError(str(error).replace(str(path), source)) from None


def _read_file(path: Path, text_column: str, label_column: str, label_names: Sequence[str]) -> tuple[list[Any], list[Any]]:
    """The values of the two columns of a file."""
    import datasets
    from datasets.exceptions import DatasetGenerationError

    builder = BUILDERS.get(path.suffix.lower())
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name the file in it")
    if not path.exists():
        raise InputError(f"{path}: no such file; name a .csv, .tsv, .jsonl or .parquet file or a data set such as hf://organisation/name")
    if builder is None:
        raise InputError(f"{path}: the extension {path.suffix or '(none)'} is not known; use .csv, .tsv, .jsonl, .json or .parquet")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: is empty; name a file with labelled texts")
    try:
        options = _table_options(path) if builder == "csv" else {}
        with _quiet(), tempfile.TemporaryDirectory(prefix="asdfd-") as cache:
            files = glob.escape(str(path.absolute()))  # a name such as texts[1].csv is no pattern
            rows = datasets.load_dataset(builder, data_files=files, split="train", cache_dir=cache, **options)
            return _columns(rows, str(path), text_column, label_column, label_names)
    except (DatasetGenerationError, ValueError, OSError, StopIteration, csv.Error) as error:
        raise _unreadable(path, error) from None


def _table_options(path: Path) -> dict[str, Any]:
    """How a CSV or TSV file is read: every field is the text that stands there, so that `NA`, `null` and `007` stay what they are."""
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    with path.open(encoding="utf-8-sig", newline="") as stream:
        header = next((fields for fields in csv.reader(stream, delimiter=separator) if fields), [])
    # without index_col=False a first column of too long rows would silently become an index and shift all others
    return {"sep": separator, "converters": dict.fromkeys(range(len(header)), str), "keep_default_na": False, "index_col": False}


def _read_hub(source: str, split: str, text_column: str, label_column: str, label_names: Sequence[str]) -> tuple[list[Any], list[Any]]:
    """The values of the two columns in one split of a data set of the hub, through the cache of `datasets`."""
    import datasets
    from datasets.exceptions import DatasetsError

    name, _, revision = source.removeprefix("hf://").partition("@")
    if not HUB_NAME.fullmatch(name):
        raise InputError(f"{source}: no such file, and no name of a data set; name a .csv, .tsv, .jsonl or .parquet file or hf://organisation/name")
    if Path(name).exists():
        raise InputError(f"{source}: {name} also lies in the current folder; name a file in it, or start the command elsewhere")
    try:
        with _quiet():
            rows = datasets.load_dataset(name, split=split, revision=revision or None)
            # without a network the newest cached revision is taken, whichever was asked for; the cache folder is named by its commit
            if re.fullmatch(r"[0-9a-f]{40}", revision) and not any(revision in Path(file["filename"]).parts for file in rows.cache_files):
                raise InputError(f"{source}: only another revision is in the cache, and the hub cannot be reached; connect once, or leave the revision out")
            return _columns(rows, source, text_column, label_column, label_names)
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:
        what = "cannot be read from the hub" if source.startswith("hf://") else "no such file, and no data set that can be read from the hub"
        raise InputError(f"{source}: {what} ({_first_line(error)}); check the name, the split {split!r} and the network") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no log lines of `datasets`; a table that would lose fields is an error, not a warning."""
    import datasets

    bars, verbosity = datasets.are_progress_bars_disabled(), datasets.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Length of header or names does not match")
            yield
    finally:
        datasets.logging.set_verbosity(verbosity)
        if not bars:
            datasets.enable_progress_bars()


def _columns(rows: Any, source: str, text_column: str, label_column: str, label_names: Sequence[str]) -> tuple[list[Any], list[Any]]:
    """The values of the two columns. Where the data set names its classes, a label is that name: another model may count them in another order."""
    import datasets

    for column in (text_column, label_column):
        if column not in rows.column_names:
            raise InputError(f"{source}: has no column {column!r}; it has {', '.join(map(repr, rows.column_names))}: set text_column and label_column")
    labels = list(rows[label_column])
    feature = rows.features[label_column]
    if isinstance(feature, datasets.ClassLabel):
        labels = [None if label is None or label < 0 else label for label in labels]  # -1 is the mark for a row without a label
        if not all(re.fullmatch(r"LABEL_[0-9]+", name) for name in label_names):  # a model without names of its own can only mean the ids
            labels = [None if label is None else feature.int2str(label) for label in labels]
    return list(rows[text_column]), labels


def _checked_texts(values: list[Any], source: str, column: str) -> list[str]:
    """The texts, each known to be one."""
    if not values:
        raise InputError(f"{source}: holds no rows; name a file with labelled texts")
    for row, value in enumerate(values, start=1):
        if value is None or (isinstance(value, str) and not value.strip()):
            raise InputError(f"{source}, column {column}: the text of row {row} is missing; write one or remove the row")
        if not isinstance(value, str):
            raise InputError(f"{source}, column {column}: row {row} holds {value!r:.60}, not a text; name the column of the texts or quote the value")
    return values


def _class_indices(values: list[Any], label_names: Sequence[str], place: str) -> list[int]:
    """The class of each label. The whole column is read one way, since a lone `1` may be a name as well as an id."""
    for row, value in enumerate(values, start=1):
        if value is None or value == "":
            raise InputError(f"{place}: the label of row {row} is missing; write one or remove the row")
    by_name = _name_index(label_names)
    readings = ([by_name(value) for value in values], [_id(value, len(label_names)) for value in values])
    for reading in readings:
        if None not in reading:
            return [index for index in reading if index is not None]
    names, ids = readings
    better = ids if sum(index is None for index in ids) < sum(index is None for index in names) else names
    row = better.index(None)
    known = ", ".join(" ".join(name.split()) for name in label_names[:8]) + (f" and {len(label_names) - 8} more" if len(label_names) > 8 else "")
    remedy = f"the model knows {known}, or ids 0 to {len(label_names) - 1} throughout"
    raise InputError(f"{place}: row {row + 1} has the unknown label {values[row]!r:.60}; {remedy}")


def _name_index(label_names: Sequence[str]) -> Any:
    """A function from a value to the class of that name, or None; case is ignored where that leaves one class."""
    exact: Mapping[str, int] = {name: index for index, name in enumerate(label_names)}
    folded: dict[str, list[int]] = {}
    for index, name in enumerate(label_names):
        folded.setdefault(name.casefold(), []).append(index)

    def find(value: Any) -> int | None:
        if isinstance(value, bool) or not isinstance(value, str | int):
            return None
        if str(value) in exact:
            return exact[str(value)]
        matches = folded.get(str(value).casefold(), [])
        return matches[0] if len(matches) == 1 else None

    return find


def _id(value: Any, count: int) -> int | None:
    """The value as a class id in [0, count), or None."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = str(value)
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) and int(text) < count else None


def _unreadable(path: Path, error: BaseException) -> InputError:
    """The one line for a file whose content is not what its extension says."""
    cause = error.__cause__ or error
    if isinstance(cause, UnicodeDecodeError):
        return InputError(f"{path}: is not UTF-8 text; save it as UTF-8")
    if "Length of header or names" in str(cause):
        return InputError(f"{path}: its rows have more fields than its header; quote the texts that hold a separator")
    if "corresponds to no data" in str(cause) or isinstance(cause, StopIteration):
        return InputError(f"{path}: holds no rows; name a file with labelled texts")
    return InputError(f"{path}: cannot be read as {path.suffix[1:].upper()} ({_first_line(cause)}); repair it or save it again")


def _first_line(error: BaseException) -> str:
    """The start of an error's message, on one line."""
    return " ".join(str(error).split("\n")[0].split())[:200].rstrip(".") or type(error).__name__
