"""Distillation: the student learns from the teacher on replayed pseudo samples that an adversary makes harder.

A step: draw a batch of one length from the bank; now and then make it harder (see `adversary`); learn from the teacher's logits and hidden states and from
the self-supervised task. Everything that is drawn is a function of the seed and the step, and all state fits one checkpoint file, so a run that was killed and
resumed ends bit-equal to one that was not (on a CPU with the same number of threads and processes). Several processes may share the work, see `parallel`.
In the first part of the steps every layer of the student learns by itself, see `forcing`.
Shapes: B batch, L sequence, D embedding width, H hidden width, C classes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from asdfd.base.artifacts import sync
from asdfd.base.config import Distillation
from asdfd.base.errors import StoppedError
from asdfd.base.telemetry import Record
from asdfd.method.adversary import Hardened, HardenedEntries, harden, selfsup_losses
from asdfd.method.bank import Bank
from asdfd.method.batches import Batches
from asdfd.method.forcing import TeacherForcing
from asdfd.method.lengths import lengths_of
from asdfd.method.narrowing import narrowed
from asdfd.method.objectives import answered, hidden_state_loss, same_answers, soft_target_loss
from asdfd.method.parallel import ALONE, WHOLE, Processes, Share
from asdfd.method.prior import Frame, frame_of
from asdfd.method.randomness import generator
from asdfd.method.selfsup import MaskedEmbeddingHead, draw_mask, make_head
from asdfd.method.synthesis import as_embeddings, framed
from asdfd.models.classifiers import Classifier, Signals, signals
from asdfd.models.layer_maps import layer_pairs

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class Setup:
    """What does not change during a run."""

    teacher: Classifier
    bank: Bank
    layer_map: tuple[int, ...]
    config: Distillation
    seed: int
    frame: Frame
    batches: Batches
    processes: Processes = ALONE

    def at(self, rows: np.ndarray) -> Setup:
        """The same for a batch of the bank's `rows`, which share the lengths of their two texts where they are pairs."""
        return self if self.bank.first_lengths is None else replace(self, frame=self.bank.frame(self.frame, rows[0]))


@dataclass
class State:
    """What changes: all of it is in a checkpoint."""

    step: int
    student: PreTrainedModel
    head: MaskedEmbeddingHead
    forcing: TeacherForcing
    optimizer: torch.optim.AdamW
    hardened: HardenedEntries
    projection: nn.Linear | None = None
    """From a narrow student's hidden states to the teacher's, see `narrowing`; trained with the student, and no part of it."""
    ascent: dict[str, Tensor] = field(default_factory=dict)
    """What the adversary's last turn did, until a record tells it."""

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """Parameters that the optimiser moves, by name."""
        named = [(f"student.{name}", p) for name, p in self.student.named_parameters()] + [(f"head.{name}", p) for name, p in self.head.named_parameters()]
        named += [] if self.projection is None else [(f"projection.{name}", p) for name, p in self.projection.named_parameters()]
        return {name: parameter for name, parameter in named if parameter.requires_grad}


@dataclass(frozen=True)
class Losses:
    """Scalar tensors of one step, `loss` with its graph; nothing is read back to the host before a record is written."""

    loss: Tensor
    logit_loss: Tensor
    hidden_loss: Tensor
    selfsup_loss: Tensor
    agreement: Tensor


@dataclass(frozen=True)
class Hooks:
    """How a run tells the outside: a record and a checkpoint now and then, and whether it should stop."""

    on_record: Callable[[Record], None] = lambda _: None
    should_stop: Callable[[], bool] = lambda: False
    on_checkpoint: Callable[[], None] = lambda: None
    """A new checkpoint is in the folder."""


def prepare(teacher: Classifier, bank: Bank, layer_map: tuple[int, ...], config: Distillation, seed: int, processes: Processes = ALONE) -> Setup:
    """Put together what a run needs."""
    frame = frame_of(teacher.tokenizer, pairs=bank.pairs)
    revealed = lengths_of(teacher, 1, 1) is not None  # then the bank's are those, and may be far from the usual ones
    batches = Batches(bank.lengths, config.batch_size, seed, frame.length if revealed else None, forms=bank.forms)
    return Setup(teacher, bank, layer_map, config, seed, frame, batches, processes)


def start(setup: Setup, student: PreTrainedModel, projection: nn.Linear | None = None) -> State:
    """State before the first step. The student trains in eval mode: dropout would blur the hidden states it has to match.

    A student with a `projection` has embeddings of its own and trains them; otherwise they are the teacher's and stay.
    """
    student.eval()
    if projection is None:
        student.base_model.get_submodule(setup.teacher.family.embeddings).requires_grad_(False)  # the teacher's, and the space that pseudo embeddings live in
    table = setup.teacher.embedding_table
    head = make_head(student.config.hidden_size, table, setup.teacher.tokenizer, seed=int(generator(setup.seed, "head").integers(2**31)))
    if not uses_selfsup(setup.config):
        head.requires_grad_(False)
    state = State(0, student, head, TeacherForcing(student), torch.optim.AdamW([torch.zeros(1)]), HardenedEntries(setup.config.hardened_capacity), projection)
    state.optimizer = make_optimizer(state.trained, setup.config)
    return state


