"""The vocabulary prior and the frame of special tokens, on every tokenizer that a supported family uses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from asdfd.method.prior import CHARACTER_SHARE, CONTINUATION_SHARE, RANK_OFFSET, frame_of, ordinary_tokens, vocabulary_prior
from asdfd.method.randomness import generator
from tests import tiny_models


@pytest.fixture(scope="module", params=["bert", "roberta", "xlm-roberta", "albert", "deberta-v2", "mpnet", "modernbert"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    folder = tiny_models.make_teacher(tmp_path_factory.mktemp("tokenizer") / request.param, request.param, layers=1)
    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("kind", ["uniform", "zipf"])
def test_special_and_reserved_tokens_are_never_drawn(tokenizer: PreTrainedTokenizerBase, kind) -> None:
    prior = vocabulary_prior(tokenizer, kind)
    texts = tokenizer.convert_ids_to_tokens(prior.token_ids.tolist())
    assert not set(prior.token_ids.tolist()) & set(tokenizer.all_special_ids)
    assert not [text for text in texts if "unused" in text]
    assert len(set(prior.token_ids.tolist())) == len(prior.token_ids) > 100
    assert prior.probabilities.sum() == pytest.approx(1)
    assert (prior.probabilities > 0).all()


def test_frequent_words_are_likely_under_zipf_only(tokenizer: PreTrainedTokenizerBase) -> None:
    encoded = [tokenizer(f" {word}", add_special_tokens=False)["input_ids"] for word in tiny_models.WORDS]
    whole = [tokens[0] for tokens in encoded if len(tokens) == 1]  # a small byte-pair vocabulary spells the rare words
    frequent, rare = whole[1], whole[-1]

    def probability(kind, token: int) -> float:
        prior = vocabulary_prior(tokenizer, kind)
        return float(prior.probabilities[prior.token_ids == token][0])

    assert len(whole) > 30
    assert probability("zipf", frequent) > 5 * probability("zipf", rare)
    assert probability("uniform", frequent) == probability("uniform", rare)


def test_zipf_gives_wordpiece_its_shares() -> None:
    tokenizer = tiny_models.bert_tokenizer()
    prior, vocabulary = vocabulary_prior(tokenizer, "zipf"), ordinary_tokens(tokenizer)
    probability = dict(zip(prior.token_ids.tolist(), prior.probabilities.tolist(), strict=True))
    assert sum(probability[i] for i in vocabulary.characters.tolist()) == pytest.approx(CHARACTER_SHARE)
    assert sum(probability[i] for i in vocabulary.rest.tolist()) == pytest.approx(CONTINUATION_SHARE)
    first, tenth = vocabulary.words[0], vocabulary.words[9]
    assert probability[int(first)] / probability[int(tenth)] == pytest.approx((10 + RANK_OFFSET) / (1 + RANK_OFFSET))


def test_draws_follow_the_probabilities() -> None:
    prior = vocabulary_prior(tiny_models.bert_tokenizer(), "zipf")
    drawn = prior.draw(200_000, generator(0, "test"))
    shares = np.array([(drawn == token).mean() for token in prior.token_ids[:5]])
    assert shares == pytest.approx(prior.probabilities[:5], abs=4 * np.sqrt(0.05 / 200_000) + 1e-3)


def test_frame_is_what_the_tokenizer_puts_around_a_text(tokenizer: PreTrainedTokenizerBase) -> None:
    frame = frame_of(tokenizer)
    inner = tokenizer("the people", add_special_tokens=False)["input_ids"]
    assert [*frame.prefix, *inner, *frame.suffix] == tokenizer("the people")["input_ids"]
    assert frame.length == 2


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**62), purpose=st.text(max_size=8), indices=st.lists(st.integers(0, 2**31), max_size=3))
def test_streams_are_repeatable_and_apart(seed: int, purpose: str, indices: list[int]) -> None:
    first = generator(seed, purpose, *indices).random(4)
    assert (first == generator(seed, purpose, *indices).random(4)).all()
    assert (first != generator(seed, purpose, *indices, 1).random(4)).all()
    assert (first != generator(seed, purpose + "x", *indices).random(4)).all()
