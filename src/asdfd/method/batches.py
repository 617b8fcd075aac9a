"""Which bank entries a step learns from: shuffled epochs of batches whose entries have one form, so that no padding and no attention mask is needed."""

from __future__ import annotations

import numpy as np

from asdfd.method.randomness import generator

USUAL_TOKENS = 14
"""Tokens of an entry where nothing is known of the training texts' lengths: 4 to 20, 12 at the mean, and two special ones."""


class Batches:
    """The batch of every step, a function of the seed and the step alone (a resumed run draws what a straight one draws)."""

    def __init__(self, lengths: np.ndarray, batch_size: int, seed: int, special: int | None = None, *, forms: np.ndarray | None = None) -> None:
        """`lengths` [N] are the entries' content lengths; of pairs, `forms` [N] are numbers that entries share whose texts have the same lengths.

        With `special`, the number of special tokens of an entry, every batch has about as many tokens as one of `batch_size` entries of the usual length has:
        short entries come in larger batches and long ones in smaller ones, so that a step costs the same.
        """
        forms = lengths if forms is None else forms
        self._by_form = [np.flatnonzero(forms == form) for form in np.unique(forms)]
        tokens = [int(lengths[rows[0]]) for rows in self._by_form]
        self._sizes = [batch_size if special is None else max(1, round(batch_size * USUAL_TOKENS / (length + special))) for length in tokens]
        self._seed = seed
        self.per_epoch = sum(max(1, len(rows) // size) for rows, size in zip(self._by_form, self._sizes, strict=True))
        """Batches of an epoch; entries that do not fill a batch wait for another epoch, a form with fewer than one batch makes a small one."""
        self._epoch: tuple[int, list[np.ndarray]] = (-1, [])

    def rows(self, step: int) -> np.ndarray:
        """Entries of step `step`, int64 [B]."""
        epoch, place = divmod(step, self.per_epoch)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._draw(epoch))
        return self._epoch[1][place]

    def _draw(self, epoch: int) -> list[np.ndarray]:
        random = generator(self._seed, "batches", epoch)
        batches: list[np.ndarray] = []
        for rows, size in zip(self._by_form, self._sizes, strict=True):
            shuffled = random.permutation(rows)
            whole = max(1, len(rows) // size)
            batches += [shuffled[i * size : (i + 1) * size] for i in range(whole)]
        return [batches[i] for i in random.permutation(len(batches))]
