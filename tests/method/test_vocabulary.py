"""Which words a smaller model keeps, and when it keeps all of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from asdfd.method import vocabulary
from asdfd.method.vocabulary import drawn_texts, wanted_tokens, with_fewer_words
from asdfd.models.classifiers import Classifier, load_classifier
from asdfd.models.footprint import Footprint
from asdfd.models.weights import Saved
from tests.tiny_models import WORDS, make_teacher

KNOWN = WORDS[40:90]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    """A teacher whose footprint says that its training texts held `KNOWN`."""
    whole = load_classifier(make_teacher(tmp_path_factory.mktemp("teacher")), "teacher")
    tokens = np.zeros(len(whole.tokenizer), dtype=np.float32)
    tokens[[whole.tokenizer.get_vocab()[word] for word in KNOWN]] = 1
    return replace(whole, footprint=Footprint(tokens, np.zeros(0, dtype=np.float32), "encoder"))


def test_words_of_the_training_texts_and_as_many_frequent_ones_are_wanted(teacher: Classifier) -> None:
    wanted, ids = wanted_tokens(teacher), teacher.tokenizer.get_vocab()
    assert {ids[word] for word in KNOWN} <= wanted
    assert {ids[word] for word in WORDS[:20] if len(word) > 1} <= wanted
    assert ids["price"] not in wanted
    assert len(KNOWN) < len(wanted) <= 2 * len(KNOWN)


def test_a_model_with_fewer_words_says_how_many_and_how_it_answers(teacher: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "LEAST_EQUAL", 0.0)
    fewer = with_fewer_words(teacher, teacher)
    facts = fewer.facts()
    assert facts["tokens"] == len(fewer.classifier.tokenizer) < facts["whole"] == len(teacher.tokenizer)
    assert 0 < facts["equal_answers"] < 1
    assert f"keeps {facts['tokens']} of {facts['whole']} tokens" in fewer.line("the student")
    assert fewer.classifier.footprint is None
    monkeypatch.setattr(vocabulary, "OTHER_WORDS", 0.0)
    assert with_fewer_words(teacher, teacher).facts()["equal_answers"] == 1, "texts of kept words alone"


def test_all_words_are_kept_where_answers_change_or_the_tokenizer_is_written_in_python(teacher: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "LEAST_EQUAL", 1.0)
    found = with_fewer_words(teacher, teacher)
    assert found.classifier is teacher
    assert found.facts()["tokens"] == found.facts()["whole"]
    assert "of its answers on" in found.facts()["why_whole"]
    python = replace(teacher, saved=Saved(tokenizer_files={"vocab.txt": b""}))
    assert "written in Python" in with_fewer_words(python, teacher).line("the student")


def test_drawn_texts_are_the_same_each_time(teacher: Classifier) -> None:
    texts = drawn_texts(teacher)
    assert texts == drawn_texts(teacher)
    words = [word for text in texts for word in text.split()]
    assert 0.01 < np.mean([word not in KNOWN for word in words]) < 0.15
