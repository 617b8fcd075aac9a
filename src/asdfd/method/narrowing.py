"""A student that is narrower than its teacher: fewer attention heads and inner units, and a hidden space of its own.

Its hidden space begins as the principal directions P [H, w] of the teacher's on drawn words: every linear map W becomes Out' W In with orthonormal bases In and
Out, which are those directions, or a choice of heads and units where a nonlinearity forbids any other basis. What is left out on average goes to the bias.
Normalisation weights have no exact counterpart in another basis, so each is fitted, in the order of the forward pass, to what the teacher has there; the last
layer of the head is, too. That is where training starts: such a student has embeddings of its own, so it learns from token ids, and its hidden states are
compared with the teacher's through a learned map that begins as P. Shapes: N sequences, T tokens, H and w hidden widths, C classes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedConfig, PreTrainedModel

from asdfd.method.prior import frame_of, vocabulary_prior
from asdfd.method.randomness import generator
from asdfd.method.widths import check_width
from asdfd.models.classifiers import Classifier, signals, type_inputs
from asdfd.models.families import Family, Layer, family_of
from asdfd.models.lengths import positions
from asdfd.models.students import derive_student

SEQUENCES, LENGTH = 512, 12
"""Drawn sequences that the bases are taken from and the fits are made on, and the words of each."""
RIDGE = 0.1
"""Strength that holds the head's last layer near what was projected, in units of its inputs' mean variance."""

CHOSEN = ("attention", "inner", "head")
"""Kinds of inputs of a linear map, see `spaces`, of which units are chosen; other spaces have bases of their own."""


@dataclass(frozen=True)
class Narrow:
    """A narrow student before its first step."""

    student: PreTrainedModel
    projection: nn.Linear
    """From its hidden states to the teacher's, [w] to [H]."""


@dataclass(frozen=True)
class Inputs:
    """What came into a linear layer of the teacher: mean and variance of each unit."""

    mean: Tensor
    variance: Tensor


@dataclass(frozen=True)
class Statistics:
    """What the teacher did on drawn words."""

    inputs: Mapping[str, Inputs]
    """Of every linear layer, by name."""
    normed: Mapping[str, Tensor]
    """Outputs of every normalisation, [T, width]."""
    hidden: tuple[Tensor, ...]
    """Hidden states of the embeddings and of every layer, each [T, H]."""
    logits: Tensor
    """Of every sequence, [N, C]."""


def narrow_student(teacher: Classifier, layer_map: Sequence[int], width: int, seed: int, *, pairs: bool = False) -> Narrow:
    """A student with the layers of `layer_map` and a hidden size of `width`, for single texts or for `pairs`; everything in it takes gradients.

    It needs nothing of ours when it is loaded.

    Raises:
        InputError, RefusedError: see `check_width`.
    """
    check_width(width, teacher.model.config)
    ids, types = drawn_words(teacher, seed, pairs=pairs)
    statistics = collect_statistics(teacher.model, ids, types)
    shallow = derive_student(teacher, layer_map)
    basis = principal_directions([statistics.hidden[0], *(statistics.hidden[layer + 1] for layer in layer_map)], width)
    source = teacher_names(shallow, layer_map)
    with torch.random.fork_rng(devices=[]):  # the weights drawn here are all overwritten
        student = type(shallow)(narrow_config(shallow.config, width)).eval().to(ids.device)  # pyright: ignore[reportArgumentType]
    student.load_state_dict(projected_weights(shallow, student.config, basis, statistics, source))
    fit(student, (ids, types), basis, statistics, source)
    projection = nn.Linear(width, len(basis), bias=False, device=ids.device)
    with torch.no_grad():
        projection.weight.copy_(basis)
    return Narrow(student.requires_grad_(True), projection)


@torch.no_grad()
def narrowed(projection: nn.Linear, hidden: Tensor) -> Tensor:
    """The narrow hidden states [B, L, w] that `projection` brings nearest to the teacher's [B, L, H]; no gradient flows through."""
    weight = projection.weight  # [H, w], of full rank: its columns begin orthonormal
    return hidden @ torch.linalg.solve_ex(weight.T @ weight, weight.T)[0].T