def make_optimizer(trained: dict[str, nn.Parameter], config: Distillation) -> torch.optim.AdamW:
    """AdamW over the trained parameters; biases and normalisation weights do not decay. Fused: one pass over the weights in place of a dozen."""
    decayed = [parameter for parameter in trained.values() if parameter.ndim > 1]
    others = [parameter for parameter in trained.values() if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), fused=True)


def train(setup: Setup, state: State, folder: Path, hooks: Hooks) -> None:
    """Run from the state's step to the last one, with checkpoints in `folder`.

    Raises:
        StoppedError: `should_stop` said so; a checkpoint of the last whole step is in `folder`.
    """
    processes = setup.processes
    measure = torch.compile(measure_losses, dynamic=True) if setup.config.compile else measure_losses
    began = kept = time.perf_counter()
    learned_from = 0
    while state.step < setup.config.steps:
        rows = setup.batches.rows(state.step)
        share = processes.share(len(rows))
        here = setup.at(rows)
        content, mask = inputs_of_step(here, state, rows, share)
        if adversary_turn(setup.config, state.step):
            content = made_harder(here, state, rows, share, content, mask)
        losses = measure(here, state, content, mask, share, forced=forced_turn(setup.config, state.step))
        losses.loss.backward()
        processes.average_gradients(state.trained.values(), share)
        learning_rate = update(setup.config, state)
        state.step += 1
        learned_from += len(rows)
        if state.step % setup.config.log_every == 0 or state.step == setup.config.steps:
            seconds = time.perf_counter() - began
            rate = {"learning_rate": learning_rate, "samples_per_second": learned_from / seconds}
            means = {name: processes.mean(value, share) for name, value in vars(losses).items()} | state.ascent
            state.ascent = {}
            hooks.on_record({"step": state.step} | {name: value.item() for name, value in means.items()} | rate)
        stopping = processes.any(hooks.should_stop())
        if processes.writes and (stopping or time.perf_counter() - kept >= setup.config.checkpoint_seconds):
            save_checkpoint(state, folder)
            hooks.on_checkpoint()
            kept = time.perf_counter()
        if stopping and state.step < setup.config.steps:
            processes.wait()  # a process that ends has the others ended, and one of them is writing
            raise StoppedError(f"stopped after step {state.step} of {setup.config.steps} with a checkpoint; run the same command again to go on")


def inputs_of_step(setup: Setup, state: State, rows: np.ndarray, share: Share) -> tuple[Tensor, Tensor]:
    """Content embeddings [b, L, D] of a share of the bank's `rows` and the positions that are masked, bool [b, prefix + L + suffix].

    A student with embeddings of its own gets token ids int64 [b, L].
    """
    table, mine = setup.teacher.embedding_table, rows[share.rows]
    content = setup.bank.content(mine).to(table.device)
    if state.projection is None:
        content = state.hardened.replace_in(mine, as_embeddings(content, table))
    random = generator(setup.seed, "mask", state.step)  # of the whole batch, whoever computes it
    mask = draw_mask(len(rows), content.shape[1], setup.frame, setup.config.masked_share, random)
    return content, mask[share.rows].to(content.device)


def made_harder(setup: Setup, state: State, rows: np.ndarray, share: Share, content: Tensor, mask: Tensor) -> Tensor:
    """The share's content after the ascent; of the whole batch's, every process keeps the entries and what is to be recorded."""
    mine = harden(setup.teacher, state.student, state.head, setup.frame, content, mask, setup.config)
    whole = Hardened(*(setup.processes.gather(values, share, len(rows)) for values in vars(mine).values()))
    state.hardened.write(rows, whole)
    state.ascent = {"selfsup_before": whole.loss_before.mean(), "selfsup_after": whole.loss_after.mean(), "hardened": whole.taken.float().mean()}
    return mine.embeddings


