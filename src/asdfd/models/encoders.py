"""The public encoder that a teacher was fine-tuned from: its folder is checked as a teacher's is, two tables of it are read, and nothing is executed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

from asdfd.base.artifacts import FileEntry, content_digest, sha256_of
from asdfd.base.errors import InputError, RefusedError
from asdfd.models.admission import CONFIG, INDEX, check_family, check_folder, check_no_code, read_json, tokenizer_files, weight_files
from asdfd.models.classifiers import Classifier
from asdfd.models.families import FAMILIES, Family
from asdfd.models.footprint import Drift, Footprint, drift, moves, traces
from asdfd.models.loading import without_load_reports
from asdfd.models.tokenization import load_tokenizer

PROBLEMS = {
    "frozen": "its word table is the encoder's, so fine-tuning left it frozen and no footprint is in it",
    "moved everywhere": "every row of its word table moved, also of words that no text holds, so no footprint can be told (it was trained with L2 "
    "regularisation, or from another checkpoint of the encoder)",
}
"""Why a word table has no footprint, by what `drift` calls it."""


@dataclass(frozen=True)
class Encoder:
    """A folder that holds an encoder, with any head or none."""

    shown: str
    """What errors call it."""
    folder: Path
    files: tuple[str, ...]
    """Its weights and their index."""
    digest: str
    family: Family


def read_encoder(folder: Path, shown: str) -> Encoder:
    """Check a folder by its file names, its JSON files and the headers of its weights.

    Raises:
        InputError: something is missing or damaged.
        RefusedError: pickle weights only, code, or a family that is not supported.
    """
    try:
        check_folder(folder, shown)
        config = read_json(folder, CONFIG, shown)
        check_no_code(folder, config, shown)
        check_family(config, shown)
        weights = weight_files(folder, shown)
        names = sorted([CONFIG, *weights, *tokenizer_files(folder, shown)])
        digest = content_digest("encoder", {name: FileEntry(sha256_of(folder / name), (folder / name).stat().st_size) for name in names})
    except OSError as error:
        raise InputError(f"teacher.base: {error.filename or shown}: cannot be read ({error.strerror or error}); check the file and its permissions") from None
    return Encoder(shown, folder, tuple(weights), digest, FAMILIES[config["model_type"]])


def footprint_of(teacher: Classifier, encoder: Encoder) -> tuple[Footprint | None, str]:
    """The footprint of a teacher, and a sentence about it; None where its table does not tell one.

    Raises:
        InputError: the encoder's weights or tokenizer are damaged, or its tables are missing.
        RefusedError: it is not what the teacher was fine-tuned from: another family, vocabulary or width, or a table that is quite another.
    """
    where, family = f"teacher.base: {encoder.shown}", teacher.family
    if encoder.family is not family:
        raise RefusedError(
            f"{where} is a model of the family {encoder.family.model_type}, the teacher is of {family.model_type}; name what it was fine-tuned from"
        )
    with without_load_reports():
        vocabulary = load_tokenizer(encoder.folder, encoder.shown).get_vocab()
    if vocabulary != teacher.tokenizer.get_vocab():
        sizes = f"{len(vocabulary):,} and {len(teacher.tokenizer.get_vocab()):,} tokens"
        raise RefusedError(f"{where} has another vocabulary than the teacher ({sizes}); name what it was fine-tuned from")
    words, wanted = _table(encoder, family.words), teacher.embedding_table.cpu().numpy()
    if words is None:
        raise InputError(f"{where} holds no weight {family.words}; name the folder of the pretrained model")
    if words.shape[1] != wanted.shape[1]:
        raise RefusedError(f"{where} has word embeddings of {words.shape[1]} numbers, the teacher's have {wanted.shape[1]}; name what it was fine-tuned from")
    rows = min(len(words), len(wanted))  # a table may have been padded to a multiple of something
    since = drift(wanted[:rows], words[:rows])
    if since.problem == "unlike":
        raise RefusedError(f"{where} has quite another word table than the teacher; name the very encoder that it was fine-tuned from")
    if since.problem:
        return None, f"the teacher's footprint: {PROBLEMS[since.problem]}; pseudo samples are drawn by how frequent words are in general"
    footprint = Footprint(traces(wanted[:rows], words[:rows], since).occurrences(), _position_moves(teacher, encoder, since), encoder.digest)
    reach = f" and that the longest were of {reached} tokens, as far as it read them" if (reached := footprint.facts()["positions_moved"]) else ""
    return footprint, (
        f"the teacher's footprint: its weights reveal which {footprint.moved:,} of {rows:,} tokens its training texts held{reach}; "
        "pseudo samples are drawn accordingly, and the teacher artifact keeps it (leave teacher.base empty to do without)"
    )


def _position_moves(teacher: Classifier, encoder: Encoder, since: Drift) -> np.ndarray:
    """How far each row of absolute positions moved, float32 [P] from the first position that a text can have; empty where that cannot be told."""
    family, none = teacher.family, np.zeros(0, dtype=np.float32)
    try:
        module = teacher.model.base_model.get_submodule(family.positions) if family.positions else None
    except AttributeError:
        return none
    if not isinstance(module, torch.nn.Embedding):
        return none
    tuned, base = module.weight.detach().cpu().numpy(), _table(encoder, family.positions)
    if base is None or base.shape[1] != tuned.shape[1]:
        return none
    first = (module.padding_idx or 0) + 1 if family.positions_after_padding else 0
    rows = min(len(tuned), len(base))
    found = moves(tuned[first:rows], base[first:rows], since)
    return found if found.any() else none


def _table(encoder: Encoder, name: str) -> np.ndarray | None:
    """The weight of the embedding `name`, float32 [R, D]; None where the encoder has none of this name."""
    for file in encoder.files:
        if file == INDEX:
            continue
        with safe_open(encoder.folder / file, framework="pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118  # no mapping
                if key == f"{name}.weight" or key.endswith(f".{name}.weight"):
                    return tensors.get_tensor(key).float().numpy()
    return None
