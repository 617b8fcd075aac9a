"""Waiting texts share batches: every request gets its own answers, from the model that it was asked of."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from asdfd.base.errors import RefusedError
from asdfd.models.encoding import Input
from asdfd.serving.answering import Model
from asdfd.serving.batching import LARGEST_BATCH, LOOKED_AT, Batches
from tests.patience import PATIENCE


class Counting:
    """A model that answers how long a text is, and notes its batches; the first one waits until it is let go."""

    def __init__(self, version: str = "a", sign: float = 1.0) -> None:
        self.batches: list[list[str]] = []
        self.go = threading.Event()
        self.model = Model("counting", version, "onnx", ("short", "long"), self.logits)
        self._sign = sign

    def logits(self, inputs: Sequence[Input]) -> np.ndarray:
        texts = [text for text in inputs if isinstance(text, str)]
        self.batches.append(texts)
        if len(self.batches) == 1:
            assert self.go.wait(PATIENCE)
        if "nonsense" in texts:
            raise RefusedError("not finite")
        return np.array([[0.0, self._sign * len(text) / 100] for text in texts])


def expected(texts: Sequence[str], sign: float = 1.0) -> np.ndarray:
    """Probabilities that `Counting` means."""
    long = 1 / (1 + np.exp([-sign * len(text) / 100 for text in texts]))
    return np.stack([1 - long, long], axis=1)


async def asked(batches: Batches, model: Model, *requests: list[str]) -> list[asyncio.Task[np.ndarray]]:
    """Requests, each of which has come to wait."""
    tasks = [asyncio.create_task(batches.answer(model, texts)) for texts in requests]
    await asyncio.sleep(0)
    return tasks


def test_what_comes_while_the_thread_is_busy_shares_the_next_batch() -> None:
    async def run() -> None:
        counting, sizes = Counting(), []
        batches = Batches(1, sizes.append)
        first = await asked(batches, counting.model, ["first"])
        others = [[f"{number}" * (1 + number)] * (1 + number % 3) for number in range(5)]
        later = await asked(batches, counting.model, *others)
        assert batches.waiting == sum(map(len, others))
        counting.go.set()
        for texts, task in zip([["first"], *others], [*first, *later], strict=True):
            np.testing.assert_allclose(await task, expected(texts))
        assert sizes == [1, sum(map(len, others))]
        assert batches.waiting == 0

    asyncio.run(run())


def test_a_large_request_is_answered_in_its_own_order() -> None:
    async def run() -> None:
        counting = Counting()
        counting.go.set()
        texts = [("x" * (7 * number % 101)) for number in range(3 * LARGEST_BATCH + 5)]
        batches = Batches(2)
        np.testing.assert_allclose(await batches.answer(counting.model, texts), expected(texts))
        assert max(map(len, counting.batches)) == LARGEST_BATCH
        assert sorted(text for batch in counting.batches for text in batch) == sorted(texts)

    asyncio.run(run())


def test_texts_of_like_length_share_a_batch_and_the_oldest_never_waits() -> None:
    async def run() -> None:
        counting = Counting()
        batches = Batches(1)
        tasks = await asked(batches, counting.model, ["first"], ["x" * 100], *([["x"]] * LARGEST_BATCH), *([["x" * 99]] * 3))
        counting.go.set()
        await asyncio.gather(*tasks)
        assert [len(text) for text in counting.batches[1]][:4] == [100, 99, 99, 99], "the one that waited longest, then those that are as long"
        assert len(counting.batches[1]) == LARGEST_BATCH <= LOOKED_AT

    asyncio.run(run())


def test_a_request_is_answered_by_the_model_that_it_was_asked_of() -> None:
    async def run() -> None:
        old, new = Counting("old"), Counting("new", -1.0)
        new.go.set()
        batches = Batches(1)
        first = await asked(batches, old.model, ["first"], ["one", "three"])
        second = await asked(batches, new.model, ["one", "three"])
        third = await asked(batches, old.model, ["late"])
        old.go.set()
        np.testing.assert_allclose(await second[0], expected(["one", "three"], -1.0))
        np.testing.assert_allclose(await first[1], expected(["one", "three"]))
        np.testing.assert_allclose(await third[0], expected(["late"]))
        assert new.batches == [["one", "three"]]

    asyncio.run(run())


def test_a_batch_that_fails_fails_its_requests_and_no_other() -> None:
    async def run() -> None:
        counting = Counting()
        counting.go.set()
        batches = Batches(1)
        await batches.answer(counting.model, ["fine"])
        with pytest.raises(RefusedError, match="not finite"):
            await batches.answer(counting.model, ["nonsense", *["x" * 50] * (2 * LARGEST_BATCH)])
        np.testing.assert_allclose(await batches.answer(counting.model, ["fine"]), expected(["fine"]))

    asyncio.run(run())