def measure_losses(setup: Setup, state: State, content: Tensor, mask: Tensor, share: Share = WHOLE, *, forced: bool = False) -> Losses:
    """Losses of a share of a batch: content embeddings [B, L, D] with the masked positions `mask` [B, prefix + L + suffix].

    Where they are `forced`, each layer of the student reads the teacher's hidden states. A narrow student's content is token ids int64 [B, L], and its hidden
    states are compared after its projection.
    """
    config, table, student = setup.config, setup.teacher.embedding_table, state.student
    embeddings, types = framed(as_embeddings(content, table), setup.frame, table), setup.frame.token_types(content)
    with torch.no_grad():
        wanted = signals(setup.teacher.model, embeddings, types)
    own = embeddings if state.projection is None else student.get_input_embeddings()(setup.frame.around(content))
    found = state.forcing.signals(own, read_instead(setup.layer_map, wanted, state.projection), types) if forced else signals(student, own, types)
    if state.projection is not None:
        found = Signals(found.logits, tuple(state.projection(hidden) for hidden in found.hidden))
    logit_loss = soft_target_loss(found.logits, wanted.logits, config.temperature, several=setup.teacher.several)
    hidden_loss = hidden_state_loss(*matched(setup.layer_map, found, wanted), lambda means: setup.processes.mean(means, share))
    selfsup_loss = selfsup_losses(student, state.head, embeddings, mask, types).mean() if uses_selfsup(config) else torch.zeros_like(logit_loss)
    loss = config.logit_weight * logit_loss + config.hidden_weight * hidden_loss + config.selfsup_weight * selfsup_loss
    agreement = same_answers(*(answered(each.logits, several=setup.teacher.several) for each in (found, wanted))).float().mean()
    return Losses(loss, logit_loss.detach(), hidden_loss.detach(), selfsup_loss.detach(), agreement)


def read_instead(layer_map: tuple[int, ...], wanted: Signals, projection: nn.Linear | None) -> list[Tensor]:
    """What each layer of the student but the first reads under teacher forcing [B, L, H]: the teacher's hidden states at that place, in the student's space."""
    inputs = [wanted.hidden[teacher] for _, teacher in layer_pairs(layer_map)[:-1]]
    return inputs if projection is None else [narrowed(projection, hidden) for hidden in inputs]


def matched(layer_map: tuple[int, ...], found: Signals, wanted: Signals) -> tuple[list[Tensor], list[Tensor]]:
    """The student's hidden states and the teacher's that they should equal, each [B, L, H]."""
    pairs = layer_pairs(layer_map)
    return [found.hidden[student] for student, _ in pairs], [wanted.hidden[teacher] for _, teacher in pairs]


def update(config: Distillation, state: State) -> float:
    """One step of the optimiser at the step's learning rate, which is returned."""
    rate = learning_rate_at(config, state.step)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    nn.utils.clip_grad_norm_(list(state.trained.values()), config.gradient_norm)
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    return rate


def learning_rate_at(config: Distillation, step: int) -> float:
    """Linear rise over the warm-up share, then a linear fall that reaches zero after the last step."""
    warmup = max(1, round(config.warmup_share * config.steps))
    return config.learning_rate * min((step + 1) / warmup, (config.steps - step) / max(1, config.steps - warmup), 1.0)


def adversary_turn(config: Distillation, step: int) -> bool:
    """Whether the batch of this step is made harder."""
    return config.adversary != "none" and step >= config.adversary_warmup * config.steps and step % config.adversary_every == 0


def forced_turn(config: Distillation, step: int) -> bool:
    """Whether every layer of the student learns by itself in this step."""
    return step < config.forced_share * config.steps


def uses_selfsup(config: Distillation) -> bool:
    """Whether the self-supervised head is trained at all."""
    return config.adversary != "none" or config.selfsup_weight > 0


def save_checkpoint(state: State, folder: Path) -> None:
    """Write the whole state to one file, whole or not at all; it replaces the one before."""
    tensors = {f"parameter.{name}": parameter.detach() for name, parameter in state.trained.items()}
    for name, parameter in state.trained.items():
        for key, value in state.optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{key}.{name}"] = value
    tensors |= {f"hardened.{name}": entry for name, entry in state.hardened.tensors().items()}
    tensors |= {f"ascent.{name}": value for name, value in state.ascent.items()}
    path = folder / CHECKPOINT
    temporary = path.with_suffix(".tmp")
    save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, temporary, metadata={"step": str(state.step)})
    sync(temporary)
    temporary.replace(path)
    sync(folder)


def step_of(checkpoint: Path) -> int:
    """The step that a checkpoint file was saved after."""
    with safe_open(checkpoint, framework="pt") as file:
        return int((file.metadata() or {})["step"])


def load_checkpoint(state: State, folder: Path) -> bool:
    """Put the state of the checkpoint in `folder` into `state`; false when there is none."""
    path = folder / CHECKPOINT
    if not path.exists():
        return False
    with safe_open(path, framework="pt") as file:
        state.step = int((file.metadata() or {})["step"])
        names = list(file.keys())
        with torch.no_grad():
            for name, parameter in state.trained.items():
                parameter.copy_(file.get_tensor(f"parameter.{name}"))
                keys = [key.removesuffix(f".{name}").removeprefix("optimizer.") for key in names if key.startswith("optimizer.") and key.endswith(f".{name}")]
                state.optimizer.state[parameter] = {key: file.get_tensor(f"optimizer.{key}.{name}").to(parameter.device, copy=True) for key in keys}
        state.ascent = {name.removeprefix("ascent."): file.get_tensor(name) for name in names if name.startswith("ascent.")}
        state.hardened.load({name.removeprefix("hardened."): file.get_tensor(name) for name in names if name.startswith("hardened.")})
    return True
