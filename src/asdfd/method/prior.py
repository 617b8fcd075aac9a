"""Prior over the vocabulary and the frame of special tokens: what is known about text without seeing any.

WordPiece and unigram vocabularies are ordered by frequency, and so is RoBERTa's of byte pairs: Zipf's law over the rank of whole words is a language prior that
costs no data. BERT's WordPiece vocabulary lists its single characters first, in code-point order; they get a share of their own.

Other byte-pair vocabularies (GPT-2's, ModernBERT's) are in the order of their merges: by how often a token occurred when it was made. Most of the first ones
are beginnings of words that later merges have used up, so a token is ranked by what is left of its count when those are taken away.

Where a teacher's public encoder was named, what fine-tuning moved tells which tokens its training texts held, and roughly how often (`models.footprint`).
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from asdfd.base.errors import RefusedError
from asdfd.models.classifiers import Classifier
from asdfd.models.encoding import Encoded

RANK_OFFSET = 2.7
"""Mandelbrot's constant for English: p ~ 1 / (rank + 2.7)."""
CHARACTER_SHARE = 0.15
"""Share of punctuation, digits and one-letter words in running English text, which a WordPiece vocabulary does not rank."""
BY_FREQUENCY = ".,a'-is?t:)(\"!d1m2;/34o5x6e7c8b9npulrkgfhvwy*&$jz0q%_#@+=[]{}<>~^\\|`"
"""Those characters as English text has them, the most frequent one first, about."""
RANKED_SHARE, RANKED_OFFSET = 0.3, 0.5
"""Their share and Mandelbrot's constant where they are ranked so: with a footprint, see benchmarks/footprint_counts.py."""
CONTINUATION_SHARE = 0.1
"""Share of tokens in running text that continue a word."""
LEFT_SHARE = 0.05
"""Least share of a token's count that is left after all merges; counts by Zipf's law are too rough to tell that nothing is."""
MERGE_ORDER = 0.9
"""Share of merges whose token follows the one of the merge before from which a vocabulary is in merge order; in order of frequency it is about a half."""
RANK_POWER = 0.5
"""Power of a token's probability by rank where its footprint is known, which tells more, see benchmarks/footprint_counts.py."""

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
    """Special tokens that the tokenizer puts around one text, or around and between the two texts of a pair."""

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    middle: tuple[int, ...] = ()
    """Between the two texts of a pair."""
    types: tuple[int, ...] = ()
    """Of a pair, the token types of prefix, first text, middle, second text and suffix; empty where the tokenizer tells none."""
    first: int | None = None
    """Of a pair, the tokens of its first text: the frame is of use once it is known, see `at`. None for a single text."""

    @property
    def length(self) -> int:
        """Special tokens of a framed sequence."""
        return len(self.prefix) + len(self.middle) + len(self.suffix)

    def at(self, first: int | None) -> Frame:
        """The frame of pairs whose first text has so many tokens."""
        return replace(self, first=first)

    def around(self, content: Tensor) -> Tensor:
        """Put the special tokens around token ids int64 [B, L]."""
        before, between, after = (torch.tensor(ids, dtype=torch.int64, device=content.device).expand(len(content), -1) for ids in self._special)
        return self._joined(content, before, between, after)

    def around_embeddings(self, content: Tensor, table: Tensor) -> Tensor:
        """Put the special tokens' rows of the table [V, D] around content embeddings [B, L, D]; they are pinned, no gradient reaches them."""
        before, between, after = (table[list(ids)].expand(len(content), -1, -1) for ids in self._special)
        return self._joined(content, before, between, after)

    def content_places(self, length: int) -> np.ndarray:
        """Where `length` content tokens stand in a framed sequence, int64 [L]."""
        places = np.arange(length) + len(self.prefix)
        return places if self.first is None else places + len(self.middle) * (np.arange(length) >= self.first)

    def token_types(self, content: Tensor) -> Tensor | None:
        """Token types int64 [B, prefix + L + middle + suffix] of content [B, L, ...]; None where all are 0."""
        if self.first is None or not any(self.types):
            return None
        sizes = (len(self.prefix), self.first, len(self.middle), content.shape[1] - self.first, len(self.suffix))
        row = [kind for kind, size in zip(self.types, sizes, strict=True) for _ in range(size)]
        return torch.tensor(row, device=content.device).expand(len(content), -1)

    def sequence(self, content: Sequence[int]) -> Encoded:
        """Token ids of one text, or of the two of a pair, with the special tokens."""
        ids = torch.tensor([list(content)])
        encoded, types = Encoded(self.around(ids)[0].tolist()), self.token_types(ids)
        if types is not None:
            encoded.types = types[0].tolist()
        return encoded

    @property
    def _special(self) -> tuple[tuple[int, ...], ...]:
        return self.prefix, self.middle, self.suffix

    def _joined(self, content: Tensor, before: Tensor, between: Tensor, after: Tensor) -> Tensor:
        if self.first is None:
            return torch.cat([before, content, after], dim=1)
        return torch.cat([before, content[:, : self.first], between, content[:, self.first :], after], dim=1)


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer's ordinary tokens by their role, each int64 ids, most frequent first as far as the vocabulary tells."""

    words: np.ndarray
    """Tokens that start a word."""
    characters: np.ndarray
    """Single ASCII characters of a vocabulary that does not rank them."""
    rest: np.ndarray
    """Everything else: pieces inside a word and other characters."""


