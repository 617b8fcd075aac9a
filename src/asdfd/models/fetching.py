"""From a reference to a teacher artifact: the door through which models come in.

A reference is a folder, `hf://organisation/name@revision`, or `s3://bucket/prefix`. What passes is what `admission` lets in, and then loads, has finite weights
and answers a probe. Nothing that came with a model is ever executed.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asdfd.base.artifacts import MANIFEST, Artifact, Recipe, content_digest, file_entries, open_workspace, read
from asdfd.base.errors import InputError, RefusedError
from asdfd.base.telemetry import tell
from asdfd.models.admission import CONFIG, CONFIG_FILES, KIND, MODEL_FILES, Source, check_config, check_folder, check_is_model, read_json, read_source
from asdfd.models.hub import explained, patiently

if TYPE_CHECKING:
    from asdfd.models.encoders import Encoder

S3 = "s3://"


@dataclass(frozen=True)
class HubReference:
    """A model of the Hugging Face hub at one revision."""

    repository: str
    revision: str


def fetch(reference: str, out: Path, *, expected_digest: str = "", base: str = "") -> Artifact:
    """Bring the model that `reference` names to `out` as a teacher artifact; one of the same reference that is there already is returned.

    A folder's content counts, not where it lies: the recipe names its digest. `expected_digest` is the artifact's digest; empty accepts any. `base` names the
    public encoder that it was fine-tuned from, of which the footprint is told; empty goes without.

    Raises:
        InputError: a reference is wrong or cannot be reached, or a model is incomplete or damaged.
        RefusedError: the model is unsafe (pickle, code), of a kind that is not supported, not the expected one, or not made from that encoder. In both cases
            nothing is left behind.
    """
    hub = parse_reference(reference)
    with opened_encoder(base) as encoder:
        if reference.startswith(S3):
            return _fetch_from_s3(reference, out, expected_digest, encoder)
        source = None if hub else read_source(Path(reference), reference)
        return _make(hub, source, reference, out, expected_digest, encoder)


@contextmanager
def opened_encoder(reference: str) -> Iterator[Encoder | None]:
    """The public encoder that `reference` names as a teacher's is named, for the block; None where it is empty.

    Raises:
        InputError, RefusedError: as `fetch`.
    """
    if not reference:
        yield None
        return
    from asdfd.models.encoders import read_encoder

    hub = parse_reference(reference)
    with tempfile.TemporaryDirectory(prefix="asdfd-encoder-") as scratch:
        folder = Path(scratch)
        if reference.startswith(S3):
            from asdfd.storage.downloads import download_folder

            download_folder(reference, MODEL_FILES, folder)
        else:
            folder = download(hub, reference) if hub else Path(reference)
        yield read_encoder(folder, reference)


def _fetch_from_s3(reference: str, out: Path, expected_digest: str, encoder: Encoder | None) -> Artifact:
    """A prefix of a bucket is a folder that lies elsewhere. Where the digest is given, a teacher of it that is there already is not downloaded again."""
    from asdfd.storage.downloads import download_folder

    if expected_digest and encoder and (out / MANIFEST).is_file() and (present := read(out, KIND)).digest == expected_digest:
        return present
    if expected_digest and not encoder and (out / MANIFEST).is_file():
        present = open_workspace(out, Recipe(KIND, config={"reference": f"folder:{expected_digest}"}))
        if isinstance(present, Artifact):
            check_digest(present.digest, expected_digest, reference)
            return present
    with tempfile.TemporaryDirectory(prefix="asdfd-teacher-") as folder:
        download_folder(reference, MODEL_FILES, Path(folder))
        return _make(None, read_source(Path(folder), reference), reference, out, expected_digest, encoder)


def _make(hub: HubReference | None, source: Source | None, reference: str, out: Path, expected_digest: str, encoder: Encoder | None) -> Artifact:
    """The artifact of a folder that was read, or of a hub's model that is still to be downloaded."""
    base = {"base": encoder.digest} if encoder else {}
    recipe = Recipe(KIND, config={"reference": f"folder:{source.digest}" if source else reference, **base})
    workspace = open_workspace(out, recipe)
    if isinstance(workspace, Artifact):
        check_digest(workspace.digest, expected_digest, reference)
        return workspace
    try:
        source = source or read_source(download(hub, reference), reference)
        if encoder is None:
            check_digest(source.digest, expected_digest, reference)
        copy_files(source, workspace.artifact, reference)
        versions = check_model(workspace.artifact, reference)
        if encoder is not None:
            add_footprint(workspace.artifact, reference, encoder)
            check_digest(content_digest(KIND, file_entries(workspace.artifact)), expected_digest, reference)
        return workspace.finish(versions)
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

            download_folder(reference, CONFIG_FILES, folder)
        else:
            folder = download(hub, reference, CONFIG_FILES) if hub else Path(reference)
        check_folder(folder, reference)
        check_is_model(folder, reference)
        config = read_json(folder, CONFIG, reference)
    check_config(config, reference)
    return config


def download(hub: HubReference | None, reference: str, patterns: Sequence[str] = MODEL_FILES) -> Path:
    """The hub model's files of these names in the local cache of huggingface_hub, which also serves them when offline.

    Raises:
        InputError: unknown, closed to us, or out of reach.
    """
    assert hub is not None, "a folder is not downloaded"
    from huggingface_hub import snapshot_download

    with explained(reference, hub.revision):
        return Path(patiently(lambda: snapshot_download(hub.repository, revision=hub.revision, allow_patterns=list(patterns))))


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
    from asdfd.models.tokenization_check import check_tokens, other_readings

    classifier = load_classifier(folder, shown)
    probe(classifier, shown)
    check_tokens(folder, classifier.tokenizer, shown)
    for line in other_readings(folder, classifier.tokenizer, shown):
        tell(line)
    return {"torch": torch.__version__, "transformers": transformers.__version__}


def add_footprint(folder: Path, shown: str, encoder: Encoder) -> None:
    """Put the footprint of the copied model beside it, where its table tells one; the user is told what it reveals."""
    from asdfd.models.classifiers import load_classifier
    from asdfd.models.encoders import footprint_of
    from asdfd.models.footprint import write_footprint

    footprint, line = footprint_of(load_classifier(folder, shown), encoder)
    if footprint is not None:
        write_footprint(footprint, folder)
    tell(line)
