"""The footprint: what fine-tuning moved in a teacher's tables of words and positions.

A row of the word table gets a gradient only where its token occurs, so the rows that moved against the public encoder's are the vocabulary of the training
texts, and how each moved tells how often it occurred. Rows of absolute positions moved up to the longest of those texts, as far as they were cut. Weight
decay shrinks all rows by one factor, which is found and taken out. Two weights of each token are compared, no text is read.

Adam divides a gradient by the root of the mean square of those before it. So a token's first occurrence moves all numbers of its row alike, whatever the
gradient, and each further one by less, in a direction of its own: the distance grows with the logarithm of the count alone, but the move's shape goes from
even to that of a sum of many steps, with some numbers far ahead. Both tell about the count, and so does the length of the encoder's own row, which is short
for words that its pretraining saw often.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FILE = "footprint.npz"
"""File of a teacher artifact that holds its footprint, where the public encoder was named; not *.safetensors, since it is no weight of the model."""
ROUNDING = 1e-5
"""Distance, in root-mean-square lengths of a row, that rounding moves a row by at most."""
QUIET_SHARE = 0.05
"""Share of the rows that are taken for ones that no text moved; how far those are away is noise of another kind, such as weights kept in 16 bits."""
ABOVE_NOISE = 3.0
"""How many times as far as that a row must be away to count as moved."""
LARGEST_NOISE = 1e-2
"""Noise, in root-mean-square lengths of a row, above which nothing can be told: the whole table was moved, and not by words that occur."""
SMALLEST_LIKENESS = 0.5
"""Cosine of the rows of two tables, at the median, below which one was not fine-tuned from the other."""


SHORTEST = 0.1
"""Length of an encoder's row, in root-mean-square lengths, below which it is taken for so long: a row of zeros would have occurred without end."""
MOVE_POWER = 1.5
PEAK_POWER = 2.3
LENGTH_POWER = -1.7
"""Powers of a row's traces in the estimate of how often its token occurred, see benchmarks/footprint_counts.py."""


@dataclass(frozen=True)
class Footprint:
    """What the tables tell of the training texts."""

    tokens: np.ndarray
    """How often each token occurred, as far as its row tells, as a share of all, float32 [V]; 0 is a row that did not move."""
    positions: np.ndarray
    """How far each row of absolute positions moved, in root-mean-square lengths of a row, float32 [P]; empty where there is none, or none moved."""
    base: str
    """The encoder's digest."""

    @property
    def moved(self) -> int:
        """Tokens whose rows moved."""
        return int(np.count_nonzero(self.tokens))

    def facts(self) -> dict[str, Any]:
        """What it reveals, for reports."""
        reached = int(np.flatnonzero(self.positions)[-1]) + 1 if self.positions.any() else 0
        return {"tokens_of_the_training_texts": self.moved, "tokens_of_the_vocabulary": len(self.tokens), "positions_moved": reached, "encoder": self.base}


@dataclass(frozen=True)
class Drift:
    """What happened to rows that no text moved."""

    decay: float
    """The factor by which weight decay shrank every row."""
    noise: float
    """Distance from there that says nothing, in the unit of the table."""
    problem: str
    """Why nothing can be told of the tables: the word table was `frozen`, `moved everywhere`, or is `unlike` the encoder's. Empty where something can."""


def drift(tuned: np.ndarray, base: np.ndarray) -> Drift:
    """The drift of a teacher's word table [V, D] from the encoder's."""
    lengths, unit = np.linalg.norm(base, axis=1), root_mean_square(base)
    known = lengths > 0
    products = (tuned * base).sum(axis=1)[known]
    cosines = products / (lengths[known] * np.maximum(np.linalg.norm(tuned, axis=1)[known], np.finfo(np.float32).tiny))
    if not known.any() or np.median(cosines) < SMALLEST_LIKENESS:
        return Drift(1.0, 0.0, "unlike")
    decay = float(np.median(products / lengths[known] ** 2))
    away = np.linalg.norm(tuned - decay * base, axis=1)
    noise = float(ROUNDING * unit + ABOVE_NOISE * np.quantile(away, QUIET_SHARE))
    return Drift(decay, noise, "moved everywhere" if noise > LARGEST_NOISE * unit else "" if (away > noise).any() else "frozen")


def moves(tuned: np.ndarray, base: np.ndarray, since: Drift) -> np.ndarray:
    """How far each row of a table [R, D] moved beside the drift, float32 [R], in root-mean-square lengths of the encoder's rows; 0 for noise."""
    away = np.linalg.norm(tuned - since.decay * base, axis=1)
    return np.where(away > since.noise, away / root_mean_square(base), 0).astype(np.float32)


@dataclass(frozen=True)
class Traces:
    """What fine-tuning left of each token in the word table, float32 [V] each."""

    moves: np.ndarray
    """How far the row moved, see `moves`; 0 is a row that did not."""
    peaks: np.ndarray
    """The farthest of the row's numbers, in root-mean-square distances of all of them: 1 where all moved alike."""
    lengths: np.ndarray
    """Of the encoder's row, in root-mean-square lengths."""

    def occurrences(self) -> np.ndarray:
        """How often each token seems to have occurred, as a share of all, float32 [V]; 0 where the row did not move."""
        seen = self.moves > 0
        found = np.zeros(len(self.moves))
        lengths = np.maximum(self.lengths[seen], SHORTEST)
        found[seen] = self.moves[seen] ** MOVE_POWER * self.peaks[seen] ** PEAK_POWER * lengths**LENGTH_POWER
        return (found / max(found.sum(), np.finfo(np.float64).tiny)).astype(np.float32)


def traces(tuned: np.ndarray, base: np.ndarray, since: Drift) -> Traces:
    """The traces in a teacher's word table [V, D] beside the drift from the encoder's."""
    away = np.abs(tuned - since.decay * base)
    peaks = away.max(axis=1) / np.maximum(np.sqrt((away**2).mean(axis=1)), np.finfo(np.float32).tiny)
    lengths = np.linalg.norm(base, axis=1) / root_mean_square(base)
    return Traces(moves(tuned, base, since), peaks.astype(np.float32), lengths.astype(np.float32))


def root_mean_square(table: np.ndarray) -> float:
    """Root-mean-square length of a row of the table [R, D]."""
    return float(np.sqrt((table.astype(np.float64) ** 2).sum(axis=1).mean()))


def write_footprint(footprint: Footprint, folder: Path) -> None:
    """Put the footprint into a teacher's folder; the same one is the same bytes."""
    np.savez(folder / FILE, tokens=footprint.tokens, positions=footprint.positions, base=np.array(footprint.base))


def read_footprint(folder: Path) -> Footprint | None:
    """The footprint in the folder of a teacher that was verified; None where the encoder was not named, or nothing could be told."""
    if not (folder / FILE).is_file():
        return None
    with np.load(folder / FILE, allow_pickle=False) as file:
        return Footprint(file["tokens"], file["positions"], str(file["base"]))


def named_base(config: Mapping[str, Any], reference: str) -> str:
    """The encoder that a teacher's config.json says it was made from; empty where it says nothing, or the teacher itself.

    It is a name without a revision or a path of somebody's machine, so it is told and never fetched.
    """
    name = config.get("_name_or_path")
    return name if isinstance(name, str) and name and name not in reference else ""
