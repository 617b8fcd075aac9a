"""The GPU part of speed.py: the student's step of a BERT-base-sized teacher at 128 tokens against the measured rate of its matrix products.

bfloat16 by autocast, batches of one shape, `torch.compile` with CUDA graphs, the fused optimiser; nothing is read back to the host inside a block of steps.
The losses are those of `asdfd.method.distillation`. The same code runs on a CPU with small sizes, without CUDA graphs, which is how its logic is tested.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from measuring import in_turns, medians, ratio
from products import operations, record, replay
from random_models import BERT_BASE, random_bank, random_teacher
from speed_step import prepared, started

from asdfd.method import distillation
from asdfd.method.synthesis import as_embeddings


@dataclass(frozen=True)
class Block:
    """How many steps are timed together, on batches of which size, and how often."""

    batch_size: int = 128
    length: int = 126
    """Tokens between the special ones."""
    steps: int = 20
    rounds: int = 10
    batches: int = 8


def step_on_gpu(block: Block = Block()) -> dict[str, Any]:
    """The whole part.

    Raises:
        SystemExit: there is no GPU.
    """
    if not torch.cuda.is_available():
        raise SystemExit("benchmarks: no usable GPU was found; run this part on a machine that has one")
    with tempfile.TemporaryDirectory() as folder:
        teacher = random_teacher(BERT_BASE, "cuda")
        random_bank(Path(folder), block.batches * block.batch_size, block.length, block.length, teacher.embedding_table.shape[0])
        setup = prepared(teacher, Path(folder), BERT_BASE.student_layers, block.batch_size)
        found = step_against_products(setup, block)
    return {"device": torch.cuda.get_device_name(), "model": "BERT-base, 6-layer student", **found}


def step_against_products(setup: distillation.Setup, block: Block) -> dict[str, Any]:
    """Seconds of a step, eager and compiled, and of its products in bfloat16; the products' share of the compiled step."""
    device = setup.teacher.embedding_table.device
    batches = inputs(setup, block)
    eager, compiled = steps(setup, batches, block, compiled=False), steps(setup, batches, block, compiled=True)
    one = Block(block.batch_size, block.length, 1, 1, block.batches)
    products = record(steps(setup, batches, one, compiled=False))
    compute = replay(products)

    def computed() -> None:
        for _ in range(block.steps):
            compute()

    def finished(action: Callable[[], None]) -> Callable[[], None]:
        return lambda: (action(), wait(device))[0]

    seconds = in_turns({"eager": finished(eager), "compiled": finished(compiled), "products": finished(computed)}, block.rounds, clock=time.perf_counter)
    median = {name: value / block.steps for name, value in medians(seconds).items()}
    count = operations(products)
    return {
        "batch_size": block.batch_size,
        "tokens": block.length + setup.frame.length,
        "operations": count,
        "eager_seconds": median["eager"],
        "compiled_seconds": median["compiled"],
        "products_seconds": median["products"],
        "share": ratio(seconds, "products", "compiled"),
        "step_teraflops": count / median["compiled"] / 1e12,
        "products_teraflops": count / median["products"] / 1e12,
    }


def inputs(setup: distillation.Setup, block: Block) -> list[torch.Tensor]:
    """Content embeddings [B, L, D] of a few batches, on the teacher's device."""
    table = setup.teacher.embedding_table
    return [as_embeddings(setup.bank.content(setup.batches.rows(number)).to(table.device), table) for number in range(block.batches)]


def steps(setup: distillation.Setup, batches: list[torch.Tensor], block: Block, *, compiled: bool) -> Callable[[], None]:
    """A function that takes `block.steps` steps of a student of its own; nothing in it waits for the device."""
    state = started(setup)
    device = setup.teacher.embedding_table.device
    mask = torch.zeros((block.batch_size, block.length + setup.frame.length), dtype=torch.bool, device=device)  # no self-supervised task in `default`
    measure = compile_for(device) if compiled else distillation.measure_losses

    def several() -> None:
        for number in range(block.steps):
            torch.compiler.cudagraph_mark_step_begin()
            with torch.autocast(device.type, dtype=torch.bfloat16):
                losses = measure(setup, state, batches[number % len(batches)], mask)
            losses.loss.backward()
            distillation.update(setup.config, state)

    return several


def compile_for(device: torch.device) -> Callable[..., distillation.Losses]:
    """The losses compiled for batches of one shape, with CUDA graphs where there are any."""
    return torch.compile(distillation.measure_losses, dynamic=False, mode="reduce-overhead" if device.type == "cuda" else None)


def wait(device: torch.device) -> None:
    """Let the device finish what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()
