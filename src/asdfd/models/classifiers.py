"""Teacher and student: load, freeze, probe, ask.

Everything here works on Hugging Face sequence classifiers of the known families, through `inputs_embeds`: raw word embeddings [B, L, D], before position
embeddings, token types and LayerNorm. No attention mask is passed; sequences of one batch have equal length, so every position is real.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from asdfd.base import artifacts
from asdfd.base.artifacts import Artifact
from asdfd.base.errors import InputError, RefusedError
from asdfd.models.classes import has_several_labels, label_names
from asdfd.models.families import Family, family_of
from asdfd.models.footprint import Footprint, read_footprint
from asdfd.models.lengths import longest_input, takes_token_types
from asdfd.models.loading import without_load_reports
from asdfd.models.tokenization import load_tokenizer, python_files
from asdfd.models.weights import Saved, load_model

PROBE_LENGTH = 12
"""Random words of the probe; few enough for any model's position table."""
PROBE_TOLERANCE = 1e-4
"""Largest difference of the probe's logits, as a share of the largest logit (or of 1, where all are smaller)."""


@dataclass(frozen=True)
class Classifier:
    """A frozen sequence classifier in evaluation mode, its tokenizer, and the name of each class id."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    label_names: tuple[str, ...]
    saved: Saved = field(default_factory=Saved)
    """How its folder has it."""
    footprint: Footprint | None = None
    """What fine-tuning moved, of a teacher whose encoder was named."""

    @property
    def family(self) -> Family:
        """What is known of the model from inside."""
        return family_of(self.model.config)

    @property
    def several(self) -> bool:
        """Whether a text has any number of the labels, each decided by itself, and not one of them."""
        return has_several_labels(self.model.config)

    @property
    def embedding_table(self) -> Tensor:
        """Word embeddings [V, D]; D can be narrower than the hidden size (ALBERT, ELECTRA)."""
        return self.model.base_model.get_submodule(self.family.words).get_parameter("weight")

    @property
    def layers(self) -> int:
        """Transformer layers, repetitions of a shared one counted."""
        return self.model.config.num_hidden_layers


@dataclass(frozen=True)
class Signals:
    """What a student learns from: logits [B, C] and the hidden states [B, L, H] of the embeddings' output and of every layer, in order."""

    logits: Tensor
    hidden: tuple[Tensor, ...]


def load_teacher(source: Path | Artifact, device: torch.device | str = "cpu") -> Classifier:
    """The teacher in an artifact, of which every byte is verified unless it was: float32, frozen, in evaluation mode, probed.

    Raises:
        InputError: no teacher artifact, or damaged.
        RefusedError: pseudo embeddings cannot stand in for text with this model.
    """
    return _load_artifact(source, "teacher", device)


def load_student(source: Path | Artifact, device: torch.device | str = "cpu") -> Classifier:
    """The student in an artifact, loaded as `load_teacher` does."""
    return _load_artifact(source, "student", device)


def _load_artifact(source: Path | Artifact, kind: str, device: torch.device | str) -> Classifier:
    path = artifacts.verified(source, kind).path
    classifier = load_classifier(path, str(path), device)
    probe(classifier, str(path))
    return replace(classifier, footprint=read_footprint(path))


def load_classifier(folder: Path, shown: str, device: torch.device | str = "cpu") -> Classifier:
    """The classifier in a Hugging Face folder, float32, frozen, in evaluation mode; nothing in it may be newly initialised.

    `shown` is what errors call the folder. Nothing is printed and nothing is looked up on a network.

    Raises:
        InputError: the weights, the config, the labels or the tokenizer are damaged or do not fit each other.
        RefusedError: the weights are quantized.
    """
    with without_load_reports():
        model, saved = load_model(folder, shown)
        tokenizer = load_tokenizer(folder, shown)
        saved = replace(saved, tokenizer_files=python_files(folder))
    classifier = Classifier(model.to(device).eval().requires_grad_(False), tokenizer, label_names(model.config, shown), saved)  # pyright: ignore[reportArgumentType]
    _check_vocabulary(classifier, shown)
    tokenizer.model_max_length = longest_input(model, tokenizer)
    if not takes_token_types(model):
        tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name != "token_type_ids"]
    # Hidden states are layer outputs as they are, in every family: ModernBERT's last one would come after the final norm, unlike the one it is matched with.
    model.config.tie_last_hidden_states = False
    return classifier


