"""How long a model's inputs may be, and what they are made of."""

from __future__ import annotations

import math

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from asdfd.models.families import family_of

UNLIMITED = 2**30
"""Tokens that stand for a config or a tokenizer that sets no limit."""


def positions(model: PreTrainedModel) -> int:
    """Tokens that a model of a known family, whatever its head, has positions for; 2**30 where its config sets no limit."""
    family, limit = family_of(model.config), getattr(model.config, "max_position_embeddings", None) or UNLIMITED
    table = model.base_model.get_submodule(family.positions) if family.positions_after_padding else None
    return limit - table.padding_idx - 1 if isinstance(table, nn.Embedding) and table.padding_idx is not None else limit


def longest_input(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens, special ones counted, after which a text is cut: what the tokenizer says, where that is a length and the model has positions for it, or else the
    model's positions. A model without a table of positions takes what its tokenizer says even where that is more."""
    said, most = _length(tokenizer), positions(model)
    if said is None:
        return most
    return min(said, most) if _position_table(model) is not None else said


def _length(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The tokenizer's longest input; None for what is no length (nothing, -1, 1e30, a word, less than its special tokens)."""
    try:
        said = float(tokenizer.model_max_length)
    except (TypeError, ValueError):
        return None
    return int(said) if math.isfinite(said) and tokenizer.num_special_tokens_to_add() < said < UNLIMITED else None


def _position_table(model: PreTrainedModel) -> nn.Module | None:
    name = family_of(model.config).positions
    return dict(model.base_model.named_modules()).get(name) if name else None


def takes_token_types(model: PreTrainedModel) -> bool:
    """Whether the model tells several types of tokens apart."""
    return bool(family_of(model.config).token_types) and getattr(model.config, "type_vocab_size", 0) > 1
