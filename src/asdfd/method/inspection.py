"""What a person wants to know about a bank: its balance and confidence, and what a few entries look like as tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asdfd.base.config import Synthesis
from asdfd.method.bank import Bank
from asdfd.method.lengths import lengths_of
from asdfd.method.objectives import answered, probabilities
from asdfd.method.prior import Frame, frame_of, prior_of
from asdfd.method.randomness import generator
from asdfd.method.synthesis import answers, as_embeddings
from asdfd.models.classifiers import Classifier
from asdfd.models.encoding import Encoded

NO_LABEL = "(no label)"
"""Stands for the empty set of labels where texts can have several."""
SHOWN = 12
"""Pseudo samples that a report shows."""
ASKED = 1024
"""Most entries of a bank that was not guessed that the teacher is asked about for its summary."""
AT_ONCE = 64
"""Entries of one forward pass."""


def summary(bank: Bank, teacher: Classifier) -> dict[str, Any]:
    """Facts about a bank: size, lengths, the teacher's confidence in its class or its labels of the entries, and the share converged where they were guessed.

    Of entries that were not guessed, the teacher is asked about some, evenly spread.
    """
    rows = np.arange(len(bank)) if bank.guessed else np.unique(np.linspace(0, len(bank) - 1, min(ASKED, len(bank))).astype(np.int64))
    logits = bank.field("teacher_logits") if bank.guessed else logits_of(teacher, bank, rows)
    found = answered(logits, several=teacher.several)
    confidence = bank.field("confidence") if bank.guessed else probabilities(logits, found)
    converged = {"converged_share": round(float((bank.field("converged_round") >= 0).float().mean()), 6)} if bank.guessed else {}
    return {
        "samples": len(bank),
        "entries": "token ids" if bank.holds_tokens else "embeddings",
        "shortest_length": int(bank.lengths.min()),
        "mean_length": round(float(bank.lengths.mean()), 2),
        "longest_length": int(bank.lengths.max()),
        **({} if bank.guessed else {"samples_that_the_teacher_was_asked_about": len(rows)}),
        "mean_confidence": round(float(confidence.mean()), 6),
        **converged,
        "teacher_classes": counted(found, teacher.label_names),
    }


def counted(found: Tensor, names: Sequence[str]) -> dict[str, int]:
    """How many entries the teacher puts in each class, int64 [N], or gives each label, bool [N, C], and none."""
    if found.ndim == 1:
        counts = np.bincount(found.numpy(), minlength=len(names)).tolist()
        return dict(zip(names, counts, strict=True))
    return {**dict(zip(names, found.sum(0).tolist(), strict=True)), NO_LABEL: int((~found.any(-1)).sum())}


@torch.no_grad()
def logits_of(teacher: Classifier, bank: Bank, rows: np.ndarray) -> Tensor:
    """The teacher's logits float32 [N, C] of some entries of a bank, in their order."""
    frame, table = frame_of(teacher.tokenizer, pairs=bank.pairs), teacher.embedding_table
    found = torch.empty(len(rows), len(teacher.label_names))
    for form in np.unique(bank.forms[rows]):
        places = np.flatnonzero(bank.forms[rows] == form)
        for start in range(0, len(places), AT_ONCE):
            some = places[start : start + AT_ONCE]
            found[torch.from_numpy(some)] = logits_on(teacher, bank.content(rows[some]).to(table.device), bank.frame(frame, rows[some][0])).float().cpu()
    return found


def shown_samples(bank: Bank, teacher: Classifier, seed: int) -> list[dict[str, Any]]:
    """A few entries, drawn at random, as {label, confidence, text}: the teacher's class and the tokens, or those nearest to the embeddings."""
    rows = generator(seed, "shown samples").choice(len(bank), size=min(SHOWN, len(bank)), replace=False)
    logits = logits_of(teacher, bank, rows)
    found = answered(logits, several=teacher.several)
    shown = []
    for row, answer, probability in zip(rows, found, probabilities(logits, found), strict=True):
        content = bank.content(np.array([row])).to(teacher.embedding_table.device)[0]
        tokens = content if bank.holds_tokens else nearest_tokens(content, teacher.embedding_table)
        first = len(tokens) if bank.first_lengths is None else int(bank.first_lengths[row])
        text = " | ".join(str(teacher.tokenizer.decode(part.tolist())) for part in (tokens[:first], tokens[first:]) if len(part))
        names = [name for name, given in zip(teacher.label_names, answer, strict=True) if given] if teacher.several else [teacher.label_names[int(answer)]]
        shown.append({"label": ", ".join(names) or NO_LABEL, "confidence": round(float(probability), 6), "text": text})
    return shown


def nearest_tokens(embeddings: Tensor, table: Tensor) -> Tensor:
    """Token ids [L] whose rows of the table [V, D] have the largest cosine with the embeddings [L, D]."""
    rows = torch.nn.functional.normalize(table, dim=-1)
    return (torch.nn.functional.normalize(embeddings, dim=-1) @ rows.T).argmax(-1)


def logits_on(model: Classifier, content: Tensor, frame: Frame) -> Tensor:
    """Logits [B, C] of a model on token ids [B, L], by its own embedding table, or on embeddings [B, L, D]."""
    return answers(model.model, as_embeddings(content, model.embedding_table), frame, model.embedding_table)


def drawn_sequences(teacher: Classifier, config: Synthesis, count: int, seed: int) -> list[Encoded]:
    """Framed token ids drawn from the prior, for timing models where there is no text."""
    frame, prior = frame_of(teacher.tokenizer, pairs=config.pairs), prior_of(teacher, config.prior)
    random, revealed = generator(seed, "drawn sequences"), lengths_of(teacher, config.minimum_length, config.maximum_length, pairs=config.pairs)
    lengths = [revealed.draw(random) for _ in range(count)] if revealed else random.integers(config.minimum_length, config.maximum_length + 1, size=count)
    return [frame.at(length // 2 if config.pairs else None).sequence(prior.draw(length, random).tolist()) for length in map(int, lengths)]