def drawn_words(teacher: Classifier, seed: int, *, pairs: bool = False) -> tuple[Tensor, Tensor | None]:
    """Framed token ids [N, L] drawn from the vocabulary prior and, of pairs with texts of equal length, their token types [N, L]."""
    frame = frame_of(teacher.tokenizer, pairs=pairs)
    length = min(LENGTH, positions(teacher.model) - frame.length)
    frame = frame.at(length // 2 if pairs else None)
    drawn = vocabulary_prior(teacher.tokenizer, "zipf").draw(SEQUENCES * length, generator(seed, "narrowing")).reshape(SEQUENCES, length)
    content = torch.from_numpy(drawn).to(teacher.embedding_table.device)
    return frame.around(content), frame.token_types(content)


@torch.no_grad()
def collect_statistics(model: PreTrainedModel, ids: Tensor, types: Tensor | None = None) -> Statistics:
    """What a model does on token ids [N, L] and, of pairs, their types."""
    inputs: dict[str, Inputs] = {}
    normed: dict[str, Tensor] = {}

    def watch(name: str, module: nn.Module) -> RemovableHandle:
        def after(_: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
            if isinstance(module, nn.LayerNorm):
                normed[name] = made.flatten(0, -2)
            else:
                variance, mean = torch.var_mean(given[0].flatten(0, -2), dim=0)
                inputs[name] = Inputs(mean, variance)

        return module.register_forward_hook(after)

    handles = [watch(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.LayerNorm)]
    try:
        found = signals(model, model.get_input_embeddings()(ids), types)
    finally:
        for handle in handles:
            handle.remove()
    return Statistics(inputs, normed, tuple(hidden.flatten(0, 1) for hidden in found.hidden), found.logits)


def principal_directions(hidden: Sequence[Tensor], width: int) -> Tensor:
    """Orthonormal directions [H, w] that hold most of the mean square of hidden states [T, H]; every one of them counts as much, whatever its scale."""
    moments = torch.stack([states.double().T @ states.double() / states.double().square().sum() for states in hidden])
    return torch.linalg.eigh(moments.sum(0).cpu()).eigenvectors[:, -width:].flip(1).float().to(hidden[0].device)


def narrow_config(config: PreTrainedConfig, width: int) -> PreTrainedConfig:
    """The config of a student of that width: heads of the same size, and as many fewer inner units."""
    changes: dict[str, Any] = {
        "hidden_size": width,
        "num_attention_heads": width * config.num_attention_heads // config.hidden_size,
        narrowed_layer(family_of(config)).inner_size: max(1, round(inner_size(config) * width / config.hidden_size)),
    }
    if getattr(config, "embedding_size", None) == config.hidden_size:  # ELECTRA's, which may be narrower than its hidden states and then stay what they are
        changes["embedding_size"] = width
    narrow = copy.deepcopy(config)
    for name, value in changes.items():
        setattr(narrow, name, value)
    return narrow


def teacher_names(shallow: PreTrainedModel, layer_map: Sequence[int]) -> dict[str, str]:
    """The teacher's name of every module of a student with these layers."""
    family = family_of(shallow.config)
    layers = {name: family.layer(name) for name, _ in shallow.named_modules()}
    return {name: name if layer is None else family.moved(name, layer_map[layer]) for name, layer in layers.items()}


def projected_weights(
    shallow: PreTrainedModel, config: PreTrainedConfig, basis: Tensor, statistics: Statistics, source: Mapping[str, str]
) -> dict[str, Tensor]:
    """The state dict of the narrow student of a model that has its layers at full width; normalisations are left for `fit`."""
    weights, family = dict(shallow.state_dict()), family_of(shallow.config)
    linear = {name: module for name, module in shallow.named_modules() if isinstance(module, nn.Linear)}
    choices = chosen_units(linear, config, statistics, source)

    def space(name: str, kind: str, size: int) -> Tensor:
        return basis if kind == "hidden" else choices[family.layer(name), kind] if kind in CHOSEN else torch.eye(size, device=basis.device)

    from_embeddings, widened = basis, f"{family.encoder}.{family.widened}"
    if widened in linear and config.embedding_size == config.hidden_size:  # then the student has no such map: the table takes it in
        from_embeddings = linear.pop(widened).weight.T @ basis
        del weights[f"{widened}.weight"], weights[f"{widened}.bias"]
    for name, module in linear.items():
        made, taken = spaces(family, name)
        outer, inner = space(name, made, module.out_features), space(name, taken, module.in_features)
        mean = statistics.inputs[source[name]].mean
        lost = module.weight @ (mean - inner @ (inner.T @ mean))
        weights[f"{name}.weight"], weights[f"{name}.bias"] = outer.T @ module.weight @ inner, outer.T @ (module.bias + lost)
    for name, module in shallow.named_modules():
        if isinstance(module, nn.LayerNorm) and module.normalized_shape[0] in (len(basis), len(from_embeddings)):
            weights[f"{name}.weight"], weights[f"{name}.bias"] = basis.new_ones(basis.shape[1]), basis.new_zeros(basis.shape[1])
        elif isinstance(module, nn.Embedding) and module.embedding_dim == len(from_embeddings):
            weights[f"{name}.weight"] = module.weight @ from_embeddings
    return weights


def chosen_units(
    linear: Mapping[str, nn.Linear], config: PreTrainedConfig, statistics: Statistics, source: Mapping[str, str]
) -> dict[tuple[int | None, str], Tensor]:
    """The heads and units that a narrow student keeps of every layer and, at None, of the classification head, as one-hot columns [units, kept].

    They are the ones whose share in what the next linear layer gives varies most on drawn words.
    """
    heads, family, choices = config.num_attention_heads, family_of(config), {}
    for name, module in linear.items():
        kind = spaces(family, name)[1]
        if kind in CHOSEN:
            counted = statistics.inputs[source[name]].variance * module.weight.square().sum(0)
            together = config.hidden_size // heads if kind == "attention" else 1
            kept = inner_size(config) if kind == "inner" else config.hidden_size
            best = counted.reshape(-1, together).sum(1).topk(kept // together).indices.sort().values
            units = (best[:, None] * together + torch.arange(together, device=best.device)).flatten()
            choices[family.layer(name), kind] = nn.functional.one_hot(units, len(counted)).T.to(counted.dtype)
    return choices


def spaces(family: Family, name: str) -> tuple[str, str]:
    """The spaces of a linear map's outputs and inputs: `hidden`, `embeddings`, `classes`, or units of `attention`, `inner` or `head`."""
    first, last = family.head
    outside = {first: ("head", "hidden"), last: ("classes", "head"), f"{family.encoder}.{family.widened}": ("hidden", "embeddings")}
    if name in outside:
        return outside[name]
    number, maps = family.layer(name), narrowed_layer(family)
    of_layer = {maps.attended: ("hidden", "attention"), maps.inner: ("inner", "hidden"), maps.output: ("hidden", "inner")}
    inside = name.removeprefix(f"{family.all_layers}.{number}.")
    return ("attention", "hidden") if inside in maps.heads else of_layer[inside]


def inner_size(config: PreTrainedConfig) -> int:
    """Units of the feed-forward part of a layer."""
    return getattr(config, narrowed_layer(family_of(config)).inner_size)


def narrowed_layer(family: Family) -> Layer:
    """The maps of a layer of a family whose students can be narrower."""
    assert family.narrowed is not None, "the width was checked"
    return family.narrowed


@torch.no_grad()
def fit(student: PreTrainedModel, inputs: tuple[Tensor, Tensor | None], basis: Tensor, statistics: Statistics, source: Mapping[str, str]) -> None:
    """Set the normalisations and the last layer of the head by least squares on what the teacher has there, each given those before it."""

    def fit_norm(name: str, module: nn.LayerNorm) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        def after(_: nn.Module, __: tuple[Tensor, ...], made: Tensor) -> Tensor:
            teachers = statistics.normed[source[name]]
            if teachers.shape[1] != len(basis):  # narrow embeddings that the teacher maps to its hidden states after this, and the student does not
                teachers = statistics.hidden[0]
            normed, wanted = made.flatten(0, -2).double(), (teachers @ basis).double()
            centred = normed - normed.mean(0)
            slope = (centred * (wanted - wanted.mean(0))).mean(0) / centred.square().mean(0).clamp_min(1e-12)
            module.weight.copy_(slope)
            module.bias.copy_(wanted.mean(0) - slope * normed.mean(0))
            return made * module.weight + module.bias

        return after

    def fit_head(module: nn.Linear) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def before(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            features = given[0].double()
            missing = statistics.logits.double() - (features @ module.weight.T.double() + module.bias.double())
            centred = features - features.mean(0)
            square = centred.T @ centred / len(features)
            square.diagonal().add_(RIDGE * square.diagonal().mean() + 1e-12)
            change = torch.linalg.solve(square, centred.T @ (missing - missing.mean(0)) / len(features)).T
            module.weight.add_(change)
            module.bias.add_(missing.mean(0) - change @ features.mean(0))

        return before

    handles, family = [], family_of(student.config)
    for name, module in student.named_modules():
        if isinstance(module, nn.LayerNorm) and module.normalized_shape[0] == basis.shape[1]:
            handles.append(module.register_forward_hook(fit_norm(name, module)))
        elif isinstance(module, nn.Linear) and spaces(family, name)[0] == "classes":
            handles.append(module.register_forward_pre_hook(fit_head(module)))
    try:
        student(input_ids=inputs[0], **type_inputs(student, inputs[1]))
    finally:
        for handle in handles:
            handle.remove()
