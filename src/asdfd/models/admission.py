"""What a folder must hold to become a teacher: a single-label text classifier of a supported family with safetensors weights, its classification head and its
tokenizer. Names, JSON files and the headers of weights are looked at; nothing is loaded, and nothing is executed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from asdfd.base.artifacts import FileEntry, content_digest, sha256_of
from asdfd.base.errors import InputError, RefusedError
from asdfd.models.families import FAMILIES

KIND = "teacher"
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
VOCABULARIES = (
    ("tokenizer.json",),
    ("vocab.txt",),
    ("vocab.json", "merges.txt"),
    ("spiece.model",),
    ("sentencepiece.bpe.model",),
    ("spm.model",),
    ("tokenizer.model",),
)
"""Files that hold a tokenizer's vocabulary; one of these sets is needed."""
TOKENIZER_FILES = (TOKENIZER_CONFIG, "special_tokens_map.json", "added_tokens.json", *(name for names in VOCABULARIES for name in names))
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
CODE = "*.py"
MODEL_FILES = [CONFIG, WEIGHTS, INDEX, "model-*.safetensors", *TOKENIZER_FILES, CODE]
"""What is downloaded. Code is, so that it is seen and refused as it is in a folder; it is neither copied nor run."""

REMEDY_SAVE = "save it again with save_pretrained"


@dataclass(frozen=True)
class Source:
    """A folder whose file names and config passed the checks, and the files of it that are a teacher."""

    folder: Path
    files: Mapping[str, FileEntry]

    @property
    def digest(self) -> str:
        """Digest of the artifact that these files make."""
        return content_digest(KIND, self.files)


def read_source(folder: Path, shown: str) -> Source:
    """Check a folder by its file names, its JSON files and the headers of its weights, and choose the files that make a teacher.

    `shown` is what errors call the folder.

    Raises:
        InputError: something is missing or damaged.
        RefusedError: pickle weights only, code, or a kind of model that is not supported.
    """
    check_folder(folder, shown)
    try:
        config = read_json(folder, CONFIG, shown)
        check_no_code(folder, config, shown)
        check_config(config, shown)
        names = [CONFIG, *weight_files(folder, shown), *tokenizer_files(folder, shown)]
        return Source(folder, {name: FileEntry(sha256_of(folder / name), (folder / name).stat().st_size) for name in sorted(names)})
    except OSError as error:
        raise InputError(f"{error.filename or shown}: cannot be read ({error.strerror or error}); check the file and its permissions") from None


def check_folder(folder: Path, shown: str) -> None:
    """Refuse what is not a folder."""
    if not folder.is_dir():
        what = "is a file" if folder.is_file() else "no such folder"
        raise InputError(f"{shown}: {what}; name the folder that holds the model's {CONFIG}, or hf://organisation/name@revision")


def read_json(folder: Path, name: str, shown: str) -> dict[str, Any]:
    """The JSON object in a file of the folder."""
    if not (folder / name).is_file():
        raise InputError(f"{shown}/{name}: is missing, so this is not a model folder; {REMEDY_SAVE}")
    try:
        value = json.loads((folder / name).read_text(encoding="utf-8"))
    except ValueError:
        raise InputError(f"{shown}/{name}: is not valid JSON; {REMEDY_SAVE}") from None
    if not isinstance(value, dict):
        raise InputError(f"{shown}/{name}: holds no JSON object; {REMEDY_SAVE}")
    return value


def check_no_code(folder: Path, config: Mapping[str, Any], shown: str) -> None:
    """Refuse a model that brings code of its own."""
    tokenizer = read_json(folder, TOKENIZER_CONFIG, shown) if (folder / TOKENIZER_CONFIG).is_file() else {}
    for name, values in ((CONFIG, config), (TOKENIZER_CONFIG, tokenizer)):
        if "auto_map" in values:
            raise RefusedError(f"{shown}/{name}: asks for code of its own (auto_map), which is never run; name a model that transformers implements itself")
    code = sorted(folder.glob(CODE))
    if code:
        raise RefusedError(f"{shown}/{code[0].name}: is code, which a model must not bring along; remove it if the model does without")


