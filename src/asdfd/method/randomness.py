"""Random numbers that depend on what they are for, not on what was drawn before.

A stream is named by its purpose and its indices (an entry, a step), so shards, batches and resumed runs draw the same numbers as one straight run.
"""

from __future__ import annotations

import zlib

import numpy as np


def generator(seed: int, purpose: str, *indices: int) -> np.random.Generator:
    """Generator of the stream (seed, purpose, indices); equal arguments give equal numbers on every machine."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), *indices])))
