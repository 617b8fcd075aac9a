"""A student before its training, made of the teacher's layers, and a student saved."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from asdfd.models.admission import CONFIG
from asdfd.models.classifiers import Classifier
from asdfd.models.families import Family, FoldedNorm, OlderNames, family_of
from asdfd.models.loading import without_load_reports
from asdfd.models.tokenization import save_tokenizer
from asdfd.models.weights import SWITCHES


def derive_student(teacher: Classifier, layer_map: Sequence[int]) -> PreTrainedModel:
    """A model of the teacher's architecture with the layers of `layer_map` (as `parse_layer_map` gives it), on the teacher's device, in storage of its own.

    Embeddings, pooler and classification head are the teacher's. Everything takes gradients except the word-embedding table. The model is in evaluation
    mode (training goes without dropout) and keeps the teacher's dropout values in its config. Where one layer is repeated, the map only sets how often.
    """
    config = copy.deepcopy(teacher.model.config)
    config.num_hidden_layers = len(layer_map)
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[i] for i in layer_map]
    with torch.random.fork_rng(devices=[]):  # the weights drawn here are all overwritten
        student = type(teacher.model)(config)
    student.load_state_dict(_student_weights(teacher.model, layer_map))
    student.base_model.get_submodule(teacher.family.words).requires_grad_(False)
    return student.to(teacher.embedding_table.device).eval()  # pyright: ignore[reportArgumentType]


def _student_weights(model: PreTrainedModel, layer_map: Sequence[int]) -> dict[str, Tensor]:
    """The teacher's state dict with the chosen layers renumbered and the others left out."""
    family = family_of(model.config)
    if family.one_layer:
        return dict(model.state_dict())
    weights: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        layer = family.layer(name)
        if layer is None:
            weights[name] = tensor
        elif layer in layer_map:
            weights[family.moved(name, list(layer_map).index(layer))] = tensor
    if family.folded_norm is not None and layer_map[0] != 0:
        _fold_first_norm(weights, family, family.folded_norm)
    return weights


def _fold_first_norm(weights: dict[str, Tensor], family: Family, folded: FoldedNorm) -> None:
    """A later layer that is put first, where layers have no such norm, leaves its norm to the linear map that reads it.

    The embeddings' norm has centred and scaled its output up to its weight, so what is left of the layer's own norm is its weight over that one's size.
    """
    first = f"{family.all_layers}.0"
    norm = weights.pop(f"{first}.{folded.norm}.weight")
    weights.pop(f"{first}.{folded.norm}.bias", None)
    scale = norm / weights[f"{family.encoder}.{folded.embeddings_norm}.weight"].square().mean().sqrt()
    weights[f"{first}.{folded.into}.weight"] = weights[f"{first}.{folded.into}.weight"] * scale


def save_student(model: PreTrainedModel, teacher: Classifier, folder: Path, dtype: torch.dtype | None = None) -> torch.dtype:
    """Write a Hugging Face folder that `AutoModelForSequenceClassification` and `pipeline("text-classification")` load with nothing of ours installed.

    Tokenizer and switches of the config are the teacher's, and so is the type of the weights where none is given; returns the type that they were saved in. The
    same weights and tokenizer write the same bytes, whatever was encoded before.
    """
    dtype = saved_type(model, dtype or teacher.saved.dtype)
    saved = model if dtype == model.dtype else copy.deepcopy(model).to(dtype)  # pyright: ignore[reportArgumentType]
    with without_load_reports():
        saved.save_pretrained(folder)
        save_tokenizer(teacher.tokenizer, teacher.saved.tokenizer_files, folder)
    path = folder / CONFIG
    values = {name: value for name, value in json.loads(path.read_text(encoding="utf-8")).items() if name not in {*SWITCHES, "tie_last_hidden_states"}}
    values |= {**teacher.saved.switches, **older_names(model.config)}  # our way of running the model is not a property of it
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return dtype


def saved_type(model: PreTrainedModel, wanted: torch.dtype) -> torch.dtype:
    """The wanted type, or float32 where a weight has left the range of float16."""
    reach = torch.finfo(torch.float16).max
    beyond = wanted == torch.float16 and any(bool((parameter.abs() > reach).any()) for parameter in model.parameters())
    return torch.float32 if beyond else wanted


def older_names(config: PreTrainedConfig) -> dict[str, Any]:
    """Settings by the names that older versions of transformers know.

    Where those cannot say what the layers are, the number of layers between two of a kind is null: a version that reads it fails, and does not answer wrongly.
    """
    older = family_of(config).older
    if older is None:
        return {}
    return {older.every: _period(config, older), **{name: config.rope_parameters[kind]["rope_theta"] for kind, name in older.angles.items()}}


def oldest_version(config: PreTrainedConfig) -> str:
    """The oldest version of transformers, of those that were tried, that computes what we do."""
    family = family_of(config)
    return family.older.until if family.older is not None and _period(config, family.older) is None else family.since


def _period(config: PreTrainedConfig, older: OlderNames) -> int | None:
    """The number of layers from one that attends to everything to the next; None where there is none, or where positions are scaled."""
    kinds = [kind == older.everything for kind in config.layer_types]
    scaled = any(config.rope_parameters[kind].get("rope_type", "default") != "default" for kind in older.angles)
    fitting = (period for period in range(1, len(kinds) + 1) if kinds == [layer % period == 0 for layer in range(len(kinds))])
    return None if scaled else next(fitting, None)