def check_config(config: Mapping[str, Any], shown: str) -> None:
    """Refuse what is not a single-label sequence classifier of a supported family in plain weights."""
    where = f"{shown}/{CONFIG}"
    if "quantization_config" in config:
        raise RefusedError(f"{where}: the checkpoint is quantized, and gradients need plain weights; name the model that it was made from")
    check_family(config, shown)
    architectures = config.get("architectures") or []
    if architectures and not any(str(name).endswith("ForSequenceClassification") for name in architectures):
        raise RefusedError(f"{where}: the model is a {architectures[0]}, not a sequence classifier; fine-tune it as one and name that model")
    problem = config.get("problem_type")
    if problem not in (None, "single_label_classification"):
        raise RefusedError(f"{where}: problem_type is {problem}; only single-label classification can be distilled, name a model with one class per text")
    labels = config["id2label"] if isinstance(config.get("id2label"), dict) else config.get("num_labels", 2)
    if (len(labels) if isinstance(labels, dict) else labels) == 1:
        raise RefusedError(f"{where}: the model has one label, so it scores texts and does not classify them; name a model with two classes or more")


def check_family(config: Mapping[str, Any], shown: str) -> None:
    """Refuse a model of a family that is not supported, or one of its kinds that is not."""
    where, name = f"{shown}/{CONFIG}", config.get("model_type")
    if not isinstance(name, str) or not name:
        raise InputError(f"{where}: names no model_type; {REMEDY_SAVE}")
    if name not in FAMILIES:
        raise RefusedError(f"{where}: the family {name} is not supported; choose a model of {', '.join(FAMILIES)}")
    for setting, value in FAMILIES[name].needed.items():
        if config.get(setting, value) != value:
            raise RefusedError(f"{where}: {setting} is {config[setting]}, and of {FAMILIES[name].title} only models with {value} are supported; choose one")


def weight_files(folder: Path, shown: str) -> list[str]:
    """Names of the safetensors files, each whole by its header, and of their index where there are several."""
    if (folder / WEIGHTS).is_file():
        names, index = [WEIGHTS], []
    elif (folder / INDEX).is_file():
        names, index = shard_names(folder, shown), [INDEX]
    else:
        pickles = sorted(path.name for path in folder.iterdir() if any(fnmatch(path.name, pattern) for pattern in PICKLES))
        if pickles:
            raise RefusedError(f"{shown}/{pickles[0]}: is a pickle, which can run code when loaded; convert it with save_pretrained(safe_serialization=True)")
        raise InputError(f"{shown}/{WEIGHTS}: is missing, and pickle weights are never loaded; {REMEDY_SAVE}, which writes safetensors")
    from safetensors import SafetensorError, safe_open

    for name in names:
        try:
            with safe_open(folder / name, framework="numpy"):
                pass
        except SafetensorError:
            raise InputError(f"{shown}/{name}: is not a whole safetensors file (cut off, damaged, or a Git LFS pointer); copy or download it again") from None
    return [*names, *index]


def shard_names(folder: Path, shown: str) -> list[str]:
    """Names of the shards that the index lists, all of them there."""
    shards = read_json(folder, INDEX, shown).get("weight_map")
    if not isinstance(shards, dict) or not shards or not all(isinstance(name, str) and fnmatch(name, "*.safetensors") for name in shards.values()):
        raise InputError(f"{shown}/{INDEX}: holds no valid weight_map; {REMEDY_SAVE}")
    names = sorted(set(shards.values()))
    for name in names:
        if Path(name).name != name:
            raise InputError(f"{shown}/{INDEX}: names a file outside of the folder: {name}; do not use this model")
        if not (folder / name).is_file():
            raise InputError(f"{shown}/{name}: is missing, and {INDEX} needs it; copy or download it again")
    return names


def tokenizer_files(folder: Path, shown: str) -> list[str]:
    """Names of the tokenizer's files."""
    found = [name for name in dict.fromkeys(TOKENIZER_FILES) if (folder / name).is_file()]
    if not any(set(names) <= set(found) for names in VOCABULARIES):
        raise InputError(f"{shown}: holds no tokenizer (tokenizer.json, vocab.txt or the like); add it with tokenizer.save_pretrained")
    return found
