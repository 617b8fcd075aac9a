"""How long pseudo samples are: as long as the teacher's training texts, where its footprint tells that, and as the parameters say otherwise.

A row of absolute positions gets a gradient only from texts that reach it, so the rows that moved tell the longest text exactly. How many texts reached each row
they tell badly: Adam takes steps of one size whether one text of a batch reaches it or all (docs/research.md). So half of the samples keep the usual lengths,
and half are of every order of length up to the longest, where those that fewer texts seem to have reached are rarer.
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


def lengths_of(teacher: Classifier, minimum: int, maximum: int, *, pairs: bool = False) -> Lengths | None:
    """The lengths of samples that take after a teacher's training texts, or pairs of them; None where its footprint tells nothing of those.

    `minimum` and `maximum` are the usual ones, in content tokens; none is shorter than the one, and none longer than the longest text.
    """
    if teacher.footprint is None or not teacher.footprint.positions.any():
        return None
    return revealed_lengths(teacher.footprint.positions, frame_of(teacher.tokenizer, pairs=pairs).length, minimum, maximum)


def revealed_lengths(moved: np.ndarray, special: int, minimum: int, maximum: int) -> Lengths | None:
    """Lengths of texts of which `special` tokens are special ones, from how far each position's row moved, float32 [P]; None where no row that far moved.

    Half of them are of every length from `minimum` to `maximum` alike, as far as texts are that long; of the other half as many are of each order of length,
    from `minimum` to the longest, times the square of how far the row of the last token moved.
    """
    longest = int(np.flatnonzero(moved)[-1]) + 1 - special
    if longest < minimum:
        return None
    lengths = np.arange(minimum, longest + 1)
    usual = (lengths <= maximum).astype(np.float64)
    spread = falling(moved[lengths + special - 1].astype(np.float64) ** 2) / lengths
    return Lengths(lengths, (usual / usual.sum() + spread / spread.sum()) / 2)


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
