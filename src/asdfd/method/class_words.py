"""Class words: in some pseudo samples, part of the words is drawn among those that the teacher takes for one class.

Shapes: K candidate tokens, C classes, B samples of L tokens. The teacher's logits of a token alone, standardised over the tokens, tilt the prior: a token's
probability for a class is the prior's times exp(sharpness z). It is used where the teacher's footprint tells the training vocabulary: over a whole vocabulary
most such words are ones that no text holds. Samples of words that go together are what a student of many classes lacks; where few classes turn on a few small
words it would see those too seldom, so only part of the samples has class words.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from asdfd.method.prior import Frame, VocabularyPrior
from asdfd.models.classifiers import Classifier

CANDIDATES = 8192
"""Most tokens that class words are drawn from, the most probable ones: a vocabulary of 250,000 would cost more than the distillation."""
AT_ONCE = 256
"""Tokens that the teacher is asked about together."""


@dataclass(frozen=True)
class Mixture:
    """How much of the samples is drawn for their class."""

    samples: float
    """Share of the samples that have class words."""
    words: float
    """Share of such a sample's words that are drawn for its class."""
    sharpness: float
    """Factor of the standardised logit in the exponent."""


LEARNING = Mixture(samples=0.4, words=0.6, sharpness=2.0)
"""Of the samples that a student learns from."""


@dataclass(frozen=True)
class ClassWords:
    """The prior and its tilted form for every class."""

    mixture: Mixture
    prior: VocabularyPrior
    candidates: np.ndarray
    """Token ids, int64 [K]."""
    cumulative: np.ndarray
    """Cumulative probabilities of the candidates for each class, float64 [C, K]."""

    def draw(self, classes: np.ndarray, length: int, random: np.random.Generator) -> np.ndarray:
        """Token ids int64 [B, L] of samples of the given classes, int64 [B]; those without class words are drawn from the prior alone."""
        size = len(classes)
        tokens = self.prior.draw(size * length, random).reshape(size, length)
        chosen = (random.random((size, length)) < self.mixture.words) & (random.random((size, 1)) < self.mixture.samples)
        uniform = random.random((size, length))
        for row in np.flatnonzero(chosen.any(axis=1)).tolist():
            places, cumulative = chosen[row], self.cumulative[classes[row]]
            found = np.searchsorted(cumulative, uniform[row, places] * cumulative[-1], side="right")
            tokens[row, places] = self.candidates[np.minimum(found, len(self.candidates) - 1)]
        return tokens


def class_words_of(teacher: Classifier, frame: Frame, prior: VocabularyPrior, mixture: Mixture = LEARNING) -> ClassWords:
    """Ask the teacher about each of the prior's most probable tokens alone."""
    order = np.sort(np.argsort(-prior.probabilities, kind="stable")[:CANDIDATES])
    candidates, weights = prior.token_ids[order], prior.probabilities[order] / prior.probabilities[order].sum()
    return ClassWords(mixture, prior, candidates, np.cumsum(tilted(weights, logits_of(teacher, frame, candidates), mixture.sharpness), axis=1))


def tilted(weights: np.ndarray, logits: np.ndarray, sharpness: float) -> np.ndarray:
    """Probabilities [C, K] of tokens for each class, from the prior's [K] and logits [K, C], times exp(sharpness z)."""
    centred = logits - weights @ logits
    spread = centred.std(axis=0)
    scores = sharpness * centred / np.where(spread > 0, spread, 1.0)
    found = weights[:, None] * np.exp(scores - scores.max(axis=0))
    return (found / found.sum(axis=0)).T


@torch.no_grad()
def logits_of(teacher: Classifier, frame: Frame, tokens: np.ndarray) -> np.ndarray:
    """The teacher's logits float64 [K, C] of each token id [K] between the special tokens."""
    device = teacher.embedding_table.device
    pieces = [torch.from_numpy(tokens[start : start + AT_ONCE]).unsqueeze(1).to(device) for start in range(0, len(tokens), AT_ONCE)]
    return torch.cat([teacher.model(input_ids=frame.around(piece)).logits.double().cpu() for piece in pieces]).numpy()
