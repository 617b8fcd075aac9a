"""Reading labelled texts: every format and every form of label gives the same rows, and everything wrong gives one line."""

from __future__ import annotations

import hashlib
import json
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest

from asdfd.base.errors import InputError
from asdfd.evaluation.labelled_text import LabelledText, read_labelled_text

NAMES = ("billing", "Praise", "other")
TEXTS = ("why is my bill so high, again?", "NA", 'he said "thanks"')
LABELS = (0, 2, 1)
REVISION = "0123456789abcdef0123456789abcdef01234567"


def read(source: Path | str, names: tuple[str, ...] = NAMES, text: str = "text", label: str = "label", split: str = "test") -> LabelledText:
    return read_labelled_text(str(source), text_column=text, label_column=label, split=split, label_names=names)


def write_csv(path: Path, labels: list[str]) -> None:
    quoted = ['"' + text.replace('"', '""') + '"' for text in TEXTS]
    separator = "\t" if path.suffix == ".tsv" else ","
    lines = [separator.join(("text", "extra", "label"))] + [separator.join((text, "", label)) for text, label in zip(quoted, labels, strict=True)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_jsonl(path: Path, labels: list) -> None:
    rows = [{"text": text, "label": label} for text, label in zip(TEXTS, labels, strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_json(path: Path, labels: list) -> None:
    path.write_text(json.dumps([{"text": text, "label": label} for text, label in zip(TEXTS, labels, strict=True)]), encoding="utf-8")


def write_parquet(path: Path, labels: list) -> None:
    datasets.Dataset.from_dict({"text": list(TEXTS), "label": labels}).to_parquet(path)


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    datasets.disable_progress_bars()  # of the tests' own writing
    return folder


@pytest.mark.parametrize("labels", [["billing", "other", "Praise"], ["BILLING", "Other", "praise"], ["0", "2", "1"]], ids=["names", "case", "ids"])
@pytest.mark.parametrize(
    ("name", "write"), [("a.csv", write_csv), ("a.tsv", write_csv), ("a.jsonl", write_jsonl), ("a.json", write_json), ("a.parquet", write_parquet)]
)
def test_every_format_and_form_of_label_gives_the_same_rows(tmp_path: Path, own_temporary_folder: Path, name: str, write: Callable, labels: list[str]) -> None:
    write(tmp_path / name, labels)
    data = read(tmp_path / name)
    assert data.texts == TEXTS
    assert data.labels == LABELS
    assert data.name == name
    content = {"labels": ["billing", "other", "Praise"], "texts": list(TEXTS)}
    assert data.digest == hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()
    assert list(own_temporary_folder.iterdir()) == []


@pytest.mark.parametrize("write", [write_jsonl, write_json, write_parquet])
def test_ids_may_be_numbers(tmp_path: Path, write: Callable) -> None:
    path = tmp_path / {"write_jsonl": "a.jsonl", "write_json": "a.json", "write_parquet": "a.parquet"}[write.__name__]
    write(path, [0, 2, 1])
    assert read(path).labels == LABELS


def test_digest_depends_on_each_text_and_label_and_on_the_order(tmp_path: Path) -> None:
    digests = set()
    for number, content in enumerate(["x,other\ny,billing\n", "x,other\nz,billing\n", "x,other\ny,praise\n", "y,billing\nx,other\n"]):
        path = tmp_path / f"{number}.csv"
        path.write_text("text,label\n" + content)
        digests.add(read(path).digest)
    assert len(digests) == 4


def test_csv_fields_stay_the_text_that_stands_there(tmp_path: Path) -> None:
    path = tmp_path / "odd [1].csv"
    texts = ["007", "1.50", "null", "true", "é"]
    path.write_text("\ufefflabel,text\n" + "".join(f"other,{text}\n" for text in texts), encoding="utf-8")
    assert read(path).texts == tuple(texts)


def test_many_rows_with_a_column_whose_type_changes_late(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("text,label,number\n" + "x,other,1\n" * 12000 + "y,billing,none\n")
    data = read(path)
    assert (len(data.texts), data.labels[-1]) == (12001, 0)


def test_class_names_of_the_data_win_over_its_ids(tmp_path: Path) -> None:
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["other", "billing", "praise"])})
    datasets.Dataset.from_dict({"text": list(TEXTS), "label": [1, 0, 2]}, features=features).to_parquet(tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet").labels == LABELS
    assert read(tmp_path / "a.parquet", names=("LABEL_0", "LABEL_1", "LABEL_2")).labels == (1, 0, 2)


def test_a_column_is_read_by_name_or_by_id_as_a_whole(tmp_path: Path) -> None:
    stars = ("1", "2", "3")
    write_csv(tmp_path / "names.csv", ["1", "3", "2"])
    write_csv(tmp_path / "ids.csv", ["0", "2", "1"])
    assert read(tmp_path / "names.csv", stars).labels == LABELS
    assert read(tmp_path / "ids.csv", stars).labels == LABELS


def test_case_is_not_ignored_where_it_tells_classes_apart(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", ["US", "us", "US"])
    assert read(tmp_path / "a.csv", ("us", "US")).labels == (1, 0, 1)
    write_csv(tmp_path / "b.csv", ["US", "us", "Us"])
    with pytest.raises(InputError, match="row 3 has the unknown label 'Us'"):
        read(tmp_path / "b.csv", ("us", "US"))


BAD_FILES = {
    "empty.csv": (b"", "is empty"),
    "no-rows.csv": (b"text,label\n", "holds no rows"),
    "blank.jsonl": (b"\n\n", "holds no rows"),
    "columns.csv": (b"sentence,label\nx,other\n", "has no column 'text'; it has 'sentence', 'label'"),
    "label-column.jsonl": (b'{"text": "x", "class": 1}\n', "has no column 'label'; it has 'text', 'class'"),
    "unknown.csv": (
        b"text,label\nx,other\ny,refund\n",
        "column label: row 2 has the unknown label 'refund'; the model knows billing, Praise, other, or ids 0 to 2",
    ),
    "range.csv": (b"text,label\nx,0\ny,3\n", "row 2 has the unknown label '3'"),
    "negative.jsonl": (b'{"text": "x", "label": -1}\n', "row 1 has the unknown label -1"),
    "boolean.jsonl": (b'{"text": "x", "label": true}\n', "row 1 has the unknown label True"),
    "fraction.jsonl": (b'{"text": "x", "label": 1.0}\n', "row 1 has the unknown label 1.0"),
    "mixed.jsonl": (b'{"text": "x", "label": "other"}\n{"text": "y", "label": 1}\n', "row 2 has the unknown label 1"),
    "no-text.csv": (b"text,label\nx,other\n ,other\n", "column text: the text of row 2 is missing"),
    "null-text.jsonl": (b'{"text": "x", "label": 1}\n{"text": null, "label": 1}\n', "column text: the text of row 2 is missing"),
    "no-label.csv": (b"text,label\nx,other\ny\n", "column label: the label of row 2 is missing"),
    "null-label.jsonl": (b'{"text": "x", "label": 1}\n{"text": "y"}\n', "column label: the label of row 2 is missing"),
    "number.jsonl": (b'{"text": "x", "label": 1}\n{"text": 5, "label": 1}\n', "column text: row 2 holds 5, not a text"),
    "list.jsonl": (b'{"text": ["x"], "label": 1}\n', "column text: row 1 holds ['x'], not a text"),
    "long-row.csv": (b"text,label\nx,other\ny, z,other,and more\n", "cannot be read as CSV (Error tokenizing data"),
    "all-long.csv": (b"text,label\na, b,other\nc, d,other\n", "its rows have more fields than its header"),
    "quote.csv": (b'text,label\n"x,other\ny,other\n', "cannot be read as CSV (Error tokenizing data. C error: EOF inside string"),
    "cut.jsonl": (b'{"text": "x", "label": 1}\n{"text": "y", "la', "cannot be read as JSONL (JSON parse error"),
    "damaged.parquet": (b"PAR1 and then nothing of use", "cannot be read as PARQUET (Parquet magic bytes not found"),
    "latin.csv": ("text,label\nfür,other\n".encode("latin-1"), "is not UTF-8 text"),
    "latin-header.csv": ("größe,label\nx,other\n".encode("latin-1"), "is not UTF-8 text"),
    "latin.jsonl": ('{"text": "für", "label": 1}\n'.encode("latin-1"), "is not UTF-8 text"),
    "texts.txt": (b"x\n", "the extension .txt is not known; use .csv"),
    "texts": (b"x\n", "the extension (none) is not known; use .csv"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_gives_one_line(tmp_path: Path, own_temporary_folder: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    content, message = BAD_FILES[name]
    (tmp_path / name).write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # as on a user's terminal, where a warning would be a line too many
        with pytest.raises(InputError) as caught:
            read(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    assert list(own_temporary_folder.iterdir()) == []


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing.csv", "missing.csv: no such file; name a .csv"),
        ("folder/missing.parquet", "folder/missing.parquet: no such file"),
        ("some/where/else", "some/where/else: no such file, and no name of a data set"),
        ("", ": is a folder"),
        ("hf://", "hf://: no such file, and no name of a data set"),
        ("hf://organisation/name@main", "hf://organisation/name@main: cannot be read from the hub"),
        ("organisation/name", "organisation/name: no such file, and no data set that can be read from the hub"),
        ("misspelt", "misspelt: no such file, and no data set that can be read from the hub"),
        ("hf://existing", "hf://existing: existing also lies in the current folder"),
        ("existing", "existing: is a folder; name the file in it"),
    ],
)
def test_a_bad_reference_gives_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], source: str, message: str) -> None:
    (tmp_path / "existing").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        read(source)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def cached_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set organisation/name with a split `test` in the cache of `datasets`, as an earlier download leaves it. The hub itself cannot be reached here."""
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["other", "billing", "praise"])})
    datasets.Dataset.from_dict({"text": list(TEXTS), "label": [1, 0, 2]}, features=features).to_parquet(tmp_path / "test.parquet")
    datasets.load_dataset("parquet", data_files={"test": str(tmp_path / "test.parquet")}, cache_dir=str(tmp_path / "built"))
    built = next((tmp_path / "built").rglob("dataset_info.json")).parent
    cache = tmp_path / "cache" / "organisation___name" / "default" / "0.0.0" / REVISION
    cache.parent.mkdir(parents=True)
    built.rename(cache)
    (cache / "parquet-test.arrow").rename(cache / "name-test.arrow")
    information = json.loads((cache / "dataset_info.json").read_text())
    (cache / "dataset_info.json").write_text(json.dumps(information | {"config_name": "default", "dataset_name": "name"}))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.usefixtures("cached_hub")
@pytest.mark.parametrize("source", ["hf://organisation/name", "organisation/name", f"hf://organisation/name@{REVISION}"])
def test_a_data_set_of_the_hub_is_read_by_its_split(source: str) -> None:
    data = read(source)
    assert (data.texts, data.labels, data.name) == (TEXTS, LABELS, source)


@pytest.mark.usefixtures("cached_hub")
def test_another_revision_or_split_than_the_one_asked_for_is_not_taken() -> None:
    with pytest.raises(InputError, match="only another revision is in the cache"):
        read("hf://organisation/name@" + REVISION[::-1])
    with pytest.raises(InputError, match=r"Unknown split \"dev\".*check the name, the split 'dev'"):
        read("hf://organisation/name", split="dev")


def test_progress_bars_are_as_before(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", ["0", "1", "2"])
    verbosity = datasets.logging.get_verbosity()
    datasets.enable_progress_bars()
    read(tmp_path / "a.csv")
    assert not datasets.are_progress_bars_disabled()
    assert datasets.logging.get_verbosity() == verbosity
