"""Classifiers of given sizes with random weights: what a step costs does not depend on what the weights are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from teachers import encoder_folder
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig

from asdfd.method.bank import Entries, part_count, part_range, write_part
from asdfd.models.classifiers import Classifier

CLASSES = 6


@dataclass(frozen=True)
class Sizes:
    """A BERT's layers and width; the inner width is four times it, a head is 64 wide (32 below a width of 512, as in MiniLM)."""

    layers: int
    width: int

    @property
    def student_layers(self) -> tuple[int, ...]:
        """Every other layer of the teacher."""
        return tuple(range(1, self.layers, 2))


MINILM = Sizes(6, 384)
BERT_BASE = Sizes(12, 768)


def random_teacher(sizes: Sizes, device: torch.device | str = "cpu", dropout: float = 0.0) -> Classifier:
    """A frozen BERT classifier with BERT's own tokenizer and random weights."""
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
    names = [f"class {index}" for index in range(CLASSES)]
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=sizes.width,
        intermediate_size=4 * sizes.width,
        num_hidden_layers=sizes.layers,
        num_attention_heads=max(1, sizes.width // (64 if sizes.width >= 512 else 32)),
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
    )
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config)
    return Classifier(model.to(device).eval().requires_grad_(False), tokenizer, tuple(names))


def random_bank(folder: Path, samples: int, shortest: int, longest: int, vocabulary: int, width: int = 0) -> None:
    """A bank of random entries with `shortest` to `longest` tokens between the special ones: token ids, or embeddings of `width`."""
    made: dict[int, Entries] = {}
    for part in range(part_count(samples)):
        size = len(part_range(part, samples))
        if size not in made:  # parts of one size hold the same: what they hold costs nothing, and drawing it anew would
            made[size] = random_entries(size, shortest, longest, vocabulary, width)
        write_part(folder, part, made[size])


def random_entries(size: int, shortest: int, longest: int, vocabulary: int, width: int) -> Entries:
    """The entries of one part."""
    random = np.random.default_rng(0)
    lengths = torch.from_numpy(random.integers(shortest, longest + 1, size=size, dtype=np.int32))
    tokens = int(lengths.sum())
    if width:
        content = torch.from_numpy(random.standard_normal((tokens, width), dtype=np.float32)).to(torch.float16)
    else:
        content = torch.from_numpy(random.integers(vocabulary, size=tokens, dtype=np.int32))
    return Entries(lengths, content)
