"""From a folder's config and weights to a model, with nothing dropped, added or taken for something else.

A config travels with switches that change what a forward pass gives back (`output_attentions`, `return_dict`, ...). Here they have the values that the rest of
the code relies on; what the folder says is kept for the student's config.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import CONFIG_MAPPING, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, PreTrainedConfig, PreTrainedModel

from asdfd.base.errors import InputError, RefusedError
from asdfd.models.admission import CONFIG, INDEX, WEIGHTS
from asdfd.models.families import family_of
from asdfd.models.loading import reason

SWITCHES: Mapping[str, object] = MappingProxyType(
    {
        "output_attentions": False,
        "output_hidden_states": False,
        "return_dict": True,
        "torchscript": False,
        "use_cache": False,
        "gradient_checkpointing": False,
        "chunk_size_feed_forward": 0,  # its chunks would have to divide every length
    }
)
"""Settings of a config that change how a model is run and what it gives back, not what it computes; with the values that are needed here."""
WRAPPERS = re.compile(r"^(?:module\.)+|(?:(?<=^)|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What DistributedDataParallel, torch.compile and their like put into the names of weights."""
ADAPTERS = re.compile(
    r"(?:^|\.)(?:lora_\w+|loras|vera_\w+|ia3_\w+|oft_\w+|hada_\w+|base_layer|original_module|modules_to_save|\w*adapters?|adapter_\w+|prompt_\w+|prefix_\w+)"
    r"(?:\.|$)"
)
"""What peft, adapters and their like put into the names of weights."""
TYPES: Mapping[str, torch.dtype] = MappingProxyType({"F64": torch.float32, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16})
"""Types of weights, as safetensors calls them, with those that a student's weights are saved in."""
LISTED = 3
"""Most names of weights in an error."""


@dataclass(frozen=True)
class Saved:
    """What a folder says of itself that the loaded model no longer shows."""

    switches: Mapping[str, object] = field(default_factory=dict)
    """The switches that its config.json names, as it names them."""
    dtype: torch.dtype = torch.float32
    """The type that most of its weights are saved in."""
    tokenizer_files: Mapping[str, bytes] = field(default_factory=dict)
    """The files of a tokenizer that is written in Python, see `tokenization.python_files`."""


@dataclass(frozen=True)
class Stored:
    """A weight as it lies in a file."""

    dtype: str
    """As safetensors calls it."""
    count: int


def load_model(folder: Path, shown: str) -> tuple[PreTrainedModel, Saved]:
    """The classifier in a Hugging Face folder in float32, on the processor, and how it was saved. `shown` is what errors call the folder.

    Raises:
        InputError: the config or the weights are damaged, or weights are missing, of another shape, or nothing is computed with them.
        RefusedError: the weights are quantized.
    """
    try:
        stored = stored_weights(folder)
        config, switches = read_config(folder)
        wrapped = any(WRAPPERS.search(name) for name in stored)
        model_class: Any = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)]
        model, report = model_class.from_pretrained(
            None if wrapped else folder,
            config=config,
            state_dict=unwrapped_weights(folder) if wrapped else None,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            ignore_mismatched_sizes=True,  # so that they are reported, and refused below with their names
            output_loading_info=True,
        )
    except Exception as error:  # a config or an index that is wrong somewhere raises whatever trips over it first
        raise InputError(f"{shown}: the model cannot be loaded ({reason(error, folder, shown)}); save it again with save_pretrained") from None
    _check_report(model, report, stored, shown)
    for name, tensor in model.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"{shown}: weight {name} holds NaN or infinite values; take a checkpoint from before the training diverged")
    return model, Saved(MappingProxyType(switches), main_type(stored))


def read_config(folder: Path) -> tuple[PreTrainedConfig, dict[str, object]]:
    """The config of a folder with our switches, and those that it names, as it names them."""
    values: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    switches = {name: values.pop(name) for name in SWITCHES if name in values}
    values = {name: value for name, value in values.items() if name not in ("quantization_config", "auto_map") or value}  # null says that there is none
    config = CONFIG_MAPPING[values["model_type"]].from_dict(values)
    for name, value in SWITCHES.items():
        if hasattr(config, name):
            setattr(config, name, value)
    return config, switches


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder's weights."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    return [folder / name for name in sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))]


