"""Reading texts: every format and every form of label gives the same rows, without labels too, and everything wrong gives one line."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest

from asdfd.base.config import Evaluation
from asdfd.base.errors import InputError
from asdfd.evaluation.texts import Texts, read_texts

NAMES = ("billing", "Praise", "other")
TEXTS = ("why is my bill so high, again?", "NA", 'he said "thanks"')
LABELS = (0, 2, 1)
REVISION = "0123456789abcdef0123456789abcdef01234567"


def read(source: Path | str, names: Sequence[str] = NAMES, *, several: bool = False, **settings: Any) -> Texts:
    return read_texts(Evaluation(data=str(source), **settings), names, several=several)


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
    assert data.labels is not None
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


READ_AS = {
    "case and separators": (["not toxic", "Toxic"], ("Not_Toxic", "toxic"), (0, 1), ""),
    "beginnings": (["pos", "neg"], ("NEGATIVE", "POSITIVE"), (1, 0), "labels are read as neg = NEGATIVE, pos = POSITIVE"),
    "longer than the name": (["entailment", "neutral"], ("entail", "neutral"), (0, 1), "labels are read as entailment = entail"),
    "numbers of stars": (["1", "5"], ("1 star", "2 stars", "3 stars", "4 stars", "5 stars"), (0, 4), "labels are read as 1 = 1 star, 5 = 5 stars"),
    "ids": ([0, 1], ("NEGATIVE", "POSITIVE"), (0, 1), "labels are read as 0 = NEGATIVE, 1 = POSITIVE"),
    "whole fractions": ([0.0, 1.0], ("NEGATIVE", "POSITIVE"), (0, 1), "labels are read as 0 = NEGATIVE, 1 = POSITIVE"),
    "fractions as text": (["1.0", "0.0"], ("NEGATIVE", "POSITIVE"), (1, 0), "labels are read as 0.0 = NEGATIVE, 1.0 = POSITIVE"),
    "booleans": ([True, False], ("no", "yes"), (1, 0), "labels are read as False = no, True = yes"),
    "names of nobody": (["LABEL_1", "LABEL_0"], ("NEGATIVE", "POSITIVE"), (1, 0), "labels are read as LABEL_0 = NEGATIVE, LABEL_1 = POSITIVE"),
    "a model without names": ([1, 0], ("LABEL_0", "LABEL_1"), (1, 0), ""),
    "lists of one": ([["other"], ["billing"]], NAMES, (2, 0), ""),
}


@pytest.mark.parametrize("case", READ_AS)
def test_what_labels_are_matched_without_asking(tmp_path: Path, case: str) -> None:
    labels, names, indices, remark = READ_AS[case]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": f"text {row}", "label": label}) + "\n" for row, label in enumerate(labels)))
    data = read(tmp_path / "a.jsonl", names)
    assert data.labels == indices
    assert [told for told in data.remarks if told.startswith("labels")] == ([remark] if remark else [])


MAPPED = {
    "names": (["bad", "good"], "bad=NEGATIVE,good=positive", (0, 1)),
    "ids": (["-1", "1"], "-1=0, 1=1", (0, 1)),
    "several to one class": (["1", "2", "4", "5"], "1=NEGATIVE,2=NEGATIVE,4=POSITIVE,5=POSITIVE", (0, 0, 1, 1)),
    "the other way round": (["0", "1"], "0=POSITIVE,1=NEGATIVE", (1, 0)),
    "fractions": (["0.0", "1.0"], "0=POSITIVE,1=NEGATIVE", (1, 0)),
    "some only": (["bad", "POSITIVE"], "bad=NEGATIVE", (0, 1)),
    "comma and equals sign": (["a, b", "c=d"], '"a, b=NEGATIVE",c=d=POSITIVE', (0, 1)),
}


@pytest.mark.parametrize("case", MAPPED)
def test_what_labels_mean_can_be_said(tmp_path: Path, case: str) -> None:
    labels, setting, indices = MAPPED[case]
    write = "".join(json.dumps({"text": f"text {row}", "label": label}) + "\n" for row, label in enumerate(labels))
    (tmp_path / "a.jsonl").write_text(write)
    assert read(tmp_path / "a.jsonl", ("NEGATIVE", "POSITIVE"), labels=setting).labels == indices


@pytest.mark.parametrize(
    ("labels", "settings", "message"),
    [
        (
            ["2", "3"],
            {},
            r"read as 2 = 2 stars, 3 = 3 stars by name, or as 2 = 3 stars, 3 = 4 stars by id; say which with --set evaluation.labels=2=2 stars",
        ),
        (["2", "x"], {"labels": "x=sun"}, r"evaluation.labels: 'x=sun' names no class of the teacher \(1 star, 2 stars"),
        (["2", "x"], {"labels": "x"}, r"evaluation.labels: 'x' names no class"),
        (["0", "9"], {"labels": "9=4"}, r"row 1 has the unknown label '0'.* --set evaluation.labels=0=CLASS,9=CLASS or"),
    ],
)
def test_what_cannot_be_told_is_refused(tmp_path: Path, labels: list[str], settings: dict[str, str], message: str) -> None:
    (tmp_path / "a.csv").write_text("text, label\n" + "".join(f"some text,{label}\n" for label in labels))
    with pytest.raises(InputError, match=message):
        read(tmp_path / "a.csv", ("1 star", "2 stars", "3 stars", "4 stars", "5 stars"), **settings)  # pyright: ignore[reportArgumentType]  # all of these settings are texts


def test_quotes_that_are_characters_and_quotes_around_line_breaks(tmp_path: Path) -> None:
    """A table without quoting whose texts begin with a quote lost half of its rows in silence before."""
    plain = tmp_path / "plain.tsv"
    plain.write_text("text\tlabel\n" + '"fine\tother\ngood"\tbilling\n' * 108)
    with pytest.raises(InputError, match="line 2: a quoted field goes on to line 3, so 2 lines become one row"):
        read(plain)
    data = read(plain, quoting="none")
    assert data.labels is not None
    assert (len(data.texts), data.texts[:2], data.labels[:2]) == (216, ('"fine', 'good"'), (2, 0))
    assert data.remarks[0] == "216 rows and 2 columns (text, label) were read"
    broken = tmp_path / "broken.csv"
    broken.write_text('text,label\n"x\ny",other\nz,billing\n')
    assert read(broken, quoting="multi-line").texts == ("x\ny", "z")


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_what_stands_between_the_fields_is_seen_from_the_header(tmp_path: Path, separator: str) -> None:
    (tmp_path / "a.csv").write_text(separator.join(("label", "text")) + "\n" + separator.join(("other", '"one, two"', "")) + "\n")
    assert read(tmp_path / "a.csv").texts == ("one, two",)


JSON_DOCUMENTS = {
    "columns": {"text": ["x", "y"], "label": [0, 2]},
    "columns by row": {"text": {"0": "x", "1": "y"}, "label": {"0": 0, "1": 2}},
    "rows inside": {"version": "1", "data": [{"text": "x", "label": 0}, {"text": "y", "label": 2}]},
}


@pytest.mark.parametrize("form", JSON_DOCUMENTS)
def test_json_as_other_tools_write_it(tmp_path: Path, form: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps(JSON_DOCUMENTS[form], indent=1))
    assert (read(tmp_path / "a.json").texts, read(tmp_path / "a.json").labels) == (("x", "y"), (0, 2))


def test_an_object_a_line_is_read_under_the_name_of_json_too(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"text": "x", "label": 0, "more": 1}\n{"text": "y", "label": 2, "more": {"of": "another type"}}\n')
    assert read(tmp_path / "a.json").labels == (0, 2)


def test_what_is_odd_about_the_rows_is_told(tmp_path: Path) -> None:
    rows = ["a,other", "b,other", "a,other", ",other", "b,billing", "c,", "a,other"]
    (tmp_path / "a.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    data = read(tmp_path / "a.csv")
    assert data.texts == ("a", "b", "a", "b", "a")
    assert data.remarks == (
        "7 rows and 2 columns (text, label) were read",
        "2 rows left out: 1 without a text (the first is row 4) and 1 without a label (the first is row 6)",
        "2 repetitions of an earlier row (the first is row 3)",
        "1 repetition of an earlier text with another label (the first is that of rows 2 and 5)",
        "no text is of the class Praise",
    )


def test_pairs_are_two_columns(tmp_path: Path) -> None:
    rows = ["a,b,other", "a,c,billing", "a,b,other", "a,,other", ",b,other"]
    (tmp_path / "a.csv").write_text("premise,hypothesis,label\n" + "\n".join(rows) + "\n")
    data = read(tmp_path / "a.csv", text_column="premise", pair_column="hypothesis")
    assert data.inputs == (("a", "b"), ("a", "c"), ("a", "b"))
    left_out = "2 rows left out: 1 without a text (the first is row 5) and 1 without a second text (the first is row 4)"
    assert data.remarks[1:] == (left_out, "1 repetition of an earlier row (the first is row 3)", "no text is of the class Praise")
    single, turned = read(tmp_path / "a.csv", text_column="premise"), read(tmp_path / "a.csv", text_column="hypothesis", pair_column="premise")
    assert len({data.digest, single.digest, turned.digest}) == 3
    with pytest.raises(InputError, match=r"has no column 'second'; it has 'premise', 'hypothesis', 'label'.* set evaluation.text_column, evaluation.pair"):
        read(tmp_path / "a.csv", text_column="premise", pair_column="second")


SETS = {
    "lists of names": [["billing", "other"], [], ["praise"]],
    "lists of ids": [[0, 2], [], [1]],
    "zeros and ones": [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]],
    "lists as text": ["['billing', 'other']", "[]", '["Praise"]'],
    "names with bars": ["billing|other", "[]", "praise"],
    "names with commas": ["billing, other", "[]", "Praise,"],
    "ids with semicolons": ["0;2", "[]", "1"],
}


@pytest.mark.parametrize("form", SETS)
def test_several_labels_a_text_as_people_write_them(tmp_path: Path, form: str) -> None:
    rows = [{"text": text, "label": labels} for text, labels in zip(TEXTS, SETS[form], strict=True)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = read(tmp_path / "a.jsonl", several=True)
    assert data.labels == ((0, 2), (), (1,))
    assert data.truth(3).tolist() == [[True, False, True], [False] * 3, [False, True, False]]


def test_a_column_for_each_label(tmp_path: Path) -> None:
    """As in Jigsaw's comments, where -1 marks a row that nobody labelled."""
    (tmp_path / "a.csv").write_text("id,text,Other,billing,praise\n1,x,1,1,0\n2,y,0,0,0\n3,z,-1,-1,-1\n4,v,0,0,1\n")
    data = read(tmp_path / "a.csv", several=True)
    assert (data.texts, data.labels) == (("x", "y", "v"), ((0, 2), (), (1,)))
    assert data.remarks[1] == "1 row left out: 1 without a label (the first is row 3)"
    (tmp_path / "a.csv").write_text("text,Other,billing,praise\nx,0.3,1,0\n")
    with pytest.raises(InputError, match=re.escape("a.csv: row 1 holds '0.3' for the label 'other'; 0 or 1 is needed")):
        read(tmp_path / "a.csv", several=True)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (["billing", "refund"], "row 1 has the unknown label 'refund'; the data has billing, refund; the model knows billing, Praise, other"),
        ("[billing", "row 1 holds '[billing', which begins as a list and is none"),
        ([{"name": "billing"}], "row 1 holds {'name': 'billing'}, not a label"),
    ],
)
def test_bad_sets_of_labels_give_one_line(tmp_path: Path, label: object, message: str) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "x", "label": label}) + "\n")
    with pytest.raises(InputError, match=re.escape(message)):
        read(tmp_path / "a.jsonl", several=True)


