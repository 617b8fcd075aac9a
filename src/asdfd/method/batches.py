"""Which bank entries a step learns from: shuffled epochs of batches whose entries have one length, so that no padding and no attention mask is needed."""

from __future__ import annotations

import numpy as np

from asdfd.method.randomness import generator


class Batches:
    """The batch of every step, a function of the seed and the step alone (a resumed run draws what a straight one draws)."""

    def __init__(self, lengths: np.ndarray, batch_size: int, seed: int) -> None:
        """`lengths` [N] are the entries' content lengths."""
        self._by_length = [np.flatnonzero(lengths == length) for length in np.unique(lengths)]
        self._batch_size = batch_size
        self._seed = seed
        self.per_epoch = sum(max(1, len(rows) // batch_size) for rows in self._by_length)
        """Batches of an epoch; entries that do not fill a batch wait for another epoch, a length with fewer than one batch makes a small one."""
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
        for rows in self._by_length:
            shuffled = random.permutation(rows)
            whole = max(1, len(rows) // self._batch_size)
            batches += [shuffled[i * self._batch_size : (i + 1) * self._batch_size] for i in range(whole)]
        return [batches[i] for i in random.permutation(len(batches))]
