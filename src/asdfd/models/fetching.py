"""From a reference to a teacher artifact: the door through which models come in.

A reference is a folder, `hf://organisation/name@revision`, or `s3://bucket/prefix`. What passes is a single-label text classifier of a supported family with
finite safetensors weights, its classification head and its tokenizer. Nothing that came with a model is ever executed.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from asdfd.base.artifacts import MANIFEST, Artifact, FileEntry, Recipe, content_digest, file_entries, open_workspace, sha256_of
from asdfd.base.errors import InputError, RefusedError
from asdfd.models.families import FAMILIES
from asdfd.models.hub import explained, patiently

KIND = "teacher"
S3 = "s3://"
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
HUB_PATTERNS = [CONFIG, WEIGHTS, INDEX, "model-*.safetensors", *TOKENIZER_FILES, CODE]
"""What is downloaded. Code is, so that it is seen and refused as it is in a folder; it is neither copied nor run."""

REMEDY_SAVE = "save it again with save_pretrained"


@dataclass(frozen=True)
class HubReference:
    """A model of the Hugging Face hub at one revision."""

    repository: str
    revision: str


@dataclass(frozen=True)
class Source:
    """A folder whose file names and config passed the checks, and the files of it that are a teacher."""

    folder: Path
    files: Mapping[str, FileEntry]

    @property
    def digest(self) -> str:
        """Digest of the artifact that these files make."""
        return content_digest(KIND, self.files)


def fetch(reference: str, out: Path, *, expected_digest: str = "") -> Artifact:
    """Bring the model that `reference` names to `out` as a teacher artifact; one of the same reference that is there already is returned.

    A folder's content counts, not where it lies: the recipe names its digest. `expected_digest` is the artifact's digest; empty accepts any.

    Raises:
        InputError: the reference is wrong or cannot be reached, or the model is incomplete or damaged.
        RefusedError: the model is unsafe (pickle, code), of a kind that is not supported, or not the expected one. In both cases nothing is left behind.
    """
    hub = parse_reference(reference)
    if reference.startswith(S3):
        return _fetch_from_s3(reference, out, expected_digest)
    source = None if hub else read_source(Path(reference), reference)
    return _make(hub, source, reference, out, expected_digest)


def _fetch_from_s3(reference: str, out: Path, expected_digest: str) -> Artifact:
    """A prefix of a bucket is a folder that lies elsewhere. Where the digest is given, a teacher of it that is there already is not downloaded again."""
    from asdfd.storage.downloads import download_folder

    if expected_digest and (out / MANIFEST).is_file():
        present = open_workspace(out, Recipe(KIND, config={"reference": f"folder:{expected_digest}"}))
        if isinstance(present, Artifact):
            check_digest(present.digest, expected_digest, reference)
            return present
    with tempfile.TemporaryDirectory(prefix="asdfd-teacher-") as folder:
        download_folder(reference, HUB_PATTERNS, Path(folder))
        return _make(None, read_source(Path(folder), reference), reference, out, expected_digest)


def _make(hub: HubReference | None, source: Source | None, reference: str, out: Path, expected_digest: str) -> Artifact:
    """The artifact of a folder that was read, or of a hub's model that is still to be downloaded."""
    recipe = Recipe(KIND, config={"reference": f"folder:{source.digest}" if source else reference})
    workspace = open_workspace(out, recipe)
    if isinstance(workspace, Artifact):
        check_digest(workspace.digest, expected_digest, reference)
        return workspace
    try:
        source = source or read_source(download(hub, reference), reference)
        check_digest(source.digest, expected_digest, reference)
        copy_files(source, workspace.artifact, reference)
        return workspace.finish(check_model(workspace.artifact, reference))
    except Exception:
        workspace.remove()
        raise


def parse_reference(reference: str) -> HubReference | None:
    """The hub model that `reference` names, or None where it is a folder, here or on S3.

    Raises:
        InputError: empty, an unknown scheme, or a hub model without a revision.
    """
    scheme, separator, rest = reference.partition("://")
    if not reference:
        raise InputError("teacher.reference is empty; name a folder, hf://organisation/name@revision or s3://bucket/prefix")
    if not separator:
        return None
    if scheme == "s3":
        return None
    if scheme != "hf":
        raise InputError(f"{reference}: the scheme {scheme}:// is unknown; name a folder, hf://organisation/name@revision or s3://bucket/prefix")
    repository, _, revision = rest.partition("@")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise InputError(f"{reference}: is not the name of a hub model; write hf://organisation/name@revision")
    if not revision:
        raise InputError(
            f"{reference}: has no revision, and only a pinned one makes runs repeatable; write {reference.rstrip('@')}@revision (a commit or a tag)"
        )
    return HubReference(repository, revision)


def read_config(reference: str) -> dict[str, Any]:
    """The config.json of the model that `reference` names, checked, without any other file of it.

    Raises:
        InputError, RefusedError: as `fetch`, for what the config alone tells.
    """
    hub = parse_reference(reference)
    with tempfile.TemporaryDirectory(prefix="asdfd-config-") as scratch:
        folder = Path(scratch)
        if reference.startswith(S3):
            from asdfd.storage.downloads import download_folder

            download_folder(reference, [CONFIG], folder)
        else:
            folder = download(hub, reference, [CONFIG]) if hub else Path(reference)
        check_folder(folder, reference)
        config = read_json(folder, CONFIG, reference)
    check_config(config, reference)
    return config


def download(hub: HubReference | None, reference: str, patterns: Sequence[str] = HUB_PATTERNS) -> Path:
    """The hub model's files of these names in the local cache of huggingface_hub, which also serves them when offline.

    Raises:
        InputError: unknown, closed to us, or out of reach.
    """
    assert hub is not None, "a folder is not downloaded"
    from huggingface_hub import snapshot_download

    with explained(reference, hub.revision):
        return Path(patiently(lambda: snapshot_download(hub.repository, revision=hub.revision, allow_patterns=list(patterns))))


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
    """Refuse what is no folder."""
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


def check_digest(found: str, expected: str, reference: str) -> None:
    """Refuse a teacher that is not the one that was asked for."""
    if expected and found != expected:
        raise RefusedError(f"{reference}: has digest {found}, expected {expected}; do not use it, or correct teacher.digest if the change is intended")


def copy_files(source: Source, target: Path, shown: str) -> None:
    """Copy the teacher's files into an empty `target`, and check that the copy is what was hashed."""
    try:
        shutil.rmtree(target)  # what an interrupted fetch left
        target.mkdir()
        for name in source.files:
            shutil.copyfile(source.folder / name, target / name)
    except OSError as error:
        raise InputError(f"{shown}: cannot be copied to {target.parent} ({error.strerror}); free space there or name another --out") from None
    if content_digest(KIND, file_entries(target)) != source.digest:
        raise InputError(f"{shown}: changed while it was copied; fetch it again when it is complete")


def check_model(folder: Path, shown: str) -> dict[str, str]:
    """Load and probe the copied model, so that nothing incomplete, damaged or unsuited passes; the versions that did so."""
    import torch
    import transformers

    from asdfd.models.classifiers import load_classifier, probe

    probe(load_classifier(folder, shown), shown)
    return {"torch": torch.__version__, "transformers": transformers.__version__}
