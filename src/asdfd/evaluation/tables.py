"""Tables of texts as people have them: a CSV, TSV, JSONL, JSON or Parquet file, here or on S3, or a data set of the Hugging Face hub.

What is decided here is what the columns and rows of a file are, and one clear line for everything that makes it none. What a row must hold and which class a
label means is decided in `texts` and `labels`. Rows are counted from 1, a header not counted; lines of a file are counted as an editor does.
"""

from __future__ import annotations

import csv
import glob
import io
import json
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from asdfd.base.config import Evaluation
from asdfd.base.errors import InputError

BUILDERS = {".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*){0,2}")
SEPARATORS = {".csv": ",;\t|", ".tsv": "\t,;|"}
"""What may stand between the fields of a table: the first by which the header holds the columns that are asked for."""
LONGEST_FIELD = 2**31 - 1
"""Characters of a field; Python's own limit is that of a short text."""
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


class HubName(NamedTuple):
    """A data set of the hub, one of its configurations (None where it has one only) and its revision (None for the newest)."""

    name: str
    configuration: str | None
    revision: str | None


def read_table(config: Evaluation, pick: Pick) -> tuple[Table, str]:
    """The table that `config.data` names, and the name that it goes by: a file's without its folder, or the reference of a data set.

    Raises:
        InputError: what cannot be found or read, or has not the columns; the line names the place and the remedy.
    """
    source, path = config.data, Path(config.data)
    if source.startswith("s3://"):
        return _read_s3(config, pick), path.name
    if not source.startswith("hf://") and (path.exists() or "." + path.name.rpartition(".")[2].lower() in BUILDERS):
        return _read_file(path, config, pick), path.name
    return _read_hub(config, pick), source


def hub_names(source: str) -> list[HubName]:
    """What `hf://organisation/name[/configuration][@revision]`, or a data set's plain name, can mean, the likeliest first.

    `hf://a/b` is the data set b of a, and where there is none the configuration b of a data set a without organisation. Empty where it is no such name.
    """
    name, _, revision = source.removeprefix("hf://").partition("@")
    if not HUB_NAME.fullmatch(name):
        return []
    *front, last = name.split("/")
    meant = [HubName("/".join(front), last, revision or None)] if front else []
    whole = HubName(name, None, revision or None)
    return meant if len(front) == 2 else [whole, *meant]


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


def _read_s3(config: Evaluation, pick: Pick) -> Table:
    """A file in a bucket."""
    from asdfd.storage.downloads import download_file

    suffix = Path(config.data).suffix
    if suffix.lower() not in BUILDERS:
        raise _unknown_extension(config.data, suffix)
    with tempfile.TemporaryDirectory(prefix="asdfd-data-") as folder:
        path = download_file(config.data, Path(folder))
        try:
            return _read_file(path, config, pick)
        except InputError as error:
            raise InputError(str(error).replace(str(path), config.data)) from None


def _unknown_extension(source: object, suffix: str) -> InputError:
    return InputError(f"{source}: the extension {suffix or '(none)'} is not known; use .csv, .tsv, .jsonl, .json or .parquet")


def _read_file(path: Path, config: Evaluation, pick: Pick) -> Table:
    builder = BUILDERS.get(path.suffix.lower())
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name the file in it")
    if not path.exists():
        raise InputError(f"{path}: no such file; name a .csv, .tsv, .jsonl or .parquet file or a data set such as hf://organisation/name")
    if builder is None:
        raise _unknown_extension(path, path.suffix)
    try:
        if path.stat().st_size == 0:
            raise InputError(f"{path}: is empty; name a file with texts")
        if builder == "parquet":
            return _read_parquet(path, pick)
        with path.open(encoding="utf-8-sig", newline="" if builder == "csv" else None) as stream:
            text = stream.read()
        return _read_separated(path, text, config, pick) if builder == "csv" else _read_json(path, text, pick)
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or first_line(error)}); check the file and its permissions") from None


def _read_parquet(path: Path, pick: Pick) -> Table:
    import datasets
    from datasets.exceptions import DatasetGenerationError

    try:
        with _quiet(), tempfile.TemporaryDirectory(prefix="asdfd-") as cache:
            files = glob.escape(str(path.absolute()))  # a name such as texts[1].parquet is not a pattern
            rows = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=cache)
            return _of_data_set(path, rows, pick)
    except (DatasetGenerationError, ValueError, OSError) as error:
        raise _unreadable(path, first_line(error.__cause__ or error)) from None


def _unreadable(path: Path, why: str) -> InputError:
    return InputError(f"{path}: cannot be read as {path.suffix[1:].upper()} ({why}); repair it or save it again")


def _read_separated(path: Path, text: str, config: Evaluation, pick: Pick) -> Table:
    """A CSV or TSV file: every field is the text that stands there, so that `NA`, `null` and `007` stay what they are."""
    separator = _separator(path, text, config.quoting, pick)
    rows = _separated_rows(path, text, separator, config.quoting)
    header = _names(next(rows)[1])
    wanted = _picked(path, pick, header)
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


