"""Losses of synthesis and distillation. Shapes: B batch, L sequence, H hidden width, C classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def soft_target_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Mean over the batch of KL(teacher || student) at `temperature`, times its square (Hinton et al., "Distilling the Knowledge in a Neural Network").

    Logits are [B, C]. The square keeps the gradient's size independent of the temperature.
    """
    student = F.log_softmax(student_logits / temperature, dim=-1)
    teacher = F.log_softmax(teacher_logits / temperature, dim=-1)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2


def hidden_state_loss(
    student_hidden: Sequence[Tensor], teacher_hidden: Sequence[Tensor], batch_mean: Callable[[Tensor], Tensor] = lambda means: means
) -> Tensor:
    """Mean over the matched layers of the squared distance of hidden states, in units of the teacher's mean square.

    Both sequences hold [B, L, H] tensors, matched one by one; a value of 1 means "as far away as zero is". Where they are a share of a batch, `batch_mean`
    makes means over the whole batch of the teacher's mean squares, one for each layer, so that all shares are measured in the same units.
    """
    units = batch_mean(torch.stack([teacher.square().mean() for teacher in teacher_hidden]))
    losses = [F.mse_loss(student, teacher) / unit for student, teacher, unit in zip(student_hidden, teacher_hidden, units, strict=True)]
    return torch.stack(losses).mean()


def class_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of [B, C] logits against [B] class ids, summed over the batch, so that a sample's gradient does not depend on its batch."""
    return F.cross_entropy(logits, targets, reduction="sum")
