"""Texts as token ids, and token ids as batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import torch

    from asdfd.models.classifiers import Classifier

Input = str | tuple[str, str]
"""What is classified: a text or a pair of texts."""
USUAL_LENGTH = 512
"""Tokens of the longest text of most models. Of longer ones fewer share a batch, or the memory would have to be that much larger."""
COUNTED_AT_ONCE = 1024
"""Texts whose tokens are counted together."""


class Encoded(list[int]):
    """Token ids of a text or of a pair of texts, special tokens included."""

    types: Sequence[int] = ()
    """The type of each token of a pair, where its tokenizer tells them; else empty, and all are 0."""


def encode(classifier: Classifier, texts: Sequence[Input], maximum_length: int) -> list[Encoded]:
    """Token ids of each text, or pair of texts, with the special tokens, cut at `input_limit` tokens.

    Of a pair, the longer text is cut first.
    """
    if not texts:
        return []
    first, second = _columns(texts)
    made = classifier.tokenizer(first, second, truncation=True, max_length=input_limit(classifier, maximum_length))
    encoded = [Encoded(ids) for ids in made["input_ids"]]
    if second is not None:
        for row, types in zip(encoded, made.get("token_type_ids", ()), strict=False):
            row.types = types
    return encoded


def texts_cut(classifier: Classifier, texts: Sequence[Input], maximum_length: int) -> int:
    """How many texts `encode` cuts."""
    limit, count = input_limit(classifier, maximum_length), 0
    for start in range(0, len(texts), COUNTED_AT_ONCE):
        encoded = classifier.tokenizer(*_columns(texts[start : start + COUNTED_AT_ONCE]), verbose=False)["input_ids"]
        count += sum(len(ids) > limit for ids in encoded)
    return count


def _columns(texts: Sequence[Input]) -> tuple[list[str], list[str] | None]:
    """The texts, or the first and the second texts of pairs, as a tokenizer takes them."""
    if isinstance(texts[0], tuple):
        pairs = cast(Sequence[tuple[str, str]], texts)
        return [first for first, _ in pairs], [second for _, second in pairs]
    return list(cast(Sequence[str], texts)), None


def rows_at_once(batch_size: int, length: int) -> int:
    """Texts of one forward pass where the longest has `length` tokens: `batch_size`, or as many as have no more tokens than that many usual texts."""
    return max(1, min(batch_size, batch_size * USUAL_LENGTH // length))


def input_limit(classifier: Classifier, maximum_length: int) -> int:
    """Tokens, special ones counted, after which a text is cut: `maximum_length`, but no more than the model takes; 0 is what it takes."""
    from asdfd.models.lengths import longest_input

    longest = longest_input(classifier.model, classifier.tokenizer)
    return min(maximum_length or longest, longest)


def pad(classifier: Classifier, sequences: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
    """`input_ids`, `attention_mask` and, of pairs, `token_type_ids` where the model reads them, all [B, L], of a batch on the model's device; L is the longest
    sequence."""
    import torch

    from asdfd.models.classifiers import type_inputs

    length = max(len(sequence) for sequence in sequences)
    padding = classifier.tokenizer.pad_token_id
    ids = torch.full((len(sequences), length), padding if isinstance(padding, int) else 0)
    mask, types = torch.zeros_like(ids), torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence)
        mask[row, : len(sequence)] = 1
        if of_row := types_of(sequence):
            types[row, : len(sequence)] = torch.tensor(of_row)
    typed = type_inputs(classifier.model, types if any(map(types_of, sequences)) else None)
    return {name: values.to(classifier.model.device) for name, values in {"input_ids": ids, "attention_mask": mask, **typed}.items()}


def types_of(sequence: Sequence[int]) -> Sequence[int]:
    """The token types of a sequence; empty where all are 0."""
    return sequence.types if isinstance(sequence, Encoded) else ()
