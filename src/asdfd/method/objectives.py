"""Losses of synthesis and distillation. Shapes: B batch, L sequence, H hidden width, C classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def soft_target_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float, *, several: bool = False) -> Tensor:
    """Mean over the batch of KL(teacher || student) at `temperature`, times its square (Hinton et al., "Distilling the Knowledge in a Neural Network").

    Logits are [B, C]. The square keeps the gradient's size independent of the temperature. Where a text can have `several` labels, each is a Bernoulli variable
    with a temperature of its own logit, and the divergence of all is the sum of theirs.
    """
    if several:
        return bernoulli_divergence(student_logits / temperature, teacher_logits / temperature).mean() * temperature**2
    student = F.log_softmax(student_logits / temperature, dim=-1)
    teacher = F.log_softmax(teacher_logits / temperature, dim=-1)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2


def bernoulli_divergence(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """KL(teacher || student), [B], of independent labels with logits [B, C]."""
    sides = [F.logsigmoid(sign * teacher_logits).exp() * (F.logsigmoid(sign * teacher_logits) - F.logsigmoid(sign * student_logits)) for sign in (1, -1)]
    return (sides[0] + sides[1]).sum(-1)


def answered(logits: Tensor, *, several: bool) -> Tensor:
    """What a model with logits [B, C] answers: a class each, int64 [B], or where there can be several labels the set of them, bool [B, C]."""
    return logits > 0 if several else logits.argmax(-1)


def same_answers(one: Tensor, other: Tensor) -> Tensor:
    """Where two models give the same class, or the very same labels: bool [B]."""
    return one == other if one.ndim == 1 else (one == other).all(-1)


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


def class_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Minus the logarithm of the probability of each target, [B]: of a class id [B] by softmax, of a set of labels [B, C] by the sigmoid of each."""
    if targets.ndim == 1:
        return F.cross_entropy(logits, targets, reduction="none")
    return F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none").sum(-1)


def probabilities(logits: Tensor, targets: Tensor) -> Tensor:
    """The probability of each target, [B], see `class_losses`."""
    return logits.softmax(-1).gather(1, targets.unsqueeze(1)).squeeze(1) if targets.ndim == 1 else (-class_losses(logits, targets)).exp()


def class_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of [B, C] logits against the targets, see `class_losses`, summed over the batch: a sample's gradient does not depend on its batch."""
    return F.cross_entropy(logits, targets, reduction="sum") if targets.ndim == 1 else class_losses(logits, targets).sum()
