"""Tiny teachers that learned something in seconds, about which kinds of words a text is made of, so that a student can learn what its teacher knows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from transformers import BertConfig, BertForSequenceClassification

from asdfd import steps
from asdfd.base.config import Run
from asdfd.base.loading import load_run
from tests.tiny_models import POSITIONS, WORDS, bert_tokenizer

KINDS = tuple(tuple(word for word in WORDS if len(word) > 1)[start::2] for start in range(2))
"""Two kinds of words, of which neither is rarer."""
LABELS = ("angry", "happy", "curious")
*WORDS_OF_LABELS, WORDS_OF_NONE = (tuple(word for word in WORDS if len(word) > 1)[start::4] for start in range(4))
"""Words that give a text one of the labels, and words that give it none."""
PAIR_CLASSES = ("both old", "old and new", "new and old", "both new")


def word_pairs(count: int, seed: int) -> list[tuple[str, str, int]]:
    """Pairs of texts, each of one kind of words, and the class of each pair: which kind comes first counts."""
    random = np.random.default_rng(seed)
    kinds = random.integers(2, size=(count, 2)).tolist()
    texts = [[" ".join(random.choice(KINDS[kind], size=random.integers(2, 6))) for kind in pair] for pair in kinds]
    return [(first, second, 2 * one + other) for (first, second), (one, other) in zip(texts, kinds, strict=True)]


Batch = Callable[[int], tuple[dict[str, Tensor], Tensor]]
"""From a step to the inputs and the targets that it learns from."""


Problem = Literal["single_label_classification", "multi_label_classification"]


def train(folder: Path, names: Sequence[str], batch: Batch, problem: Problem, steps: int) -> Path:
    """Train a BERT of two layers for a `problem_type` and write it into `folder` as a Hugging Face folder. The same arguments learn the same."""
    several = problem == "multi_label_classification"
    loss = torch.nn.functional.binary_cross_entropy_with_logits if several else torch.nn.functional.cross_entropy
    tokenizer = bert_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=POSITIONS,
        hidden_dropout_prob=0,
        attention_probs_dropout_prob=0,
        pad_token_id=0,
        id2label=dict(enumerate(names)),
        problem_type=problem,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BertForSequenceClassification(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1, (step + 1) / 20) * (1 - step / steps))
    for step in range(steps):
        inputs, targets = batch(step)
        optimizer.zero_grad()
        loss(model(**inputs).logits, targets).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    model.save_pretrained(folder)
    bert_tokenizer().save_pretrained(folder)  # a fresh one: a used one would save how its last batch was padded
    return folder


def make_pair_teacher(folder: Path, steps: int = 300) -> Path:
    """A teacher of `word_pairs`, which is always right."""
    tokenizer, data = bert_tokenizer(), word_pairs(32 * steps, seed=0)

    def batch(step: int) -> tuple[dict[str, Tensor], Tensor]:
        first, second, classes = zip(*data[32 * step : 32 * step + 32], strict=True)
        return dict(tokenizer(list(first), list(second), padding=True, return_tensors="pt")), torch.tensor(classes)

    return train(folder, PAIR_CLASSES, batch, "single_label_classification", steps)


def labelled_texts(count: int, seed: int) -> list[tuple[str, tuple[int, ...]]]:
    """Texts and the labels of each, none to all: a text has the labels of which it has words, among words that belong to none."""
    random = np.random.default_rng(seed)
    found = []
    for given in random.random((count, len(LABELS))) < 0.5:
        words = [*random.choice(WORDS_OF_NONE, size=random.integers(1, 4))]
        words += [word for label in np.flatnonzero(given) for word in random.choice(WORDS_OF_LABELS[label], size=random.integers(1, 3))]
        found.append((" ".join(random.permutation(words)), tuple(np.flatnonzero(given).tolist())))
    return found


def make_label_teacher(folder: Path, steps: int = 600) -> Path:
    """A teacher of `labelled_texts`, which is nearly always right."""
    tokenizer, data = bert_tokenizer(), labelled_texts(32 * steps, seed=0)

    def batch(step: int) -> tuple[dict[str, Tensor], Tensor]:
        texts, labels = zip(*data[32 * step : 32 * step + 32], strict=True)
        targets = torch.tensor([[float(label in each) for label in range(len(LABELS))] for each in labels])
        return dict(tokenizer(list(texts), padding=True, return_tensors="pt")), targets

    return train(folder, LABELS, batch, "multi_label_classification", steps)


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """Write rows as a .jsonl file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Compression:
    """A run and what it made."""

    run: Run
    folder: Path
    metrics: dict[str, Any]


def compressed(folder: Path, settings: Mapping[str, object]) -> Compression:
    """A whole run in one process, with what it made in `folder`."""
    run = load_run(settings=[f"{name}={value}" for name, value in settings.items()])
    evaluation = steps.compress(run, folder)["evaluation"]
    return Compression(run, folder, json.loads((evaluation.path / "metrics.json").read_text(encoding="utf-8")))
