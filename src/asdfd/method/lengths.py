"""How long pseudo samples are: as long as the teacher's training texts, where its footprint tells that, and as the parameters say otherwise.

A row of absolute positions gets a gradient only from texts that reach it. Under Adam the square of how far it moved grows with the number of those steps, so
its share of the largest such square is roughly the share of texts (of batches, where one is as long as its longest text) that reach the position.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asdfd.method.prior import frame_of
from asdfd.models.classifiers import Classifier


@dataclass(frozen=True)
class Lengths:
    """A distribution of lengths: content tokens, int64 [K], rising, with probabilities float64 [K] that sum to one."""

    lengths: np.ndarray
    probabilities: np.ndarray

    def draw(self, random: np.random.Generator) -> int:
        """One length."""
        return int(self.lengths[min(np.searchsorted(np.cumsum(self.probabilities), random.random(), side="right"), len(self.lengths) - 1)])


def lengths_of(teacher: Classifier, minimum: int, *, pairs: bool = False) -> Lengths | None:
    """The lengths of a teacher's training texts, or of pairs of them, from `minimum` content tokens on; None where its footprint does not tell them."""
    if teacher.footprint is None or not teacher.footprint.positions.any():
        return None
    return revealed_lengths(teacher.footprint.positions, frame_of(teacher.tokenizer, pairs=pairs).length, minimum)


def revealed_lengths(moved: np.ndarray, special: int, minimum: int) -> Lengths | None:
    """Lengths of texts of which `special` tokens are special ones, from how far each position's row moved, float32 [P]; None where none is that long.

    Shorter ones than `minimum` count as of that length: a sample of one word says little.
    """
    reach = falling((moved.astype(np.float64) / moved.max()) ** 2)
    ending = reach - np.append(reach[1:], 0)  # at index i: texts of i + 1 tokens
    longest = int(np.flatnonzero(moved)[-1]) + 1 - special
    if longest < minimum:
        return None
    lengths = np.clip(np.arange(1, len(moved) + 1) - special, minimum, longest)
    probabilities = np.bincount(lengths, weights=ending, minlength=longest + 1)[minimum:]
    kept = probabilities > 0
    return Lengths(np.arange(minimum, longest + 1)[kept], probabilities[kept] / probabilities.sum())


def falling(values: np.ndarray) -> np.ndarray:
    """The nearest sequence to `values` [N] that never rises, by squared distance: pools of neighbours that rise take their mean (pool adjacent violators)."""
    pools: list[tuple[float, int]] = []
    for value in values.tolist():
        mean, count = value, 1
        while pools and pools[-1][0] < mean:
            before, size = pools.pop()
            mean, count = (mean * count + before * size) / (count + size), count + size
        pools.append((mean, count))
    return np.concatenate([np.full(count, mean) for mean, count in pools]) if pools else values
