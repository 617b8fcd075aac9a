"""A student before its training, made of the teacher's layers, and a student saved."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from asdfd.base.errors import InputError
from asdfd.models.classifiers import Classifier, without_load_reports
from asdfd.models.families import Family, FoldedNorm, family_of


def parse_layer_map(layers: str, count: int, teacher_layers: int) -> tuple[int, ...]:
    """Teacher layers, from 0, that the student is made of.

    `every-other` spreads `count` layers evenly and always keeps the last one, which the classification head sits on; `first` and `last` take `count` from
    that end; a list such as `1,3,5` is taken as it is, whatever `count` is. A `count` of 0 is half of the teacher's layers, at least one.

    Raises:
        InputError: more layers than the teacher has, an unknown name, or a list that does not rise from layer to layer.
    """
    if layers not in ("every-other", "first", "last"):
        return _explicit_layers(layers, teacher_layers)
    count = count or max(1, teacher_layers // 2)
    if not 0 < count <= teacher_layers:
        raise InputError(f"student.count {count} is out of range, the teacher has {teacher_layers} layers; choose 1 to {teacher_layers}, or 0 for half of them")
    if layers == "first":
        return tuple(range(count))
    if layers == "last":
        return tuple(range(teacher_layers - count, teacher_layers))
    return tuple(round((i + 1) * teacher_layers / count) - 1 for i in range(count))


def _explicit_layers(layers: str, teacher_layers: int) -> tuple[int, ...]:
    try:
        chosen = tuple(int(part) for part in layers.split(","))
    except ValueError:
        raise InputError(f"student.layers {layers!r} is unknown; write every-other, first, last, or teacher layers from 0 such as 1,3,5") from None
    if list(chosen) != sorted(set(chosen)) or chosen[0] < 0 or chosen[-1] >= teacher_layers:
        raise InputError(f"student.layers {layers!r} must rise from layer to layer and stay between 0 and {teacher_layers - 1}, the teacher's last layer")
    return chosen


def layer_pairs(layer_map: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of indices into `Signals.hidden` of student and teacher that belong together: the output of every student layer and that of the layer it was."""
    return [(student + 1, teacher + 1) for student, teacher in enumerate(layer_map)]


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


def save_student(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a Hugging Face folder that `AutoModelForSequenceClassification` and `pipeline("text-classification")` load with nothing of ours installed.

    The same weights and tokenizer write the same bytes, whatever was encoded before.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:  # how the last batch was cut and padded would be saved as the tokenizer's own
        backend.no_truncation()
        backend.no_padding()
    reading = vars(model.config).pop("tie_last_hidden_states", None)  # our way of reading hidden states is not a property of the saved model
    try:
        with without_load_reports():
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
    finally:
        model.config.tie_last_hidden_states = reading
