"""Tables of texts as people have them: a CSV, TSV, JSONL, JSON or Parquet file, here or on S3, or a data set of the Hugging Face hub.

What is decided here is what the columns and rows of a file are, and one clear line for everything that makes it none. What a row must hold and which class a
label means is decided in `texts` and `labels`. Rows are counted from 1, a header not counted; lines of a file are counted as an editor does.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from asdfd.base.config import Evaluation
from asdfd.base.errors import InputError
from asdfd.evaluation.data_sets import read_hub, read_parquet
from asdfd.evaluation.json_rows import read_json
from asdfd.evaluation.separated import read_separated
from asdfd.evaluation.table import Pick, Table, first_line

BUILDERS = {".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}


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
    return read_hub(config, pick), source


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
            return read_parquet(path, pick)
        with path.open(encoding="utf-8-sig", newline="" if builder == "csv" else None) as stream:
            text = stream.read()
        return read_separated(path, text, config, pick) if builder == "csv" else read_json(path, text, pick)
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or first_line(error)}); check the file and its permissions") from None
