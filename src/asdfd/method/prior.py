"""Prior over the vocabulary and the frame of special tokens: what is known about text without seeing any.

WordPiece, byte-pair and unigram vocabularies are ordered by frequency (or by merge order, which is close to it), so Zipf's law over the rank of whole words
is a language prior that costs no data. BERT's WordPiece vocabulary lists its single characters first, in code-point order; they get a share of their own.
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from typing import Literal

import numpy as np
from transformers import PreTrainedTokenizerBase

from asdfd.errors import RefusedError

RANK_OFFSET = 2.7
"""Mandelbrot's constant for English: p ~ 1 / (rank + 2.7)."""
CHARACTER_SHARE = 0.15
"""Share of punctuation, digits and one-letter words in running English text, which a WordPiece vocabulary does not rank."""
CONTINUATION_SHARE = 0.1
"""Share of tokens in running text that continue a word."""

_RESERVED = re.compile(r"^(\[unused\d+\]|<unused\d+>|unused\d+|madeupword\d+|<0x[0-9A-Fa-f]{2}>|<extra_id_\d+>|\|\|\|.*\|\|\|)$")
_CHARACTERS = frozenset(string.ascii_letters + string.digits + string.punctuation)


@dataclass(frozen=True)
class VocabularyPrior:
    """Distribution over token ids; `token_ids` int64 [K] with `probabilities` float64 [K] that sum to one."""

    token_ids: np.ndarray
    probabilities: np.ndarray

    def draw(self, count: int, generator: np.random.Generator) -> np.ndarray:
        """`count` independent token ids, int64 [count]."""
        cumulative = np.cumsum(self.probabilities)
        positions = np.searchsorted(cumulative, generator.random(count) * cumulative[-1], side="right")
        return self.token_ids[np.minimum(positions, len(self.token_ids) - 1)]


@dataclass(frozen=True)
class Frame:
    """Special tokens that the tokenizer puts around one text."""

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]

    @property
    def length(self) -> int:
        """Special tokens of a framed sequence."""
        return len(self.prefix) + len(self.suffix)


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer's ordinary tokens by their role, each int64 in order of their ids."""

    words: np.ndarray
    """Tokens that start a word, most frequent first."""
    characters: np.ndarray
    """Single ASCII characters of a vocabulary that does not rank them."""
    rest: np.ndarray
    """Everything else: pieces inside a word and other characters."""


def vocabulary_prior(tokenizer: PreTrainedTokenizerBase, kind: Literal["uniform", "zipf"]) -> VocabularyPrior:
    """The prior over a tokenizer's ordinary tokens: never special or reserved ones.

    `uniform` gives every ordinary token the same probability; `zipf` ranks whole words by id, and gives characters and word pieces their usual share.
    """
    vocabulary = ordinary_tokens(tokenizer)
    if kind == "uniform":
        token_ids = np.sort(np.concatenate([vocabulary.words, vocabulary.characters, vocabulary.rest]))
        return VocabularyPrior(token_ids, np.full(len(token_ids), 1 / len(token_ids)))
    parts = [
        (vocabulary.words, 1 - CHARACTER_SHARE - CONTINUATION_SHARE, RANK_OFFSET),
        (vocabulary.characters, CHARACTER_SHARE, np.inf),
        (vocabulary.rest, CONTINUATION_SHARE, RANK_OFFSET),
    ]
    weights = [share * _rank_probabilities(len(ids), offset) for ids, share, offset in parts if len(ids)]
    probabilities = np.concatenate(weights)
    return VocabularyPrior(np.concatenate([ids for ids, _, _ in parts if len(ids)]), probabilities / probabilities.sum())


def ordinary_tokens(tokenizer: PreTrainedTokenizerBase) -> Vocabulary:
    """Sort a tokenizer's vocabulary into words, characters and the rest, without special, added or reserved tokens.

    Raises:
        RefusedError: no ordinary token is left.
    """
    added: dict[str, int] = tokenizer.get_added_vocab()  # pyright: ignore[reportCallIssue, reportOptionalCall, reportAssignmentType]
    excluded = set(tokenizer.all_special_ids) | set(added.values())
    tokens = sorted((index, token) for token, index in tokenizer.get_vocab().items() if index not in excluded and not _RESERVED.match(token))
    if not tokens:
        raise RefusedError(f"{tokenizer.name_or_path}: its vocabulary holds special tokens only; name a teacher with its own tokenizer")
    texts = [token for _, token in tokens]
    if any(token.startswith("##") and len(token) > 2 for token in texts):
        return _wordpiece(tokens)
    marker = max("Ġ▁", key=lambda mark: sum(token.startswith(mark) for token in texts))
    starts = [token.startswith(marker) and len(token) > 1 for token in texts]
    if not any(starts):
        starts = [True] * len(tokens)
    return Vocabulary(_ids(t for t, s in zip(tokens, starts, strict=True) if s), _ids([]), _ids(t for t, s in zip(tokens, starts, strict=True) if not s))


def frame_of(tokenizer: PreTrainedTokenizerBase) -> Frame:
    """The special tokens around a single text, found by encoding one.

    Raises:
        RefusedError: the tokenizer changes the text's own tokens when it frames them.
    """
    inner = list(tokenizer("the", add_special_tokens=False)["input_ids"])
    framed = list(tokenizer("the", add_special_tokens=True)["input_ids"])
    for start in range(len(framed) - len(inner) + 1):
        if inner and framed[start : start + len(inner)] == inner:
            return Frame(tuple(framed[:start]), tuple(framed[start + len(inner) :]))
    raise RefusedError(f"{tokenizer.name_or_path}: its special tokens cannot be told from the text's; use a tokenizer that puts them around the text")


def _wordpiece(tokens: list[tuple[int, str]]) -> Vocabulary:
    words = _ids((i, token) for i, token in tokens if not token.startswith("##") and len(token) > 1)
    characters = _ids((i, token) for i, token in tokens if token in _CHARACTERS)
    known = set(words.tolist()) | set(characters.tolist())
    return Vocabulary(words, characters, _ids((i, token) for i, token in tokens if i not in known))


def _ids(tokens) -> np.ndarray:
    return np.array([index for index, _ in tokens], dtype=np.int64)


def _rank_probabilities(count: int, offset: float) -> np.ndarray:
    """Zipf-Mandelbrot probabilities of `count` ranks; an infinite offset makes them equal."""
    weights = np.ones(count) if np.isinf(offset) else 1 / (np.arange(1, count + 1) + offset)
    return weights / weights.sum()
