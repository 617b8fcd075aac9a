"""The adversary: make pseudo embeddings harder for the student while the teacher's class holds.

Ascent on the student's self-supervised loss minus the teacher's cross-entropy on the class, in normalised steps. Only samples on which student and teacher
agree are made harder (an agreement mask, as in decision-adversarial distillation), and a result is taken only if the teacher still names the class, so labels
stay trustworthy. Harder entries replace the bank's until they are forgotten. Shapes: B batch, L content tokens, D embedding width.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from asdfd.base.config import Distillation
from asdfd.method.objectives import answered, class_loss, same_answers
from asdfd.method.prior import Frame
from asdfd.method.selfsup import MaskedEmbeddingHead, mask_embeddings, masked_embedding_losses
from asdfd.method.synthesis import answers, framed, normalised, row_length
from asdfd.models.classifiers import Classifier, signals


@dataclass(frozen=True)
class Hardened:
    """Result of one ascent."""

    embeddings: Tensor
    """Content embeddings, the harder ones where they were taken, [B, L, D]."""
    taken: Tensor
    """Which samples became harder, bool [B]."""
    loss_before: Tensor
    """Self-supervised loss of each sample before the ascent, [B]."""
    loss_after: Tensor
    """The same after it, [B]."""


def harden(
    teacher: Classifier, student: PreTrainedModel, head: MaskedEmbeddingHead, frame: Frame, content: Tensor, mask: Tensor, config: Distillation
) -> Hardened:
    """Ascend from content embeddings [B, L, D] with the masked positions `mask` [B, prefix + L + suffix]. No gradient reaches student, head or teacher."""
    table = teacher.embedding_table
    step = config.ascent_step_size * row_length(table)
    with torch.no_grad():
        classes = answered(answers(teacher.model, content, frame, table), several=teacher.several)
        agreed = same_answers(answered(answers(student, content, frame, table), several=teacher.several), classes)
        types = frame.token_types(content)
    harder, before = content, None
    for _ in range(config.ascent_rounds):
        moving = harder.detach().requires_grad_(True)
        losses = selfsup_losses(student, head, framed(moving, frame, table), mask, types)
        before = losses.detach() if before is None else before
        held = class_loss(answers(teacher.model, moving, frame, table), classes)
        (gradient,) = torch.autograd.grad(losses.sum() - config.class_weight * held, moving)
        harder = harder + step * normalised(gradient)
    with torch.no_grad():
        after = selfsup_losses(student, head, framed(harder, frame, table), mask, types)
        taken = agreed & same_answers(answered(answers(teacher.model, harder, frame, table), several=teacher.several), classes)
    before = after if before is None else before
    return Hardened(torch.where(taken[:, None, None], harder.detach(), content), taken, before, torch.where(taken, after, before))


def selfsup_losses(student: PreTrainedModel, head: MaskedEmbeddingHead, embeddings: Tensor, mask: Tensor, types: Tensor | None = None) -> Tensor:
    """Self-supervised loss of each sample, [B], of framed embeddings [B, prefix + L + suffix, D] and, of pairs, their token types."""
    hidden = signals(student, mask_embeddings(embeddings, mask, head), types).hidden[-1]
    return masked_embedding_losses(head, hidden, embeddings, mask)


@dataclass
class HardenedEntries:
    """The harder versions of bank entries, in float16; the oldest are forgotten when there are more than `capacity`."""

    capacity: int
    _entries: OrderedDict[int, Tensor] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self._entries)

    def write(self, rows: np.ndarray, hardened: Hardened) -> None:
        """Keep the taken samples of a batch under their rows of the bank."""
        for row, taken, embeddings in zip(rows.tolist(), hardened.taken.tolist(), hardened.embeddings.to(torch.float16).cpu(), strict=True):
            if taken:
                self._entries.pop(row, None)
                self._entries[row] = embeddings.clone()
        while len(self._entries) > self.capacity:
            self._entries.popitem(last=False)

    def replace_in(self, rows: np.ndarray, content: Tensor) -> Tensor:
        """Content embeddings [B, L, D] of bank rows with the harder versions where there are some."""
        found = [(place, self._entries[row]) for place, row in enumerate(rows.tolist()) if row in self._entries]
        if found:
            places = torch.tensor([place for place, _ in found], device=content.device)
            content = content.index_copy(0, places, torch.stack([entry for _, entry in found]).to(content))
        return content

    def tensors(self) -> dict[str, Tensor]:
        """The entries as named tensors, oldest first, for a checkpoint."""
        return {f"{place:08d}.{row}": entry for place, (row, entry) in enumerate(self._entries.items())}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take the entries back from a checkpoint's tensors."""
        self._entries = OrderedDict((int(name.split(".")[1]), tensors[name]) for name in sorted(tensors))
