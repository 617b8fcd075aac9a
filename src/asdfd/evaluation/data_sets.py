"""What the library `datasets` reads: Parquet files, and data sets of the Hugging Face hub."""

from __future__ import annotations

import glob
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from asdfd.base.config import Evaluation
from asdfd.base.errors import InputError
from asdfd.evaluation.table import Pick, Table, first_line, picked, shown, unreadable

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*){0,2}")


class HubName(NamedTuple):
    """A data set of the hub, one of its configurations (None where it has one only) and its revision (None for the newest)."""

    name: str
    configuration: str | None
    revision: str | None


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


def read_parquet(path: Path, pick: Pick) -> Table:
    """A Parquet file, without leaving anything in the cache of `datasets`.

    Raises:
        InputError: it is damaged, or has not the columns.
    """
    import datasets
    from datasets.exceptions import DatasetGenerationError

    try:
        with _quiet(), tempfile.TemporaryDirectory(prefix="asdfd-") as cache:
            files = glob.escape(str(path.absolute()))  # a name such as texts[1].parquet is not a pattern
            rows = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=cache)
            return _of_data_set(path, rows, pick)
    except (DatasetGenerationError, ValueError, OSError) as error:
        raise unreadable(path, first_line(error.__cause__ or error)) from None


def read_hub(config: Evaluation, pick: Pick) -> Table:
    """One split of a data set of the hub, through the cache of `datasets`.

    Raises:
        InputError: no such name, split or revision within reach, or it has not the columns.
    """
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
    for name in picked(place, pick, names):
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
