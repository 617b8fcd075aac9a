"""How near two computed values have to be, and why no nearer.

A sum of products has one value on paper and several in float32: which one comes out depends on the order of the additions, and so on the instructions that a
processor has, on the number of threads, on how many rows share a product, and on where a matrix begins in memory. (Weights that are mapped from a file begin
anywhere, copies of them at multiples of 64 bytes; on some machines the same model gives other last bits for the two.) A test compares such values with a
tolerance. Bit for bit is for what was copied, drawn or written: weights, files, token ids, counts. A whole computation has the same bits again only where one
machine does the same with as many threads, from the same files in the same kind of process, and a test that asks for that says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

FORWARD = 2e-5
"""One pass through a tiny model, or its gradient: a rounding of float32 is 6e-8 of a value, some hundred follow each other, and about 1e-6 is seen. A weight in
the wrong place, a lost bias, a mask or a layer too many change logits by 1e-2 and more."""

TRAINED = 2e-4
"""Losses of a few steps of training: each step carries on the roundings of those before, and Adam makes a small gradient's as large as a large one's."""


def difference(found: Tensor | np.ndarray | Sequence[Any], expected: Tensor | np.ndarray | Sequence[Any]) -> float:
    """The largest difference of two arrays of one shape, in units of the largest expected value, or of 1 where that is less; NaN where there is one."""
    one, other = (torch.as_tensor(each).detach().double() for each in (found, expected))
    assert one.shape == other.shape
    return (one - other).abs().max().item() / max(1.0, other.abs().max().item())


def assert_close(found: Tensor | np.ndarray | Sequence[Any], expected: Tensor | np.ndarray | Sequence[Any], tolerance: float = FORWARD, told: str = "") -> None:
    """The same shape, and no `difference` above the tolerance.

    Raises:
        AssertionError: it is not so.
    """
    apart = difference(found, expected)
    assert apart <= tolerance, f"{told or 'values'}: {apart:.1e} apart, {tolerance:.0e} is allowed"
