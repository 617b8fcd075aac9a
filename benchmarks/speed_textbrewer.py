"""Part (c) of speed.py: the student's step against TextBrewer's GeneralDistiller, in turns in one process on the same batches of one bank.

Both get the same teacher, student, token ids, losses (KL at temperature 2 on the logits, squared distance of the hidden states of the layer map) and AdamW.
Two settings: `equal` gives TextBrewer all that is not the distiller's own business (frozen embeddings, no attention mask, no dropout, the fused optimiser), so
that only the loop differs; `documented` is what its documentation shows: all parameters of a student with a BERT's usual dropout, attention masks, torch's
AdamW as it is by default. TextBrewer writes a checkpoint after the last step of every call; that is left out.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from measuring import circumstances, in_turns, medians, ratio
from random_models import MINILM, random_bank, random_teacher
from speed_step import advance, prepared, started

from asdfd.method import distillation
from asdfd.models.layer_maps import layer_pairs
from asdfd.models.students import derive_student

LENGTHS = (12, 12)
BATCH_SIZE = 32
BLOCK = 4
BERT_DROPOUT = 0.1


def against_textbrewer(rounds: int) -> dict[str, Any]:
    """Seconds a step and ratios in both settings."""
    found = {}
    for name, dropout in (("equal", 0.0), ("documented", BERT_DROPOUT)):
        with tempfile.TemporaryDirectory() as folder:
            teacher = random_teacher(MINILM, dropout=dropout)
            random_bank(Path(folder), 32 * BATCH_SIZE, *LENGTHS, teacher.embedding_table.shape[0])
            setup = prepared(teacher, Path(folder), MINILM.student_layers, BATCH_SIZE)
            found[name] = setting(setup, Path(folder), documented=name == "documented", rounds=rounds, block=BLOCK)
        print(name, found[name], flush=True)
    return {"model": "MiniLM-L6-H384, 3-layer student", "batch_size": BATCH_SIZE, "settings": found, **circumstances()}


def setting(setup: distillation.Setup, folder: Path, *, documented: bool, rounds: int, block: int) -> dict[str, float]:
    """Processor seconds of a step of each, and how many times as long TextBrewer's takes."""
    ours = advance(setup, started(setup), folder, block)
    seconds = in_turns({"asdfd": ours, "textbrewer": textbrewer_steps(setup, folder, documented, block)}, rounds)
    median = medians(seconds)
    return {
        "asdfd_seconds": round(median["asdfd"] / block, 5),
        "textbrewer_seconds": round(median["textbrewer"] / block, 5),
        "ratio": round(ratio(seconds, "textbrewer", "asdfd"), 3),
    }


def textbrewer_steps(setup: distillation.Setup, folder: Path, documented: bool, block: int) -> Callable[[], None]:
    """A function that takes TextBrewer's next `block` steps.

    Raises:
        SystemExit: TextBrewer is not installed.
    """
    try:
        from textbrewer import DistillationConfig, GeneralDistiller, TrainingConfig  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise SystemExit(f"benchmarks: TextBrewer cannot be imported ({error}); install it with: pip install textbrewer==0.2.1.post1") from None

    class Distiller(GeneralDistiller):
        def save_and_callback(self, global_step, step, epoch, callback) -> None:
            """Save nothing."""

    config = setup.config
    if documented:
        student = derive_student(setup.teacher, setup.layer_map).requires_grad_(True)
        optimizer = torch.optim.AdamW(student.parameters(), lr=config.learning_rate)
    else:
        state = started(setup)
        student, optimizer = state.student, state.optimizer
    matches = [
        {"layer_T": theirs, "layer_S": own, "feature": "hidden", "loss": "hidden_mse", "weight": config.hidden_weight / len(setup.layer_map)}
        for own, theirs in layer_pairs(setup.layer_map)
    ]
    distiller = Distiller(
        TrainingConfig(ckpt_steps=10**9, output_dir=str(folder / "textbrewer"), device="cpu"),
        DistillationConfig(temperature=config.temperature, kd_loss_weight=config.temperature**2, intermediate_matches=matches),
        setup.teacher.model,
        student,
        adaptor,
        adaptor,
    )
    batches = token_batches(setup, masks=documented)

    def steps() -> None:
        with distiller:
            distiller.train(optimizer, batches, num_steps=block, max_grad_norm=config.gradient_norm, output_hidden_states=True)

    return steps


def adaptor(batch: Any, outputs: Any) -> dict[str, Any]:
    """What TextBrewer learns from."""
    del batch
    return {"logits": outputs.logits, "hidden": outputs.hidden_states}


def token_batches(setup: distillation.Setup, masks: bool) -> Iterator[dict[str, torch.Tensor]]:
    """The batches that asdfd's steps learn from, in the same order, as token ids [B, prefix + L + suffix]."""
    frame, number = setup.frame, 0
    while True:
        content = setup.bank.content(setup.batches.rows(number))
        before, after = (torch.tensor(ids).expand(len(content), -1) for ids in (frame.prefix, frame.suffix))
        ids = torch.cat([before, content, after], dim=1)
        yield {"input_ids": ids, "attention_mask": torch.ones_like(ids)} if masks else {"input_ids": ids}
        number += 1