def _picked(place: object, pick: Pick, names: Sequence[str]) -> Sequence[str]:
    """The wanted columns; the line of an error names the place."""
    try:
        return pick(names)
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


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


def _read_json(path: Path, text: str, pick: Pick) -> Table:
    """A JSONL file, an object a line; or a JSON file: a list of objects, a list of values for each column, or an object that holds such a list."""
    rows = _json_rows(path, text)
    names = tuple(dict.fromkeys(name for row in rows for name in row))
    if not rows:
        raise InputError(f"{path}: holds no rows; name a file with texts")
    wanted = _picked(path, pick, names)
    return Table({name: [row.get(name) for row in rows] for name in wanted}, names, {})


def _json_rows(path: Path, text: str) -> list[dict[str, Any]]:
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if path.suffix.lower() == ".json":
        try:
            return _rows_of_document(path, json.loads(text))
        except ValueError as error:
            if len(lines) < 2 or not lines[0][1].lstrip().startswith("{") or not lines[0][1].rstrip().endswith("}"):
                raise _unreadable(path, first_line(error)) from None  # else it is one object a line under the name of the other form
    rows = []
    for number, line in lines:
        try:
            row = json.loads(line)
        except ValueError as error:
            raise _unreadable(path, f"line {number}: {first_line(error)}") from None
        if not isinstance(row, dict):
            raise _unreadable(path, f"line {number} is no object")
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
    raise _unreadable(path, "it is neither a list of objects nor a list of values for each column")


def _read_hub(config: Evaluation, pick: Pick) -> Table:
    """One split of a data set of the hub, through the cache of `datasets`."""
    source, failure = config.data, None
    names = hub_names(source)
    if not names:
        raise InputError(f"{source}: no such file, and not the name of a data set; name a .csv, .tsv, .jsonl or .parquet file or hf://organisation/name")
    if Path(names[0].name).exists():
        raise InputError(f"{source}: {names[0].name} also lies in the current folder; name a file in it, or start the command elsewhere")
    for meant in names:
        if Path(meant.name).exists():
            continue
        try:
            return _read_data_set(meant, config, pick)
        except _OutOfReachError as error:
            failure = failure or error.reason
    what = "cannot be read from the hub" if source.startswith("hf://") else "no such file, and no data set that can be read from the hub"
    raise InputError(f"{source}: {what} ({failure}); check the name, the split {config.split!r} and the network")


class _OutOfReachError(Exception):
    """A data set that is not there, or not within reach; another reading of the name may be."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _read_data_set(meant: HubName, config: Evaluation, pick: Pick) -> Table:
    import datasets
    from datasets.exceptions import DatasetsError

    source = config.data
    try:
        with _quiet():
            rows = datasets.load_dataset(meant.name, meant.configuration, split=config.split, revision=meant.revision)
            # without a network the newest cached revision is taken, whichever was asked for; the cache folder is named by its commit
            commit = meant.revision if re.fullmatch(r"[0-9a-f]{40}", meant.revision or "") else None
            if commit and not any(commit in Path(file["filename"]).parts for file in rows.cache_files):
                raise InputError(f"{source}: only another revision is in the cache, and the hub cannot be reached; connect once, or leave the revision out")
            return _of_data_set(source, rows, pick)
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:
        several = re.search(r"(?:available configs|configurations in the cache): (.*)", str(error))  # on the hub, or in the cache without a network
        if several and meant.configuration is None and (listed := re.findall(r"[\w.+-]+", several[1])):
            raise InputError(f"{source}: has the configurations {shown(listed)}; name one of them, as in hf://{meant.name}/{listed[0]}") from None
        raise _OutOfReachError(first_line(error)) from None


def _of_data_set(place: object, rows: Any, pick: Pick) -> Table:
    """The columns of a data set of the library `datasets`. A class id of -1 is its mark for a row without a label."""
    import datasets

    names, columns, class_names = tuple(rows.column_names), {}, {}
    for name in _picked(place, pick, names):
        values, feature = list(rows[name]), rows.features[name]
        inner = getattr(feature, "feature", None)
        if isinstance(feature, datasets.ClassLabel):
            class_names[name] = tuple(feature.names)
            values = [None if value is None or value < 0 else value for value in values]
        elif isinstance(inner, datasets.ClassLabel):
            class_names[name] = tuple(inner.names)
        columns[name] = values
    return Table(columns, names, class_names)


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no log lines of `datasets`."""
    import datasets

    bars, verbosity = datasets.are_progress_bars_disabled(), datasets.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL + 1)
    try:
        yield
    finally:
        datasets.logging.set_verbosity(verbosity)
        if not bars:
            datasets.enable_progress_bars()