def vocabulary_prior(tokenizer: PreTrainedTokenizerBase, kind: Literal["uniform", "zipf"], *, ranked_characters: bool = False) -> VocabularyPrior:
    """The prior over a tokenizer's ordinary tokens: never special or reserved ones.

    `uniform` gives every ordinary token the same probability; `zipf` ranks whole words by id, and gives characters and word pieces their usual share.
    Characters that a vocabulary does not rank are all alike, or with `ranked_characters` as frequent as in English.
    """
    vocabulary = ordinary_tokens(tokenizer)
    if kind == "uniform":
        token_ids = np.sort(np.concatenate([vocabulary.words, vocabulary.characters, vocabulary.rest]))
        return VocabularyPrior(token_ids, np.full(len(token_ids), 1 / len(token_ids)))
    characters = (vocabulary.characters, CHARACTER_SHARE, np.inf)
    if ranked_characters:
        characters = (by_frequency(tokenizer, vocabulary.characters), RANKED_SHARE, RANKED_OFFSET)
    parts = [
        (vocabulary.words, 1 - CHARACTER_SHARE - CONTINUATION_SHARE, RANK_OFFSET),
        characters,
        (vocabulary.rest, CONTINUATION_SHARE, RANK_OFFSET),
    ]
    weights = [share * _rank_probabilities(len(ids), offset) for ids, share, offset in parts if len(ids)]
    probabilities = np.concatenate(weights)
    return VocabularyPrior(np.concatenate([ids for ids, _, _ in parts if len(ids)]), probabilities / probabilities.sum())


def by_frequency(tokenizer: PreTrainedTokenizerBase, characters: np.ndarray) -> np.ndarray:
    """Ids of single characters, int64, those that are frequent in English first."""
    place = {character: rank for rank, character in enumerate(BY_FREQUENCY)}
    return np.array(sorted(characters.tolist(), key=lambda index: place.get(str(tokenizer.convert_ids_to_tokens(index)), len(place))), dtype=np.int64)