def stored_weights(folder: Path) -> dict[str, Stored]:
    """All weights of a folder by the headers of their files."""
    found = {}
    for path in weight_files(folder):
        with safe_open(path, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118  # it is no mapping
                part = weights.get_slice(name)
                found[name] = Stored(part.get_dtype(), prod(part.get_shape()))
    return found


def unwrapped_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of a folder by the names that they had before the model was wrapped for training."""
    found: dict[str, Tensor] = {}
    for path in weight_files(folder):
        with safe_open(path, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118  # it is no mapping
                plain = WRAPPERS.sub("", name)
                if plain in found:
                    raise ValueError(f"two weights are called {plain} when what wrapped the model is taken away")
                found[plain] = weights.get_tensor(name)
    return found


def main_type(stored: Mapping[str, Stored]) -> torch.dtype:
    """The type that most numbers are stored in, of those that a student can be saved in."""
    numbers: Counter[torch.dtype] = Counter()
    for weight in stored.values():
        if weight.dtype in TYPES:
            numbers[TYPES[weight.dtype]] += weight.count
    return max(numbers, key=lambda dtype: numbers[dtype], default=torch.float32)


def _check_report(model: PreTrainedModel, report: Mapping[str, Any], stored: Mapping[str, Stored], shown: str) -> None:
    """Refuse what from_pretrained would gloss over: weights that are missing, of another shape or type, or that nothing is computed with."""
    for name, found, needed in sorted(report["mismatched_keys"]):
        raise InputError(f"{shown}: weight {name} has shape {list(found)}, config.json asks for {list(needed)}; take both from the same model")
    unexpected = sorted(report["unexpected_keys"])
    adapters = [name for name in unexpected if ADAPTERS.search(name)]
    if adapters:
        raise InputError(
            f"{shown}: has weights of an adapter, which would be left out: {_listed(adapters)}; merge it into the model where it was trained "
            "(with peft: model.merge_and_unload().save_pretrained(FOLDER)) and name that folder"
        )
    _check_missing(model, sorted(report["missing_keys"]), shown)
    _check_unused(model, [name for name in unexpected if stored.get(name, Stored("F32", 1)).dtype in TYPES], shown)
    for name in model.state_dict():
        if name in stored and stored[name].dtype not in TYPES:
            raise RefusedError(f"{shown}: weight {name} is stored as {stored[name].dtype}, and gradients need plain weights; name the model it was made from")


def _check_missing(model: PreTrainedModel, missing: Sequence[str], shown: str) -> None:
    head = [name for part in reversed(family_of(model.config).head) for name in missing if name.startswith(f"{part}.")]
    if head:
        raise InputError(f"{shown}: has no classification head ({head[0]} is missing); fine-tune it as a sequence classifier and name that model")
    if missing:
        raise InputError(f"{shown}: weight {missing[0]} is missing ({len(missing)} in all); save the model again with save_pretrained")


def _check_unused(model: PreTrainedModel, unexpected: Sequence[str], shown: str) -> None:
    """Refuse weights below a part of the model: it computes something else than it did with them.

    What belongs to no part is left over from other heads (`cls.predictions`, `lm_head`, a pooler that this classifier has not), and changes no answer.
    """
    family, layers = family_of(model.config), model.config.num_hidden_layers
    for name in unexpected:
        index = family.layer(name)
        if index is not None and not family.one_layer and index >= layers:
            raise InputError(f"{shown}: has weights of layer {index}, config.json has {layers} layers; take both from the same model")
    parts = {name for name, _ in model.named_modules()} - {"", family.encoder}
    unused = [name for name in unexpected if any(name[: dot.start()] in parts for dot in re.finditer(r"\.", name))]
    if unused:
        raise InputError(
            f"{shown}: has weights that transformers {_version()} computes nothing with, in parts of the model that it uses: {_listed(unused)}; "
            "its answers would not be the model's own: name a model without them, or one that was trained after they were taken out"
        )


def _version() -> str:
    from transformers import __version__

    return __version__


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {rest} more" if rest > 0 else "")
