"""Class words: part of the words of part of the samples is drawn among those that the teacher takes for the sample's class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from asdfd.base.config import Synthesis
from asdfd.method import class_words, synthesis
from asdfd.method.bank import PART, Bank
from asdfd.method.class_words import LEARNING, class_words_of, logits_of, tilted
from asdfd.method.prior import VocabularyPrior, frame_of, prior_of
from asdfd.method.synthesis import make_guesser
from asdfd.models.classifiers import Classifier
from asdfd.models.footprint import Footprint
from tests.tolerance import assert_close


@pytest.fixture
def revealing(teacher: Classifier) -> Classifier:
    """A teacher whose training texts held 40 words, and that tells no lengths."""
    tokens = np.zeros(len(teacher.embedding_table), dtype=np.float32)
    tokens[prior_of(teacher, "zipf").token_ids[:40]] = np.linspace(1, 0.2, 40)
    return replace(teacher, footprint=Footprint(tokens, np.zeros(0, dtype=np.float32), "e" * 64))


def test_the_prior_is_tilted_to_each_class_by_the_logits_of_a_token_alone() -> None:
    weights, logits = np.array([0.5, 0.3, 0.2]), np.array([[1.0, 5.0], [2.0, 5.0], [6.0, 5.0]])
    found = tilted(weights, logits, 2.0)
    assert np.allclose(found.sum(axis=1), 1)
    z = (logits[:, 0] - weights @ logits[:, 0]) / logits[:, 0].std()
    expected = weights * np.exp(2.0 * z)
    assert np.allclose(found[0], expected / expected.sum())
    assert np.allclose(found[1], weights), "a class that all tokens are alike for has the prior itself"


def test_the_teacher_is_asked_about_each_token_between_its_special_ones(revealing: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_words, "AT_ONCE", 7)
    tokens = prior_of(revealing, "zipf").token_ids
    found = logits_of(revealing, frame_of(revealing.tokenizer), tokens)
    ids = torch.tensor([[revealing.tokenizer.cls_token_id, token, revealing.tokenizer.sep_token_id] for token in tokens.tolist()])
    assert_close(torch.from_numpy(found).float(), revealing.model(input_ids=ids).logits)


def test_samples_hold_more_words_of_their_class_and_never_one_that_no_text_held(revealing: Classifier) -> None:
    prior = prior_of(revealing, "zipf")
    words = class_words_of(revealing, frame_of(revealing.tokenizer), prior)
    mixed = LEARNING.samples * LEARNING.words
    share = {label: np.diff(words.cumulative[label], prepend=0) for label in range(3)}
    random = np.random.default_rng(0)
    for label in range(3):
        drawn = words.draw(np.full(3000, label), 6, random)
        assert set(drawn.ravel().tolist()) <= set(prior.token_ids.tolist())
        counts = np.array([(drawn == token).sum() for token in words.candidates]) / drawn.size
        expected = mixed * share[label] + (1 - mixed) * prior.probabilities
        assert np.abs(counts - expected).max() < 0.02
        assert np.abs(counts - prior.probabilities).max() > 0.02, "this class's words are others than the prior's"


def test_only_the_most_probable_tokens_are_asked_about(revealing: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_words, "CANDIDATES", 5)
    prior = prior_of(revealing, "zipf")
    words = class_words_of(revealing, frame_of(revealing.tokenizer), prior)
    assert set(words.candidates.tolist()) == set(prior.token_ids[np.argsort(-prior.probabilities)[:5]].tolist())
    assert words.cumulative.shape == (3, 5)


def test_a_bank_is_drawn_with_them_in_whatever_order_its_parts_are_made(revealing: Classifier, tmp_path: Path) -> None:
    config = Synthesis(samples=PART + 40, minimum_length=3, maximum_length=5)
    for folder, orders in (("a", [[0, 1]]), ("b", [[1], [0]])):
        (tmp_path / folder).mkdir()
        for parts in orders:
            synthesis.synthesize_parts(revealing, config, 0, tmp_path / folder, parts)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert [(tmp_path / "a" / name).read_bytes() for name in names] == [(tmp_path / "b" / name).read_bytes() for name in names]
    bank, held = Bank(tmp_path / "a"), set(prior_of(revealing, "zipf").token_ids.tolist())
    assert {int(token) for row in range(len(bank)) for token in bank.content(np.array([row]))[0]} <= held


def test_class_words_need_a_footprint_and_drawn_tokens(teacher: Classifier, revealing: Classifier) -> None:
    assert make_guesser(revealing, Synthesis(), 0).class_words is not None
    assert make_guesser(teacher, Synthesis(), 0).class_words is None
    for changes in ({"prior": "uniform"}, {"initial": "gaussian", "guessing": "embedding"}):
        assert make_guesser(revealing, Synthesis().changed(**changes), 0).class_words is None


def test_a_prior_of_one_token_gives_that_token(revealing: Classifier) -> None:
    only = VocabularyPrior(np.array([70]), np.ones(1))
    words = class_words_of(revealing, frame_of(revealing.tokenizer), only)
    assert (words.draw(np.array([0, 1, 2]), 4, np.random.default_rng(0)) == 70).all()
