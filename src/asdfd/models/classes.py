"""What a model's config says of its classes. Nothing here loads a model: a run is checked before any is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asdfd.base.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def has_several_labels(config: PreTrainedConfig) -> bool:
    """Whether the texts of a model with this config have any number of its labels."""
    return config.problem_type == "multi_label_classification"


def label_names(config: PreTrainedConfig, shown: str) -> tuple[str, ...]:
    """The name of each class id in order; every class has one of its own."""
    id2label = {int(index): str(name) for index, name in (config.id2label or {}).items()}
    if sorted(id2label) != list(range(len(id2label))):
        raise InputError(f"{shown}: id2label in config.json must name the classes from 0 on without a gap, it names {sorted(id2label)}; correct it")
    names = tuple(id2label[i] for i in range(len(id2label)))
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{shown}: id2label in config.json names two classes {twice[0]!r}; give every class its own name")
    return names
