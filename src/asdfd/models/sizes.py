"""How large a model is, and how long its inputs may be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn
from transformers import PreTrainedModel

from asdfd.models.classifiers import Classifier
from asdfd.models.families import family_of


def positions(model: PreTrainedModel) -> int:
    """Tokens that a model of a known family, whatever its head, has positions for; 2**30 where its config sets no limit."""
    family, limit = family_of(model.config), getattr(model.config, "max_position_embeddings", None) or 2**30
    table = model.base_model.get_submodule(family.positions) if family.positions_after_padding else None
    return limit - table.padding_idx - 1 if isinstance(table, nn.Embedding) and table.padding_idx is not None else limit


@dataclass(frozen=True)
class Size:
    """How large a model is."""

    parameters: int
    bytes: int
    """Bytes of its *.safetensors on disk."""


def size(classifier: Classifier, folder: Path) -> Size:
    """Parameters of the model (shared ones count once) and bytes of the weights in its folder."""
    parameters = sum(parameter.numel() for parameter in classifier.model.parameters())
    return Size(parameters, sum(path.stat().st_size for path in folder.glob("*.safetensors")))