def _check_vocabulary(classifier: Classifier, shown: str) -> None:
    """Refuse a tokenizer that lost its vocabulary (transformers makes an empty one rather than fail) or that has ids beyond the embedding table."""
    ids = set(classifier.tokenizer.get_vocab().values())
    if ids <= set(classifier.tokenizer.all_special_ids):
        raise InputError(f"{shown}: the tokenizer has no words, its vocabulary file is not of its class; save it again with save_pretrained")
    rows = len(classifier.embedding_table)
    if max(ids) >= rows:
        raise InputError(f"{shown}: the tokenizer has token id {max(ids)}, the embedding table only {rows} rows; take both from the same model")


@torch.no_grad()
def probe(classifier: Classifier, shown: str = "teacher") -> None:
    """Check on random words that a forward pass by token ids and one by their rows of the embedding table give the same logits.

    `shown` is what errors call the model.

    Raises:
        RefusedError: they differ (a family that scales or maps its embeddings before `inputs_embeds`), or are not finite.
    """
    table, tokenizer = classifier.embedding_table, classifier.tokenizer
    words = sorted(set(range(table.shape[0])) - set(tokenizer.all_special_ids) - {classifier.model.config.pad_token_id})
    drawn = torch.randint(len(words), (2, PROBE_LENGTH), generator=torch.Generator().manual_seed(0)).tolist()
    before = [token for token in [tokenizer.cls_token_id] if token is not None]
    after = [token for token in [tokenizer.sep_token_id] if token is not None]
    ids = torch.tensor([[*before, *(words[i] for i in row), *after] for row in drawn], device=table.device)
    by_ids = classifier.model(input_ids=ids).logits
    by_embeddings = signals(classifier.model, table[ids]).logits
    difference = (by_ids - by_embeddings).abs().max().item()
    if not difference <= PROBE_TOLERANCE * max(1.0, by_ids.abs().max().item()) or not math.isfinite(difference):
        raise RefusedError(
            f"{shown}: the model computes different logits from ids and from embeddings, so pseudo embeddings cannot stand in for text; "
            "name a teacher of a supported family as transformers implements it"
        )


def type_inputs(model: PreTrainedModel, types: Tensor | None) -> dict[str, Tensor]:
    """The token types [B, L] of a batch as the model takes them; nothing where there are none, or where the model reads none."""
    return {} if types is None or not takes_token_types(model) else {"token_type_ids": types}


def signals(model: PreTrainedModel, embeddings: Tensor, types: Tensor | None = None) -> Signals:
    """Forward pass on raw word embeddings [B, L, D] and, of pairs, token types [B, L]; differentiable, and all L positions are real. Nothing waits for the
    device."""
    output = model(inputs_embeds=embeddings, **type_inputs(model, types), output_hidden_states=True, return_dict=True)
    return Signals(output.logits, tuple(output.hidden_states))


def choose_device(name: str) -> torch.device:
    """The device of that name: `auto` (a GPU when there is one), `cpu` or `cuda`.

    Raises:
        InputError: cuda on a machine without a usable GPU, or an unknown name.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"device {name!r} is unknown; choose auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "device cuda: no usable GPU was found; check the driver with nvidia-smi, or set device=cpu or device=auto, in a cluster with accelerator_count=0"
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def usable_devices(name: str) -> list[torch.device]:
    """Every device of that name: all GPUs that this process sees, or the processor.

    Raises:
        InputError: as `choose_device`.
    """
    device = choose_device(name)
    return [torch.device("cuda", number) for number in range(torch.cuda.device_count())] if device.type == "cuda" else [device]