def prior_of(teacher: Classifier, kind: Literal["uniform", "zipf"]) -> VocabularyPrior:
    """The prior of a teacher's pseudo samples: `zipf` over the tokens of its training texts, weighted by its footprint, where that is known."""
    footprint = teacher.footprint
    if footprint is None or kind == "uniform":
        return vocabulary_prior(teacher.tokenizer, kind)
    prior = vocabulary_prior(teacher.tokenizer, kind, ranked_characters=True)
    occurrences = np.zeros(int(max(prior.token_ids.max(), len(footprint.tokens) - 1)) + 1)
    occurrences[: len(footprint.tokens)] = footprint.tokens
    weights = prior.probabilities**RANK_POWER * occurrences[prior.token_ids]
    kept = weights > 0
    return VocabularyPrior(prior.token_ids[kept], weights[kept] / weights.sum()) if kept.any() else prior


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
    counts = remaining_counts(merges_in_order(tokenizer))
    if counts:
        tokens.sort(key=lambda entry: -counts.get(entry[1], 0.0))  # bytes, which were never merged, come last
    characters = _ids((i, token) for i, token in tokens if counts and token in _CHARACTERS)
    texts = [token for _, token in tokens]
    if any(token.startswith("##") and len(token) > 2 for token in texts):
        return _wordpiece(tokens)
    marker = max("Ġ▁", key=lambda mark: sum(token.startswith(mark) for token in texts))
    starts = [token.startswith(marker) and len(token) > 1 for token in texts]
    if not any(starts):
        starts = [True] * len(tokens)
    words = _ids(entry for entry, start in zip(tokens, starts, strict=True) if start)
    known = {*words.tolist(), *characters.tolist()}
    return Vocabulary(words, characters[~np.isin(characters, words)], _ids((i, token) for i, token in tokens if i not in known))


def merges_in_order(tokenizer: PreTrainedTokenizerBase) -> list[tuple[str, str]]:
    """The merges of a byte-pair vocabulary that lists its tokens as they were made; empty for every other one."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    model = json.loads(backend.to_str())["model"] if backend is not None else {}
    if model.get("type") != "BPE":
        return []
    merges = [(left, right) for left, right in (pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"])]
    ids = [model["vocab"][left + right] for left, right in merges]
    return merges if len(ids) > 1 and (np.diff(ids) > 0).mean() >= MERGE_ORDER else []


def remaining_counts(merges: list[tuple[str, str]]) -> dict[str, float]:
    """How often each merged token occurs in text that is tokenized with all merges, by the order of the merges alone; no unit.

    A merge is made of the most frequent pair at its time, so counts at that time fall with the rank, by Zipf's law; a later merge takes its own count from both
    of its parts.
    """
    made = {left + right: 1 / (rank + RANK_OFFSET) for rank, (left, right) in enumerate(merges, start=1)}
    taken = dict.fromkeys(made, 0.0)
    for left, right in merges:
        for part in (left, right):
            if part in taken:
                taken[part] += made[left + right]
    return {token: max(count - taken[token], LEFT_SHARE * count) for token, count in made.items()}


def frame_of(tokenizer: PreTrainedTokenizerBase, *, pairs: bool = False) -> Frame:
    """The special tokens around a single text, or around and between the texts of a pair, found by encoding some.

    Raises:
        RefusedError: the tokenizer changes the text's own tokens when it frames them.
    """
    inner = list(tokenizer("the", add_special_tokens=False)["input_ids"])
    made = tokenizer(*["the"] * (2 if pairs else 1), add_special_tokens=True)
    framed = list(made["input_ids"])
    starts = [start for start in range(len(framed) - len(inner) + 1) if inner and framed[start : start + len(inner)] == inner]
    if len(starts) < 1 + pairs:
        what = "the two texts of a pair" if pairs else "the text"
        raise RefusedError(f"{tokenizer.name_or_path}: its special tokens cannot be told from the text's; use a tokenizer that puts them around {what}")
    first, end = starts[0], starts[0] + len(inner)
    if not pairs:
        return Frame(tuple(framed[:first]), tuple(framed[end:]))
    second = next(start for start in starts if start >= end)
    stretches = ((0, first), (first, end), (end, second), (second, second + len(inner)), (second + len(inner), len(framed)))
    kinds = [set(made["token_type_ids"][start:stop]) for start, stop in stretches] if "token_type_ids" in made else []
    if any(len(kind) > 1 for kind in kinds):
        raise RefusedError(f"{tokenizer.name_or_path}: gives tokens of one segment different types; use a tokenizer that types a pair's texts as a whole")
    types = tuple(next(iter(kind), 0) for kind in kinds)
    return Frame(tuple(framed[:first]), tuple(framed[second + len(inner) :]), tuple(framed[end:second]), types)


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
