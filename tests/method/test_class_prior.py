"""Words that speak for a class: Bayes' rule by hand, and how the groups of a bank that are drawn from them are spread."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from asdfd.config import Synthesis
from asdfd.method import class_prior as module
from asdfd.method.class_prior import ClassPrior, class_prior, single_word_logits
from asdfd.method.prior import frame_of, vocabulary_prior
from asdfd.method.synthesis import draw_class_words, draw_group, origin, prepare
from asdfd.models import Classifier, load_teacher


@pytest.fixture(scope="module")
def teacher(teacher_artifact: Path) -> Classifier:
    return load_teacher(teacher_artifact)


def test_the_distribution_of_words_is_bayes_rule_on_the_teacher_s_answers(teacher: Classifier) -> None:
    frame, prior = frame_of(teacher.tokenizer), vocabulary_prior(teacher.tokenizer, "zipf")
    found = class_prior(teacher, frame, prior)
    assert sorted(found.token_ids.tolist()) == sorted(prior.token_ids.tolist())
    logits = []
    for token in found.token_ids.tolist():
        with torch.no_grad():
            ids = torch.tensor([[*frame.prefix, token, *frame.suffix]])
            logits.append(teacher.model(input_ids=ids).logits[0].double().numpy())
    standardised = (np.array(logits) - np.mean(logits, axis=0)) / np.std(logits, axis=0)
    likelihood = torch.from_numpy(module.SHARPNESS * standardised).softmax(-1).numpy()
    probability = dict(zip(prior.token_ids.tolist(), prior.probabilities, strict=True))
    joint = likelihood * np.array([probability[token] for token in found.token_ids.tolist()])[:, None]
    expected = joint / joint.sum(0)
    assert np.diff(found.cumulative, axis=1, prepend=0) == pytest.approx(expected.T, abs=1e-5)


def test_drawn_words_follow_their_class() -> None:
    words = ClassPrior(np.array([10, 20, 30]), np.array([[0.5, 0.5, 1.0], [0.0, 1.0, 1.0]]))
    drawn = words.draw(np.array([0, 1]), 4000, np.random.default_rng(0))
    assert set(drawn[0].tolist()) == {10, 30}
    assert (drawn[0] == 10).mean() == pytest.approx(0.5, abs=0.04)
    assert set(drawn[1].tolist()) == {20}


def test_only_the_most_probable_words_are_asked_about(teacher: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    frame, prior = frame_of(teacher.tokenizer), vocabulary_prior(teacher.tokenizer, "zipf")
    monkeypatch.setattr(module, "WORDS", 10)
    found = class_prior(teacher, frame, prior)
    assert len(found.token_ids) == 10
    probability = dict(zip(prior.token_ids.tolist(), prior.probabilities, strict=True))
    assert min(probability[token] for token in found.token_ids.tolist()) >= np.sort(prior.probabilities)[-10]


def test_answers_do_not_depend_on_how_the_words_are_split_into_blocks(teacher: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    frame, tokens = frame_of(teacher.tokenizer), vocabulary_prior(teacher.tokenizer, "zipf").token_ids[:40]
    whole = single_word_logits(teacher, frame, tokens)
    monkeypatch.setattr(module, "BLOCK", 7)
    assert single_word_logits(teacher, frame, tokens) == pytest.approx(whole, abs=1e-5)


@pytest.mark.parametrize(("words", "drawn"), [(0, 0), (0.25, 0), (0.33, 0.33), (0, 1), (1, 0)])
def test_the_kinds_of_groups_are_spread_evenly(words: float, drawn: float) -> None:
    config = Synthesis(class_words_share=words, drawn_share=drawn)
    kinds = [origin(config, number) for number in range(600)]
    for start in range(0, 600, 60):
        some = kinds[start : start + 60]
        assert some.count("class words") == pytest.approx(60 * words, abs=2)
        assert some.count("drawn") == pytest.approx(60 * drawn, abs=2)
    assert "guessed" not in {origin(config.model_copy(update={"guessing": "none"}), number) for number in range(20)}


def test_class_words_take_the_place_of_a_share_of_the_drawn_tokens(teacher: Classifier) -> None:
    guesser = prepare(teacher, Synthesis(minimum_length=20, maximum_length=20, class_words_share=1, drawn_share=0), seed=3)
    group = draw_group(guesser, 5, 32)
    content = draw_class_words(guesser, group)
    kept = (content == group.content).float().mean(1)
    assert content.dtype == torch.int64
    assert kept.min() < 0.35, "some samples are made of class words almost wholly"
    assert kept.max() > 0.8, "and some almost of none"
    assert torch.equal(content, draw_class_words(guesser, group))
