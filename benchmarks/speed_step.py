"""Part (b) of speed.py: the student's step against the sum of its matrix products, on the same machine, threads and shapes, in turns.

A step is what `asdfd.method.distillation.train` does: read the batch from the bank, ask the teacher, forward and backward pass of the student, clip, update.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from measuring import circumstances, in_turns, medians, ratio
from products import operations, record, replay
from random_models import BERT_BASE, MINILM, Sizes, random_bank, random_teacher

from asdfd.base.config import Distillation
from asdfd.method import distillation
from asdfd.method.bank import Bank
from asdfd.models.classifiers import Classifier
from asdfd.models.students import derive_student

NEVER = 10**9


@dataclass(frozen=True)
class Shape:
    """Sizes of the models and of a batch; the length is that between the special tokens."""

    name: str
    sizes: Sizes
    batch_size: int
    length: int
    block: int
    """Steps that are timed together."""


SHAPES = (Shape("MiniLM-L6-H384, 3-layer student", MINILM, 32, 12, 4), Shape("BERT-base, 6-layer student", BERT_BASE, 4, 126, 1))


def steps_against_products(rounds: int) -> list[dict[str, Any]]:
    """The ratio at every shape."""
    found = []
    for shape in SHAPES:
        with tempfile.TemporaryDirectory() as folder:
            teacher = random_teacher(shape.sizes)
            random_bank(Path(folder), 4 * shape.batch_size, shape.length, shape.length, teacher.embedding_table.shape[0])
            setup = prepared(teacher, Path(folder), shape.sizes.student_layers, shape.batch_size)
            result = step_against_products(setup, Path(folder), shape.block, rounds)
        found.append({"shape": shape.name, "batch_size": shape.batch_size, "tokens": shape.length + setup.frame.length, **result})
        print(found[-1], flush=True)
    return found


def prepared(teacher: Classifier, folder: Path, layer_map: tuple[int, ...], batch_size: int) -> distillation.Setup:
    """What the preset `default` needs for a run on the bank in `folder`, at another batch size; its steps are those of the student's whole chain."""
    config = Distillation(batch_size=batch_size, log_every=NEVER, checkpoint_seconds=NEVER, forced_share=0.0)
    return distillation.prepare(teacher, Bank(folder), layer_map, config, seed=0)


def started(setup: distillation.Setup) -> distillation.State:
    """A student before its first step."""
    return distillation.start(setup, derive_student(setup.teacher, setup.layer_map))


def advance(setup: distillation.Setup, state: distillation.State, folder: Path, steps: int) -> Callable[[], None]:
    """A function that takes the next `steps` steps in the product's own loop."""

    def block() -> None:
        config = setup.config.changed(steps=state.step + steps)
        distillation.train(replace(setup, config=config), state, folder, distillation.Hooks())

    return block


def step_against_products(setup: distillation.Setup, folder: Path, block: int, rounds: int) -> dict[str, Any]:
    """Processor seconds of a step and of its products, the products' share of the step, and what the fused optimiser gives."""
    state = started(setup)
    step = advance(setup, state, folder, 1)
    step()  # optimiser state is made in the first one
    products = record(step)
    compute = replay(products)

    def computed() -> None:
        for _ in range(block):
            compute()

    fused, looped = updates(setup, True), updates(setup, False)
    seconds = in_turns({"step": advance(setup, state, folder, block), "products": computed, "fused": fused, "loop": looped}, rounds)
    median = medians(seconds)
    return {
        "products": len(products),
        "operations": operations(products),
        "step_seconds": round(median["step"] / block, 5),
        "products_seconds": round(median["products"] / block, 5),
        "share": round(1 / ratio(seconds, "step", "products"), 4),
        "update_seconds": {"fused": round(median["fused"], 5), "one weight after the other": round(median["loop"], 5)},
        **circumstances(),
    }


def updates(setup: distillation.Setup, fused: bool) -> Callable[[], object]:
    """The optimiser's part of a step, fused as in the product or as torch does it by default on a CPU; gradients stay."""
    state = started(setup)
    for parameter in state.trained.values():
        parameter.grad = torch.randn_like(parameter)
    if fused:
        return state.optimizer.step
    groups = [{name: group[name] for name in ("params", "weight_decay")} for group in state.optimizer.param_groups]
    return torch.optim.AdamW(groups, lr=setup.config.learning_rate, betas=(0.9, 0.98)).step
