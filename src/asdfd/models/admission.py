"""What a folder must hold to become a teacher: a text classifier of a supported family with safetensors weights, its classification head and its tokenizer.
Names, JSON files and the headers of weights are looked at; nothing is loaded, and nothing is executed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from asdfd.base.artifacts import FileEntry, content_digest, sha256_of
from asdfd.base.errors import AsdfdError, InputError, RefusedError
from asdfd.models.families import FAMILIES

KIND = "teacher"
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
TOKENIZER_FILES = (
    *("tokenizer.json", TOKENIZER_CONFIG, "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"),
    *("vocab.txt", "vocab.json", "merges.txt", "bpe.codes", "spiece.model", "sentencepiece.bpe.model", "spm.model", "tokenizer.model"),
)
"""Files that tokenizers of the supported families are read from; which of them a model's is, its class says."""
ADAPTER = "adapter_config.json"
CHECKPOINTS = "checkpoint-*"
TRAINING_STATE = ("optimizer.pt", "optimizer.bin", "scheduler.pt", "scaler.pt", "rng_state*.pth", "training_args.bin", "random_states_*.pkl")
OTHER_WEIGHTS = {"tf_model.h5": "TensorFlow", "flax_model.msgpack": "Flax", "*.gguf": "llama.cpp", "*.onnx": "ONNX", "openvino_model.bin": "OpenVINO"}
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
CODE = "*.py"
CONFIG_FILES = [CONFIG, ADAPTER, f"{CHECKPOINTS}/{CONFIG}"]
"""What tells whether a folder is a model, and which."""
MODEL_FILES = [*CONFIG_FILES, WEIGHTS, INDEX, "model-*.safetensors", *TOKENIZER_FILES, CODE]
"""What is downloaded. Code, adapters and checkpoints are, so that they are seen and refused as they are in a folder; they are neither copied nor run."""

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
        check_is_model(folder, shown)
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


def check_is_model(folder: Path, shown: str) -> None:
    """Refuse what training leaves that is not a whole model."""
    if (folder / ADAPTER).is_file():
        raise InputError(
            f"{shown}/{ADAPTER}: this is an adapter of peft, and the model that it belongs to lies elsewhere; merge them, save the tokenizer with them, "
            "and name NEW: AutoPeftModelForSequenceClassification.from_pretrained(FOLDER, num_labels=CLASSES).merge_and_unload().save_pretrained(NEW)"
        )
    if (folder / "zero_to_fp32.py").is_file() and not any(folder.glob("*.safetensors")):
        raise InputError(f"{shown}: holds the pieces of a DeepSpeed training; put them together: python zero_to_fp32.py FOLDER FOLDER --safe_serialization")
    checkpoints = sorted((path for path in folder.glob(CHECKPOINTS) if path.is_dir()), key=lambda path: (len(path.name), path.name))
    if checkpoints and not (folder / CONFIG).is_file():
        last = f"{shown.rstrip('/')}/{checkpoints[-1].name}"
        raise InputError(f"{shown}: holds no model itself, but {len(checkpoints)} checkpoints of a training; name one of them, the last is {last}")


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
    never, without = "asks for code of its own (auto_map), which is never run", "in a copy of the folder, and name the copy"
    if config.get("auto_map"):
        family = FAMILIES.get(str(config.get("model_type")))
        remedy = "name a model that transformers implements itself"
        if family is not None:
            remedy = f"transformers has {family.title} itself: if that is all the model is, take auto_map out of {CONFIG} {without}"
        raise RefusedError(f"{shown}/{CONFIG}: {never}; {remedy}")
    if (folder / TOKENIZER_CONFIG).is_file() and read_json(folder, TOKENIZER_CONFIG, shown).get("auto_map"):
        remedy = "name a model whose tokenizer transformers implements itself"
        if (folder / "tokenizer.json").is_file():
            remedy = f"tokenizer.json needs none: if that is the whole tokenizer, take auto_map out of {TOKENIZER_CONFIG} {without}"
        raise RefusedError(f"{shown}/{TOKENIZER_CONFIG}: {never}; {remedy}")
    code = sorted(folder.glob(CODE))
    if code:
        raise RefusedError(f"{shown}/{code[0].name}: is code, which a model must not bring along; remove it if the model does without")


