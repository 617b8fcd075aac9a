"""The vocabulary prior and the frame of special tokens, on every tokenizer that a supported family uses."""

from __future__ import annotations

import json
import string
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from asdfd.method.prior import (
    CHARACTER_SHARE,
    CONTINUATION_SHARE,
    LEFT_SHARE,
    RANK_OFFSET,
    RANKED_SHARE,
    frame_of,
    merges_in_order,
    ordinary_tokens,
    remaining_counts,
    vocabulary_prior,
)
from asdfd.method.randomness import generator
from tests import tiny_models


@pytest.fixture(scope="module", params=tiny_models.TOKENIZERS)
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


def test_characters_may_be_as_frequent_as_in_english() -> None:
    tokenizer = tiny_models.bert_tokenizer()
    characters = ordinary_tokens(tokenizer).characters
    usual, ranked = vocabulary_prior(tokenizer, "zipf"), vocabulary_prior(tokenizer, "zipf", ranked_characters=True)
    assert set(ranked.token_ids.tolist()) == set(usual.token_ids.tolist())
    probability = {str(tokenizer.convert_ids_to_tokens(token)): p for token, p in zip(ranked.token_ids.tolist(), ranked.probabilities, strict=True)}
    assert len(characters) > 30
    assert probability["."] > probability[","] > probability["a"] > 3 * probability["k"]
    assert probability["k"] > probability["|"] > 0
    everything = 1 - CHARACTER_SHARE + RANKED_SHARE
    assert sum(probability[str(tokenizer.convert_ids_to_tokens(i))] for i in characters.tolist()) == pytest.approx(RANKED_SHARE / everything)


@pytest.fixture(scope="module")
def byte_pairs() -> tuple[dict[str, int], list[tuple[str, str]], Counter[str]]:
    """A byte-pair vocabulary that was trained on text, in merge order as GPT-2's: its tokens, its merges, and how often each token is in the tokenized text."""
    texts = [f" {text}." for text in tiny_models.random_texts(3000, seed=3)]
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trained.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=700, special_tokens=["<unk>"], initial_alphabet=alphabet, show_progress=False))
    model = json.loads(trained.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]], Counter(token for encoding in trained.encode_batch(texts) for token in encoding.tokens)


def byte_pair_tokenizer(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> PreTrainedTokenizerBase:
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


def most_likely(tokenizer: PreTrainedTokenizerBase, count: int) -> list[str]:
    prior = vocabulary_prior(tokenizer, "zipf")
    return tokenizer.convert_ids_to_tokens(  # pyright: ignore[reportReturnType]
        prior.token_ids[np.argsort(-prior.probabilities, kind="stable")[:count]].tolist()
    )


def cross_entropy(tokenizer: PreTrainedTokenizerBase, found: Counter[str]) -> float:
    """Nats that the prior needs for a token of the text."""
    prior = vocabulary_prior(tokenizer, "zipf")
    probability = dict(zip(tokenizer.convert_ids_to_tokens(prior.token_ids.tolist()), prior.probabilities, strict=True))
    return -sum(number * np.log(probability[token]) for token, number in found.items()) / found.total()


def test_a_vocabulary_in_merge_order_gives_words_and_not_what_they_were_built_from(byte_pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary, merges, found = byte_pairs
    tokenizer = byte_pair_tokenizer(vocabulary, merges)
    assert merges_in_order(tokenizer) == merges
    frequent = [token for token, _ in found.most_common(12)]
    likely = most_likely(tokenizer, 12)
    assert len(set(likely) & set(frequent)) >= 5
    assert sum(found[token] > 0 for token in likely) >= 9, "what later merges have used up is not in text"
    ranked = cross_entropy(tokenizer, found)
    characters = ordinary_tokens(tokenizer).characters
    assert set(tokenizer.convert_ids_to_tokens(characters.tolist())) == {*string.ascii_letters, *string.digits, *string.punctuation}
    monkeypatch.setattr("asdfd.method.prior.merges_in_order", lambda _: [])
    assert ranked < cross_entropy(tokenizer, found) - 0.2, "better than by the order of the merges"
    assert len(set(most_likely(tokenizer, 12)) & set(frequent)) < len(set(likely) & set(frequent))


def test_a_vocabulary_in_order_of_frequency_is_taken_as_it_is(byte_pairs) -> None:
    vocabulary, merges, found = byte_pairs
    ordered = sorted(vocabulary, key=lambda token: (token != "<unk>", -found[token]))
    tokenizer = byte_pair_tokenizer({token: index for index, token in enumerate(ordered)}, merges)
    assert merges_in_order(tokenizer) == []
    assert most_likely(tokenizer, 20) == [token for token in ordered if token.startswith("Ġ") and len(token) > 1][:20]


def test_what_later_merges_take_is_not_left() -> None:
    counts = remaining_counts([("Ġ", "t"), ("Ġt", "h"), ("Ġth", "e"), ("Ġ", "a")])
    made = [1 / (rank + RANK_OFFSET) for rank in (1, 2, 3, 4)]
    assert counts == {
        "Ġt": pytest.approx(made[0] - made[1]),
        "Ġth": pytest.approx(made[1] - made[2]),
        "Ġthe": pytest.approx(made[2]),
        "Ġa": pytest.approx(made[3]),
    }
    assert remaining_counts([("a", "b"), ("ab", "c"), ("ab", "d")])["ab"] == pytest.approx(LEFT_SHARE * made[0])
    assert remaining_counts([]) == {}


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
