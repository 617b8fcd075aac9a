"""Waiting texts share a batch. Nobody waits for others to come: a thread that is free takes what waits by then, so batches grow with the load alone."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

import numpy as np

from asdfd.models.encoding import Input
from asdfd.serving.answering import Model

LARGEST_BATCH = 32
"""Texts of one batch: more of them are no faster on a processor, and the first one waits longer."""
LOOKED_AT = 4 * LARGEST_BATCH
"""Waiting texts among which those of a batch are chosen, by their length: a batch costs what its longest text costs, times its size."""


@dataclass(eq=False)
class _Request:
    """Texts that one model answers together, and their answers as far as they are there."""

    model: Model
    answered: asyncio.Future[np.ndarray]
    rows: list[np.ndarray | None]
    left: int


@dataclass(eq=False)
class _Text:
    """A text that waits, or a pair of them."""

    request: _Request
    place: int
    text: Input
    length: int


@dataclass
class Batches:
    """The waiting texts and the threads that answer them. All but the forward passes happens on the event loop."""

    threads: int
    measured: Callable[[int], None] = lambda _: None
    """Told the size of every batch."""
    _waiting: deque[_Text] = field(default_factory=deque)
    _busy: int = 0

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="answer")

    @property
    def waiting(self) -> int:
        """Texts that no thread has taken yet."""
        return len(self._waiting)

    async def answer(self, model: Model, texts: Sequence[Input]) -> np.ndarray:
        """Probabilities [N, C] of the texts, or pairs of them, all by this model, whatever is switched meanwhile.

        Raises:
            RefusedError: the model's answers are not finite.
        """
        request = _Request(model, asyncio.get_running_loop().create_future(), [None] * len(texts), len(texts))
        self._waiting.extend(_Text(request, place, text, sum(map(len, text)) if isinstance(text, tuple) else len(text)) for place, text in enumerate(texts))
        self._start()
        return await request.answered

    def close(self) -> None:
        """Let the threads go."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        """Give every free thread a batch."""
        while self._busy < self.threads and self._waiting:
            batch = self._take()
            self._busy += 1
            self.measured(len(batch))
            work = asyncio.get_running_loop().run_in_executor(self._pool, batch[0].request.model.probabilities, [text.text for text in batch])
            work.add_done_callback(partial(self._done, batch))

    def _take(self) -> list[_Text]:
        """The text that has waited longest, and those of its model beside it that are nearest to it in length."""
        oldest = self._waiting[0]
        looked_at = list(islice(self._waiting, LOOKED_AT))
        alike = [text for text in looked_at if text.request.model is oldest.request.model]
        batch = sorted(alike, key=lambda text: abs(text.length - oldest.length))[:LARGEST_BATCH]  # in a stable order: the oldest is the first
        taken = set(map(id, batch))
        for _ in looked_at:
            self._waiting.popleft()
        self._waiting.extendleft(text for text in reversed(looked_at) if id(text) not in taken)
        return batch

    def _done(self, batch: list[_Text], work: asyncio.Future[np.ndarray]) -> None:
        """Hand the answers out, and take the next batch."""
        self._busy -= 1
        self._start()
        error = work.exception()
        for row, text in enumerate(batch):
            request = text.request
            if request.answered.done():  # another of its batches failed
                continue
            if error is not None:
                request.answered.set_exception(error)
                continue
            request.rows[text.place] = work.result()[row]
            request.left -= 1
            if not request.left:
                request.answered.set_result(np.stack([one for one in request.rows if one is not None]))
