"""Texts as token ids, and token ids as batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from asdfd.models.classifiers import Classifier


def encode(classifier: Classifier, texts: Sequence[str], maximum_length: int) -> list[list[int]]:
    """Token ids of each text with the special tokens, cut at `input_limit` tokens."""
    if not texts:
        return []
    return classifier.tokenizer(list(texts), truncation=True, max_length=input_limit(classifier, maximum_length))["input_ids"]


def input_limit(classifier: Classifier, maximum_length: int) -> int:
    """Tokens, special ones counted, after which a text is cut: `maximum_length`, but no more than the model takes; 0 is what it takes."""
    from asdfd.models.lengths import longest_input

    longest = longest_input(classifier.model, classifier.tokenizer)
    return min(maximum_length or longest, longest)


def pad(classifier: Classifier, sequences: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
    """`input_ids` and `attention_mask` [B, L] of a batch on the model's device; L is the longest sequence."""
    import torch

    length = max(len(sequence) for sequence in sequences)
    padding = classifier.tokenizer.pad_token_id
    ids = torch.full((len(sequences), length), padding if isinstance(padding, int) else 0)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence)
        mask[row, : len(sequence)] = 1
    device = classifier.model.device
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