def test_a_sequence_of_class_ids_is_read_by_its_names(tmp_path: Path) -> None:
    names = datasets.Sequence(datasets.ClassLabel(names=["other", "billing", "praise"]))
    features = datasets.Features({"text": datasets.Value("string"), "label": names})
    datasets.Dataset.from_dict({"text": list(TEXTS), "label": [[1, 0], [], [2]]}, features=features).to_parquet(tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet", several=True).labels == ((0, 2), (), (1,))


BAD_FILES = {
    "empty.csv": (b"", "is empty"),
    "no-rows.csv": (b"text,label\n", "holds no rows"),
    "blank.jsonl": (b"\n\n", "holds no rows"),
    "columns.csv": (b"sentence,label\nx,other\n", "has no column 'text'; it has 'sentence', 'label'"),
    "unknown.csv": (
        b"text,label\nx,other\ny,refund\n",
        "column label: row 2 has the unknown label 'refund'; the data has other, refund; the model knows billing, Praise, other, or ids 0 to 2 throughout; "
        "map them with --set evaluation.labels=refund=CLASS or correct the data",
    ),
    "range.csv": (b"text,label\nx,0\ny,3\n", "row 2 has the unknown label '3'"),
    "negative.jsonl": (b'{"text": "x", "label": -1}\n', "row 1 has the unknown label '-1'"),
    "boolean.jsonl": (b'{"text": "x", "label": true}\n', "row 1 has the unknown label 'True'"),
    "fraction.jsonl": (b'{"text": "x", "label": 0.5}\n', "row 1 holds 0.5, not a label"),
    "object.jsonl": (b'{"text": "x", "label": {"name": "other"}}\n', "row 1 holds {'name': 'other'}, not a label"),
    "labels.jsonl": (b'{"text": "x", "label": ["other"]}\n{"text": "y", "label": ["other", "billing"]}\n', "row 2 has 2 labels (other, billing)"),
    "mixed.jsonl": (b'{"text": "x", "label": "other"}\n{"text": "y", "label": 1}\n', "row 2 has the unknown label '1'"),
    "abbreviated.csv": (b"text,label\nx,b\ny,o\n", "row 1 has the unknown label 'b'; the data has b, o;"),
    "no-texts.csv": (b"text,label\n,other\n ,other\n", "column text: no row has a text"),
    "no-labels.jsonl": (b'{"text": "x", "label": null}\n{"text": "y"}\n', "column label: no row has a label"),
    "never-both.csv": (b"text,label\nx,\n,other\n", "no row has both a text and a label"),
    "short-row.csv": (b"text,label\nx,other\ny\n", "line 3 has 1 field, the header 2 (text, label); complete the line"),
    "twice.csv": (b"text,label,text\nx,other,y\n", "has two columns 'text'"),
    "number.jsonl": (b'{"text": "x", "label": 1}\n{"text": 5, "label": 1}\n', "column text: row 2 holds 5, not a text"),
    "list.jsonl": (b'{"text": ["x"], "label": 1}\n', "column text: row 1 holds ['x'], not a text"),
    "long-row.csv": (b"text,label\nx,other\ny, z,other,and more\n", "line 3 has 4 fields, the header 2 (text, label); quote the texts"),
    "all-long.csv": (b"text,label\na, b,other\nc, d,other\n", "line 2 has 3 fields, the header 2"),
    "quote.csv": (b'text,label\n"x,other\ny,other\n', "line 2: a quote is never closed; set evaluation.quoting to none"),
    "quote-in-text.tsv": (b'text\tlabel\n"fine" he said\tother\n', "line 2: a quote does not close its field"),
    "one-quote-each.tsv": (b'text\tlabel\n"fine\tother\n"good\tother\nx\tother\n', "line 2: a quote does not close its field"),
    "line-break.csv": (b'text,label\n"x\n\ny",other\n', "line 2: a quoted field goes on to line 4, so 3 lines become one row; set evaluation.quoting"),
    "cut.jsonl": (b'{"text": "x", "label": 1}\n{"text": "y", "la', "cannot be read as JSONL (line 2: Unterminated string"),
    "lists.jsonl": (b'["x", 1]\n', "cannot be read as JSONL (line 1 is no object"),
    "text.json": (b'"x"', "it is neither a list of objects nor"),
    "cut.json": (b'[{"text": "x", "label": 1}, {"te', "cannot be read as JSON (Unterminated string"),
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
        ("some/where/else/yet", "some/where/else/yet: no such file, and not the name of a data set"),
        ("", ": is a folder"),
        ("hf://", "hf://: no such file, and not the name of a data set"),
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
    """Data sets organisation/name, with one configuration, and plain and organisation/several, with two, each with a split `test` in the cache of `datasets`,
    as an earlier download leaves them. The hub itself cannot be reached here."""
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["other", "billing", "praise"])})
    datasets.Dataset.from_dict({"text": list(TEXTS), "label": [1, 0, 2]}, features=features).to_parquet(tmp_path / "test.parquet")
    datasets.load_dataset("parquet", data_files={"test": str(tmp_path / "test.parquet")}, cache_dir=str(tmp_path / "built"))
    built = next((tmp_path / "built").rglob("dataset_info.json")).parent
    information = json.loads((built / "dataset_info.json").read_text())
    (built / "parquet-test.arrow").rename(built / "name-test.arrow")
    for name, configuration in [("organisation/name", "default"), ("plain", "small"), ("plain", "large"), ("organisation/several", "small")]:
        cache = tmp_path / "cache" / name.replace("/", "___") / configuration / "0.0.0" / REVISION
        shutil.copytree(built, cache)
        own = name.rpartition("/")[2]
        (cache / "name-test.arrow").rename(cache / f"{own}-test.arrow")
        (cache / "dataset_info.json").write_text(json.dumps(information | {"config_name": configuration, "dataset_name": own}))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.usefixtures("cached_hub")
