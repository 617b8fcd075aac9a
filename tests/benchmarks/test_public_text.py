"""The benchmark's public text: sentences of docstrings, the same every time; and what its arms are made from."""

from __future__ import annotations

from pathlib import Path

import arms
import public_text
import pytest

MODULE = '''"""Reads files of numbers and gives their mean. No short one. See `mean_of(path)` for x[1:3] >> 4 == 2 and so on.

The second paragraph
goes over two lines.

>>> mean_of("a.txt") == 3.5 and not None
"""


def mean_of(path):
    """Give the mean of all numbers in a file!"""


class Reader:
    """Reads files of numbers and gives their mean."""
'''


def test_sentences_are_plain_english_each_once_in_the_order_of_files(tmp_path: Path) -> None:
    (tmp_path / "b.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "a.py").write_text('"""Stands in the first file of all."""\n', encoding="utf-8")
    (tmp_path / "c.py").write_text("print 'no Python of today'\n", encoding="utf-8")
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "d.py").write_text('"""Tests are left out of the text."""\n', encoding="utf-8")
    assert public_text.sentences(tmp_path) == [
        "Stands in the first file of all.",
        "Reads files of numbers and gives their mean.",
        "The second paragraph goes over two lines.",
        "Give the mean of all numbers in a file!",
    ]


def test_the_file_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public_text, "sentences", lambda _: ["Some words that stand here."])
    made = public_text.public_text(tmp_path / "cache" / "text.txt")
    assert made.read_text(encoding="utf-8") == "Some words that stand here.\n"
    made.write_text("Something else stands here now.\n", encoding="utf-8")
    assert public_text.public_text(made).read_text(encoding="utf-8") == "Something else stands here now.\n"


def test_arms_with_a_declared_source_are_the_default_with_that_source() -> None:
    default = arms.parameters(arms.Task("trec", "default", 0, 20, 1))
    text = arms.parameters(arms.Task("trec", "prior-text", 0, 20, 1, "folder"))
    model = arms.parameters(arms.Task("trec", "prior-model", 0, 20, 1, "folder"))
    assert text.synthesis.prior_text == str(public_text.CACHE)
    assert model.synthesis.prior_model == "folder"
    for run in (text, model):
        plain = run.synthesis.changed(prior_text="", prior_model="")
        assert run.changed(synthesis=plain) == default


def test_the_arm_of_a_language_model_is_left_out_without_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    monkeypatch.setattr("sys.argv", ["arms.py", "--arms", "prior-model", "--jobs", "1", "--results", str(tmp_path / "arms.json")])
    arms.main()
    assert "prior-model: left out" in capsys.readouterr().out
    assert not (tmp_path / "arms.json").exists()
