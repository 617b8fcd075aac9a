"""The method as one would first write it: a plain loop in PyTorch and transformers, with nothing of asdfd, to tell what asdfd's way of doing it saves.

Every round draws fresh Gaussian embeddings, guesses them with a few Adam steps against the teacher, has a self-supervised adversary make them harder, uses them
for one step of the student, and throws them away. Lengths differ inside a batch, so attention masks are passed; losses are means over the batch; the teacher's
parameters require gradients, as `from_pretrained` leaves them; the teacher is asked anew whenever its answer is needed. Nothing is slowed down on purpose: the
Gaussian has the statistics of the teacher's embedding table, the student starts from the teacher's layers, and losses, weights, batch size, learning rate and
its schedule are those that asdfd uses.

Shapes: B batch, L sequence, D embedding width, H hidden width, C classes.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

BATCH_SIZE = 32
MINIMUM_LENGTH, MAXIMUM_LENGTH = 4, 20
GUESSING_STEPS, GUESSING_RATE = 5, 0.01
ASCENT_STEPS, ASCENT_RATE = 2, 0.005
MASKED_SHARE = 0.15
ADVERSARY_WARMUP = 0.3
LEARNING_RATE, WARMUP, WEIGHT_DECAY, GRADIENT_NORM = 4e-4, 0.1, 0.01, 1.0
TEMPERATURE, HIDDEN_WEIGHT, SELFSUP_WEIGHT = 2.0, 4.0, 0.1


@dataclass(frozen=True)
class Look:
    """The student's accuracy along the way."""

    seconds: float
    """Processor time of the rounds so far; looking is not counted."""
    rounds: int
    accuracy: float


@dataclass
class Models:
    """Teacher, student, the self-supervised head, and the teacher's embeddings of the special tokens."""

    teacher: PreTrainedModel
    student: PreTrainedModel
    head: nn.Module
    classes: int
    mean: Tensor
    """Mean row [D] of the teacher's embedding table."""
    deviation: Tensor
    """Standard deviation [D] of its rows."""
    special: Tensor
    """Embeddings [3, D] of [CLS], [SEP] and [MASK]."""
    layers: Sequence[int]
    """Teacher layers, from 0, that the student is made of."""


def load(folder: Path, layers: Sequence[int]) -> Models:
    """The teacher in a BERT folder, and a student with some of its layers."""
    teacher = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    student = copy.deepcopy(teacher)
    student.bert.encoder.layer = nn.ModuleList([student.bert.encoder.layer[i] for i in layers])
    student.config.num_hidden_layers = len(layers)
    table = teacher.get_input_embeddings().weight.detach()
    head = nn.Linear(teacher.config.hidden_size, table.shape[1])
    special = table[[tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.mask_token_id]]
    return Models(teacher.eval(), student.eval(), head, len(teacher.config.id2label), table.mean(0), table.std(0), special, layers)