def check_config(config: Mapping[str, Any], shown: str) -> None:
    """Refuse what is not a sequence classifier of a supported family in plain weights, with one label for each text or several."""
    where = f"{shown}/{CONFIG}"
    if config.get("quantization_config"):
        raise RefusedError(f"{where}: the checkpoint is quantized, and gradients need plain weights; name the model that it was made from")
    check_family(config, shown)
    architectures = config.get("architectures") or []
    if architectures and not any(str(name).endswith("ForSequenceClassification") for name in architectures):
        raise RefusedError(f"{where}: the model is a {architectures[0]}, not a sequence classifier; fine-tune it as one and name that model")
    problem = config.get("problem_type")
    if problem == "regression":
        raise RefusedError(f"{where}: problem_type is regression, so the model scores texts and does not classify them; name a classifier")
    if problem not in (None, "single_label_classification", "multi_label_classification"):
        raise RefusedError(f"{where}: problem_type is {problem}, which is none that transformers knows; name a classifier, or correct it if the model is one")
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
    kind = config.get("position_embedding_type") or "absolute"
    if FAMILIES[name].positions and kind != "absolute":
        raise RefusedError(
            f"{where}: position_embedding_type is {kind}, which transformers computes no more since version 5; choose a model with absolute positions"
        )


def weight_files(folder: Path, shown: str) -> list[str]:
    """Names of the safetensors files, each whole by its header, and of their index where there are several."""
    if (folder / WEIGHTS).is_file():
        names, index = [WEIGHTS], []
    elif (folder / INDEX).is_file():
        names, index = shard_names(folder, shown), [INDEX]
    else:
        raise no_weights(folder, shown)
    from safetensors import SafetensorError, safe_open

    for name in names:
        try:
            with safe_open(folder / name, framework="numpy"):
                pass
        except SafetensorError:
            raise InputError(f"{shown}/{name}: is not a whole safetensors file (cut off, damaged, or a Git LFS pointer); copy or download it again") from None
    return [*names, *index]


def no_weights(folder: Path, shown: str) -> AsdfdError:
    """What is wrong with a folder without safetensors, by what lies there instead."""
    names = sorted(path.name for path in folder.iterdir())
    pickles = [name for name in names if any(fnmatch(name, pattern) for pattern in PICKLES) and not any(fnmatch(name, each) for each in TRAINING_STATE)]
    others = [(name, what) for name in names for pattern, what in OTHER_WEIGHTS.items() if fnmatch(name, pattern)]
    state = [name for name in names if any(fnmatch(name, pattern) for pattern in TRAINING_STATE)]
    if others:
        name, what = others[0]
        return InputError(
            f"{shown}/{name}: these are {what} weights, and there is no {WEIGHTS}; name the model that they were made from, or save it from PyTorch"
        )
    if pickles:
        return RefusedError(f"{shown}/{pickles[0]}: is a pickle, which can run code when loaded; convert it with save_pretrained(safe_serialization=True)")
    if state:
        return InputError(
            f"{shown}/{state[0]}: is the state of a training and no weights of a model; name the folder that trainer.save_model wrote {WEIGHTS} to"
        )
    return InputError(f"{shown}/{WEIGHTS}: is missing, and pickle weights are never loaded; {REMEDY_SAVE}, which writes safetensors")


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
    """Names of the files that the tokenizer is read from."""
    from asdfd.models.tokenization import BESIDE, needed_files, tokenizer_class

    try:
        found = needed_files(folder)
    except (ValueError, AttributeError):
        raise InputError(f"{shown}: a file of the tokenizer is not a JSON object; {REMEDY_SAVE}") from None
    if set(found) <= set(BESIDE):
        kind = tokenizer_class(folder)
        vocabulary = " and ".join(dict.fromkeys(name for what, name in kind.vocab_files_names.items() if what != "tokenizer_file" and name))
        raise InputError(
            f"{shown}: holds no tokenizer (neither tokenizer.json nor {vocabulary}, which {kind.__name__} reads); add it with tokenizer.save_pretrained"
        )
    return found
