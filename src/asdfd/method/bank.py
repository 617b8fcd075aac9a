"""The bank: pseudo samples in parts of a fixed size, one safetensors file each, memory-mapped when read.

Entries hold what lies between the special tokens. Token entries are integers, embedding entries float16 rows; both are stored end to end without padding.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from asdfd.base.artifacts import sync
from asdfd.base.errors import InputError
from asdfd.method.prior import Frame

PART = 1024
"""Entries of a part. It is a constant, so that a bank is the same files however many shards made it."""

_NAME = re.compile(r"^part-(\d{5})\.safetensors$")


@dataclass(frozen=True)
class Guessed:
    """What guessing gave of N entries, for a person to see: the distillation asks the teacher anew in every step, and reads nothing of it."""

    targets: Tensor
    """Class that each entry was driven to, int32 [N]; where there can be several labels, 0 or 1 for each of them, int32 [N, C]."""
    teacher_logits: Tensor
    """The teacher's logits, float32 [N, C]."""
    confidence: Tensor
    """The teacher's probability of the target, float32 [N]."""
    converged_round: Tensor
    """First round after which the confidence was reached, -1 where it never was, int32 [N]."""


@dataclass(frozen=True)
class Entries:
    """Some of a bank's entries, N in number, with T content tokens in all."""

    lengths: Tensor
    """Content tokens of each entry, int32 [N]."""
    content: Tensor
    """Token ids int32 [T], or embeddings float16 [T, D]."""
    guessed: Guessed | None = None
    """What guessing gave; None for entries that are kept as they were drawn."""
    first_lengths: Tensor | None = None
    """Content tokens of the first text of each pair, int32 [N]; None where entries are single texts."""

    def tensors(self) -> dict[str, Tensor]:
        """The fields by name, contiguous; without those that there are none of."""
        fields = {"lengths": self.lengths, "content": self.content, "first_lengths": self.first_lengths, **(vars(self.guessed) if self.guessed else {})}
        return {name: value.contiguous() for name, value in fields.items() if value is not None}


def concatenate(pieces: list[Entries]) -> Entries:
    """Entries of all pieces, in order."""
    lengths, content = (torch.cat([getattr(piece, name) for piece in pieces]) for name in ("lengths", "content"))
    guessed = [piece.guessed for piece in pieces if piece.guessed is not None]
    found = Guessed(**{name: torch.cat([getattr(piece, name) for piece in guessed]) for name in Guessed.__dataclass_fields__}) if guessed else None
    firsts = [piece.first_lengths for piece in pieces if piece.first_lengths is not None]
    return Entries(lengths, content, found, torch.cat(firsts) if firsts else None)


def part_count(samples: int) -> int:
    """Parts of a bank of `samples` entries."""
    return -(-samples // PART)


def part_range(part: int, samples: int) -> range:
    """Entries of one part."""
    return range(part * PART, min((part + 1) * PART, samples))


def part_path(folder: Path, part: int) -> Path:
    """File of one part."""
    return folder / f"part-{part:05d}.safetensors"


def write_part(folder: Path, part: int, entries: Entries) -> None:
    """Write a part so that it is whole or not there."""
    path = part_path(folder, part)
    temporary = path.with_suffix(".tmp")
    save_file(entries.tensors(), temporary)
    sync(temporary)
    temporary.replace(path)


def parts_in(folder: Path) -> list[int]:
    """Numbers of the parts that a folder holds, in order."""
    matches = [_NAME.match(path.name) for path in folder.iterdir()]
    return sorted(int(match.group(1)) for match in matches if match)


class Bank:
    """Reads a bank's parts through memory maps: only the rows that are asked for are read from disk."""

    def __init__(self, folder: Path) -> None:
        """Open a folder of parts.

        Raises:
            InputError: the parts do not follow each other from zero.
        """
        parts = parts_in(folder)
        if not parts or parts != list(range(len(parts))):
            raise InputError(
                f"{folder}: a bank's parts are missing (found {parts or 'none'}); "
                "put all shards together with `asdfd merge`, or make it again with `asdfd synthesize`"
            )
        self._files = [safe_open(part_path(folder, part), framework="pt") for part in parts]
        self.lengths = np.concatenate([file.get_tensor("lengths").numpy() for file in self._files])
        """Content tokens of each entry, int32 [N]; kept in memory."""
        paired = ["first_lengths" in file.keys() for file in self._files]  # noqa: SIM118  # a file of safetensors is no mapping
        self.first_lengths = np.concatenate([file.get_tensor("first_lengths").numpy() for file in self._files]) if all(paired) else None
        """Content tokens of the first text of each pair, int32 [N]; None where entries are single texts."""
        self._starts = np.concatenate([_starts(file.get_tensor("lengths").numpy()) for file in self._files])

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def pairs(self) -> bool:
        """Whether entries are pairs of texts."""
        return self.first_lengths is not None

    @property
    def forms(self) -> np.ndarray:
        """A number for each entry, int64 [N], which entries share that have the same lengths and so fit into one batch."""
        return self.lengths.astype(np.int64) + (0 if self.first_lengths is None else self.first_lengths.astype(np.int64) << 32)

    def frame(self, frame: Frame, row: int) -> Frame:
        """The frame of an entry and of those that share its form."""
        return frame if self.first_lengths is None else frame.at(int(self.first_lengths[row]))

    @cached_property
    def holds_tokens(self) -> bool:
        """Whether entries are token ids (else embeddings)."""
        return len(self._files[0].get_slice("content").get_shape()) == 1

    @cached_property
    def guessed(self) -> bool:
        """Whether entries were guessed, so that what that gave is known of each."""
        return "teacher_logits" in self._files[0].keys()  # noqa: SIM118  # no mapping

    @cached_property
    def embedding_width(self) -> int:
        """Width D of embedding entries, 0 for token entries."""
        return 0 if self.holds_tokens else self._files[0].get_slice("content").get_shape()[1]

    def content(self, rows: np.ndarray) -> Tensor:
        """Content of entries of one length: token ids int64 [B, L] or embeddings float32 [B, L, D]."""
        pieces = []
        for row in rows.tolist():
            start = int(self._starts[row])
            pieces.append(self._files[row // PART].get_slice("content")[start : start + int(self.lengths[row])])
        content = torch.stack(pieces)
        return content.long() if self.holds_tokens else content.float()

    def field(self, name: str) -> Tensor:
        """One small field of all entries of a bank that was guessed: targets, teacher_logits, confidence or converged_round."""
        return torch.cat([file.get_tensor(name) for file in self._files])


def _starts(lengths: np.ndarray) -> np.ndarray:
    """Where each entry's content starts in its part."""
    return np.cumsum(lengths, dtype=np.int64) - lengths