def distil(folder: Path, layers: Sequence[int], budget: float, looks: int, look_at: Callable[[nn.Module], float], enough: float, seed: int = 0) -> list[Look]:
    """One run of `budget` seconds of processor time, looked at `looks` times along the way, the last time at its final student; it ends early when a look finds
    the accuracy `enough`."""
    torch.manual_seed(seed)
    models = load(folder, layers)
    trained = [*models.student.parameters(), *models.head.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    found: list[Look] = []
    spent, rounds = 0.0, 0
    while len(found) < looks and not (found and found[-1].accuracy >= enough):
        began = time.process_time()
        share = spent / budget
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min((share + 1e-3) / WARMUP, max(0.0, 1 - share) / (1 - WARMUP), 1.0)
        one_round(models, optimizer, trained, adversary=share >= ADVERSARY_WARMUP)
        spent, rounds = spent + time.process_time() - began, rounds + 1
        if spent >= budget * (len(found) + 1) / looks:
            found.append(Look(spent, rounds, look_at(models.student)))
    return found


def one_round(models: Models, optimizer: torch.optim.Optimizer, trained: list[nn.Parameter], adversary: bool) -> float:
    """Make a batch of pseudo embeddings and take one step of the student on it; returns the loss."""
    targets = torch.randint(models.classes, (BATCH_SIZE,))
    embeddings, mask = draw(models)
    embeddings = guess(models, embeddings, mask, targets)
    if adversary:
        embeddings = harden(models, embeddings, mask, targets)
    with torch.no_grad():
        wanted = models.teacher(inputs_embeds=embeddings, attention_mask=mask, output_hidden_states=True)
    found = models.student(inputs_embeds=embeddings, attention_mask=mask, output_hidden_states=True)
    loss = soft_loss(found.logits, wanted.logits) + HIDDEN_WEIGHT * hidden_loss(models, found.hidden_states, wanted.hidden_states, mask)
    loss = loss + SELFSUP_WEIGHT * selfsup_loss(models, embeddings, mask)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(trained, GRADIENT_NORM)
    optimizer.step()
    return loss.item()


def draw(models: Models) -> tuple[Tensor, Tensor]:
    """Gaussian embeddings [B, L, D] between [CLS] and [SEP], each of a length of its own, and their attention mask [B, L]."""
    lengths = torch.randint(MINIMUM_LENGTH, MAXIMUM_LENGTH + 1, (BATCH_SIZE,))
    places = torch.arange(int(lengths.max()) + 2)
    noise = torch.randn(BATCH_SIZE, len(places), len(models.mean))
    embeddings = models.mean + models.deviation * noise
    return pinned(models, embeddings, lengths), (places < lengths[:, None] + 2).long()


def pinned(models: Models, embeddings: Tensor, lengths: Tensor) -> Tensor:
    """The embeddings with [CLS] first and [SEP] after the last token of each."""
    places = torch.arange(embeddings.shape[1])[None, :, None]
    embeddings = torch.where(places == 0, models.special[0], embeddings)
    return torch.where(places == lengths[:, None, None] + 1, models.special[1], embeddings)


def guess(models: Models, embeddings: Tensor, mask: Tensor, targets: Tensor) -> Tensor:
    """Adam steps on the embeddings towards the drawn classes."""
    lengths = mask.sum(1) - 2
    embeddings = embeddings.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([embeddings], lr=GUESSING_RATE)
    for _ in range(GUESSING_STEPS):
        logits = models.teacher(inputs_embeds=pinned(models, embeddings, lengths), attention_mask=mask).logits
        loss = F.cross_entropy(logits, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        models.teacher.zero_grad()
    return pinned(models, embeddings.detach(), lengths)


def harden(models: Models, embeddings: Tensor, mask: Tensor, targets: Tensor) -> Tensor:
    """Adam steps up the student's self-supervised loss while the teacher's cross-entropy holds the class."""
    lengths = mask.sum(1) - 2
    embeddings = embeddings.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([embeddings], lr=ASCENT_RATE)
    for _ in range(ASCENT_STEPS):
        moving = pinned(models, embeddings, lengths)
        held = F.cross_entropy(models.teacher(inputs_embeds=moving, attention_mask=mask).logits, targets)
        loss = held - selfsup_loss(models, moving, mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        models.teacher.zero_grad()
    return pinned(models, embeddings.detach(), lengths)


def selfsup_loss(models: Models, embeddings: Tensor, mask: Tensor) -> Tensor:
    """Masked-embedding prediction: the head has to tell from the student's last hidden states what stood at some masked positions."""
    places = torch.arange(mask.shape[1])
    content = (places > 0) & (places < mask.sum(1, keepdim=True) - 1)
    hidden = (torch.rand(mask.shape) < MASKED_SHARE) & content
    masked = torch.where(hidden[:, :, None], models.special[2], embeddings)
    states = models.student(inputs_embeds=masked, attention_mask=mask, output_hidden_states=True).hidden_states[-1]
    wanted = (embeddings - models.mean) / models.deviation
    errors = (models.head(states) - wanted).square().mean(-1)
    return (errors * hidden).sum() / hidden.sum().clamp_min(1)


def soft_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student) of logits [B, C] at the temperature, times its square."""
    wanted = F.log_softmax(teacher / TEMPERATURE, dim=-1)
    return F.kl_div(F.log_softmax(student / TEMPERATURE, dim=-1), wanted, reduction="batchmean", log_target=True) * TEMPERATURE**2


def hidden_loss(models: Models, student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor) -> Tensor:
    """Mean over the student's layers of the squared distance to the teacher layer that each came from, as a share of the latter's mean square."""
    losses = []
    for place, layer in enumerate(models.layers):
        found, wanted = student[place + 1][mask.bool()], teacher[layer + 1][mask.bool()]
        losses.append(F.mse_loss(found, wanted) / wanted.square().mean())
    return torch.stack(losses).mean()