@pytest.mark.parametrize("source", ["hf://organisation/name", "organisation/name", f"hf://organisation/name@{REVISION}"])
def test_a_data_set_of_the_hub_is_read_by_its_split(source: str) -> None:
    data = read(source)
    assert (data.texts, data.labels, data.name) == (TEXTS, LABELS, source)


@pytest.mark.usefixtures("cached_hub")
@pytest.mark.parametrize("source", ["hf://organisation/several/small", "hf://plain/small", f"hf://plain/large@{REVISION}", "hf://organisation/several"])
def test_a_configuration_of_a_data_set_is_named_after_it(source: str) -> None:
    assert (read(source).texts, read(source).name) == (TEXTS, source)


@pytest.mark.usefixtures("cached_hub")
def test_of_several_configurations_one_must_be_named() -> None:
    with pytest.raises(InputError, match=r"has the configurations .*(large|small).*; name one of them, as in hf://plain/(large|small)"):
        read("plain")


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


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".json", ".parquet"])
def test_a_table_without_the_column_of_labels_holds_texts_alone(tmp_path: Path, suffix: str) -> None:
    rows, path = [{"id": str(number), "text": text} for number, text in enumerate(TEXTS)], tmp_path / f"traffic{suffix}"
    if suffix == ".parquet":
        datasets.Dataset.from_list(rows).to_parquet(path)
    elif suffix in (".csv", ".tsv"):
        separator = "\t" if suffix == ".tsv" else ","
        quoted = ['"' + text.replace('"', '""') + '"' for text in TEXTS]
        path.write_text(f"id{separator}text\n" + "".join(f"{number}{separator}{text}\n" for number, text in enumerate(quoted)))
    else:
        path.write_text(json.dumps(rows) if suffix == ".json" else "".join(json.dumps(row) + "\n" for row in rows))
    data = read(path)
    assert (data.texts, data.labels, data.labelled, data.inputs) == (TEXTS, None, False, TEXTS)
    assert (
        data.remarks[-1] == "3 texts without labels: judged by fidelity (there is no column 'label'; if 'id' holds them, name it with evaluation.label_column)"
    )
    alone = write_jsonl_rows(tmp_path / "alone.jsonl", [{"text": text} for text in TEXTS])
    assert (read(alone).digest, read(alone).remarks[-1]) == (data.digest, "3 texts without labels: judged by fidelity")
    write_jsonl(tmp_path / "labelled.jsonl", list(LABELS))
    assert read(tmp_path / "labelled.jsonl").digest != data.digest


