"""A classifier with fewer tokens: its word table has the rows of those that are kept, and tokenizer and config are numbered alike. Nothing else changes."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from asdfd.base.errors import RefusedError
from asdfd.models.classifiers import Classifier
from asdfd.models.families import family_of
from asdfd.models.vocabulary import pruned_tokenizer

ROUNDING = 1e-2
"""Share by which a student's numbers may differ from its teacher's, for those that were saved in 16 bits."""


def prune(classifier: Classifier, wanted: Collection[int]) -> Classifier:
    """The classifier with the `wanted` token ids and those that any word needs, see `vocabulary`, in storage of its own. It has no footprint.

    Raises:
        RefusedError: its tokenizer cannot be pruned, or its config names a token that it has not.
    """
    if classifier.saved.tokenizer_files:
        raise RefusedError("its tokenizer is written in Python, and no file of one kind holds it")
    config = classifier.model.config
    named = _named_tokens(config)
    padding = config.pad_token_id if classifier.family.positions_after_padding else None
    first = range(0 if padding is None else padding + 1)  # positions are counted from the padding's id, which must stay what it is
    tokenizer, kept = pruned_tokenizer(classifier.tokenizer, {*wanted, *first, *(token for tokens in named.values() for token in tokens)})
    lost = sorted({token for tokens in named.values() for token in tokens} - set(kept))
    if lost or (padding is not None and kept[padding] != padding):
        raise RefusedError(f"its config names token id {lost[0] if lost else padding}, and its tokenizer has no token of that id")
    return replace(classifier, model=pruned_model(classifier.model, kept), tokenizer=tokenizer, footprint=None)


def pruned_model(model: PreTrainedModel, kept: Sequence[int]) -> PreTrainedModel:
    """A copy of the model with the `kept` rows, rising, of its word table, and their new ids in its config."""
    pruned, new = copy.deepcopy(model), {old: index for index, old in enumerate(kept)}
    table = pruned.base_model.get_submodule(family_of(model.config).words)
    assert isinstance(table, nn.Embedding)
    table.weight = nn.Parameter(table.weight.detach()[list(kept)].clone(), requires_grad=table.weight.requires_grad)
    table.num_embeddings = len(kept)
    table.padding_idx = None if table.padding_idx is None else new[table.padding_idx]
    values: dict[str, Any] = {name: getattr(pruned.config, name) for name in _named_tokens(pruned.config)}
    for name, value in values.items():
        setattr(pruned.config, name, [new[token] for token in value] if isinstance(value, list) else new[value])
    pruned.config.vocab_size = len(kept)
    return pruned


def with_all_words(pruned: Classifier, teacher: Classifier) -> Classifier | None:
    """A pruned student with all words of its teacher again, in storage of its own; None where it has them, or where its rows are not the teacher's."""
    kept, whole = pruned.tokenizer.get_vocab(), teacher.tokenizer.get_vocab()
    rows, table = pruned.embedding_table, teacher.embedding_table
    if len(kept) == len(whole) or not kept.keys() <= whole.keys() or rows.shape[1] != table.shape[1]:
        return None
    old = torch.tensor([whole[token] for token in kept], device=table.device)
    if not torch.allclose(rows[[*kept.values()]].float(), table[old].float(), rtol=ROUNDING, atol=ROUNDING / 100):
        return None
    model = copy.deepcopy(pruned.model)
    words = model.base_model.get_submodule(family_of(model.config).words)
    assert isinstance(words, nn.Embedding)
    words.weight = nn.Parameter(table.detach().to(words.weight.dtype).clone(), requires_grad=False)
    of_teacher = teacher.model.base_model.get_submodule(family_of(model.config).words)
    assert isinstance(of_teacher, nn.Embedding)
    words.num_embeddings, words.padding_idx = len(table), of_teacher.padding_idx
    for name in _named_tokens(model.config):
        setattr(model.config, name, getattr(teacher.model.config, name))
    model.config.vocab_size = len(table)
    return replace(pruned, model=model, tokenizer=teacher.tokenizer)


def _named_tokens(config: PreTrainedConfig) -> dict[str, list[int]]:
    """Token ids that a config names, by the names of its settings."""
    found = {}
    for name, value in config.to_dict().items():
        tokens = value if isinstance(value, list) else [value]
        if name.endswith("_token_id") and tokens and all(isinstance(token, int) and token >= 0 for token in tokens):
            found[name] = tokens
    return found