def write_jsonl_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_who_names_a_column_of_labels_means_labels(tmp_path: Path) -> None:
    path = write_jsonl_rows(tmp_path / "texts.jsonl", [{"text": "x", "class": 1}])
    for column in ("label", "klass"):
        with pytest.raises(InputError, match=f"texts.jsonl: has no column '{column}'; it has 'text', 'class'"):
            read(path, label_column=column)
    with pytest.raises(InputError, match=r"evaluation\.labels says what labels mean, and there is no column 'label'"):
        read(path, labels="1=other")
    assert read(path, label_column="class").labels == (1,)
    assert read(path).remarks[-1].endswith("if 'class' holds them, name it with evaluation.label_column)")


def test_unlabelled_rows_are_left_out_and_repetitions_reported_as_labelled_ones_are(tmp_path: Path) -> None:
    rows = [{"text": "a"}, {"text": " "}, {"text": "a"}, {"text": None}, {"text": "b"}]
    data = read(write_jsonl_rows(tmp_path / "texts.jsonl", rows))
    assert data.texts == ("a", "a", "b")
    left_out, what, again = data.remarks[1:]
    assert left_out == "2 rows left out: 2 without a text (the first is row 2)"
    assert what == "3 texts without labels: judged by fidelity"
    assert again == "1 repetition of an earlier row (the first is row 3)"


def test_unlabelled_pairs_and_texts_of_several_labels(tmp_path: Path) -> None:
    rows = [{"text": "a", "other": "b"}, {"text": "c", "other": "d"}]
    data = read(write_jsonl_rows(tmp_path / "pairs.jsonl", rows), pair_column="other")
    assert (data.inputs, data.labelled) == ((("a", "b"), ("c", "d")), False)
    assert not read(write_jsonl_rows(tmp_path / "texts.jsonl", [{"text": "a"}]), several=True).labelled
    of_labels = [{"text": "a", **dict.fromkeys(NAMES, 0), "other": 1}]
    assert read(write_jsonl_rows(tmp_path / "columns.jsonl", of_labels), several=True).labels == ((2,),)
    with pytest.raises(InputError, match="no row has both texts"):
        read(write_jsonl_rows(tmp_path / "never.jsonl", [{"text": "a"}, {"other": "b"}]), pair_column="other")
