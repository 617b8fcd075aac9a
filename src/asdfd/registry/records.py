"""The documents of the registry and the keys under which they lie.

    models/<name>/versions/<version>/student/...                        the student as its step wrote it
    models/<name>/versions/<version>/export-<hash>/...                  the ONNX model that was made of it and judged, where there is one
    models/<name>/versions/<version>/evaluation-<hash>/..., verdict-<hash>/...   what it was let in with
    models/<name>/versions/<version>/manifest.json                      written last: without it the version does not exist
    signatures/<name>/<version>/<sha256 of the manifest>.json           where versions are signed
    evaluations/<name>/<version>/<data digest>/<evaluation digest>/...  later evaluations of the version, on other data
    aliases/<name>/<stage>.json                                         which version holds a stage; moved by compare-and-set
    history/<name>/<stage>/<number>.json                                every move, numbered from 1: the alias as it was written
    intents/<name>/<version>/<id>.json, removals/<name>/<version>.json  who is at work on a version, so that `gc` removes none of them
    runs/<run>/..., checkpoints/<recipe>/...                            what runs of the pipeline leave for their exit task, and for who goes on with them

A version's name is the start of the SHA-256 of its student's own manifest, which holds the hash of every file and how it was made, and of the model of its
export, where it has one: the same files to serve are the same version whoever pushes them, and none can be changed. Of several pushes of one version the first
manifest counts; as the other folders are named by their hashes, no push touches the files of another.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from asdfd.base.artifacts import MANIFEST, FileEntry, content_digest, with_article
from asdfd.base.errors import InputError
from asdfd.base.evidence import LEVELS, Level
from asdfd.storage.objects import checked_key

SCHEMA = 1
REQUIRED = ("student", "evaluation", "verdict")
"""The artifacts that every version holds."""
ARTIFACTS = ("student", "export", "evaluation", "verdict")
"""Those that a version can hold."""
MODEL = "export/model.onnx"
"""The file of an export that answers."""
PUSHED = ("teacher", *REQUIRED)
"""The artifacts that a version is made from: the teacher is not stored, but must be the one that the student was made from."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
VERSION = re.compile(r"[0-9a-f]{16}")
DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Version:
    """The manifest of a version."""

    name: str
    version: str
    digests: Mapping[str, str]
    """Digest of each of its artifacts, and of the teacher and the bank that the student was made from."""
    teacher_reference: str
    """Where the teacher came from."""
    data: str
    """Digest of the texts of the evaluation; empty for pseudo samples."""
    metrics: Mapping[str, float | None]
    """Headline figures of the evaluation."""
    parameters: Mapping[str, Any]
    """All parameters of the run."""
    provenance: Mapping[str, str]
    """Git commit, image, pipeline run and whatever else tells where it was made."""
    files: Mapping[str, FileEntry]
    """Every file of the version but the manifest, by its artifact and its name in it."""
    created: str
    """When it was pushed, ISO 8601 in UTC."""
    made_by: str
    evidence: Level = "none"
    """What it was judged on when it was let in."""
    sha256: str = ""
    """Hash of the manifest's bytes; not in it."""

    def encoded(self) -> bytes:
        """The manifest's bytes."""
        document = {"schema": SCHEMA, "kind": "version", **asdict(self)}
        del document["sha256"]
        return _encoded(document)


@dataclass(frozen=True)
class Alias:
    """One move of a stage: the content of the alias, and of its entry in the history."""

    name: str
    stage: str
    number: int
    """Place in the history, from 1."""
    version: str
    manifest: str
    """SHA-256 of the version's manifest."""
    previous: str | None
    """Version that held the stage before."""
    previous_entry: str
    """SHA-256 of the entry before this one, so that no entry can be taken out unnoticed; empty for the first."""
    action: str
    """push, promote or rollback."""
    actor: str
    run: str
    """Pipeline run or CI job that moved it; may be empty."""
    reason: str
    time: str
    """ISO 8601 in UTC."""
    identity: str
    """Differs between any two moves."""
    verdict: Mapping[str, Any]
    """The verdict that allowed it, as in verdict.json; empty for a rollback."""

    def encoded(self) -> bytes:
        """The alias's bytes."""
        return _encoded({"schema": SCHEMA, "kind": "alias", **asdict(self)})


def version_key(name: str, version: str, file: str = "") -> str:
    """Key of a file of a version; of its folder, ending in `/`, where no file is named."""
    return f"models/{name}/versions/{version}/{file}"


def alias_key(name: str, stage: str) -> str:
    """Key of the alias of a stage."""
    return f"aliases/{name}/{stage}.json"


def history_key(name: str, stage: str, number: int) -> str:
    """Key of one entry of a stage's history; keys are ordered as the entries are."""
    return f"history/{name}/{stage}/{number:08d}.json"


def file_key(version: Version, file: str) -> str:
    """Key of a file that a version's manifest names."""
    kind, _, inside = file.partition("/")
    folder = kind if kind == "student" else f"{kind}-{version.files[f'{kind}/{MANIFEST}'].sha256[:16]}"
    return version_key(version.name, version.version, f"{folder}/{inside}")


def version_of(files: Mapping[str, FileEntry]) -> str:
    """The version's name: the start of the hash of the student's own manifest, and of the export's model where there is one."""
    student = files[f"student/{MANIFEST}"].sha256
    return (hashlib.sha256(f"{student} {files[MODEL].sha256}".encode()).hexdigest() if MODEL in files else student)[:16]


def held(files: Mapping[str, FileEntry]) -> list[str]:
    """The artifacts of ARTIFACTS that these files are of."""
    return [kind for kind in ARTIFACTS if f"{kind}/{MANIFEST}" in files]


def checked_name(name: str, what: str) -> str:
    """A name of a model or a stage.

    Raises:
        InputError: it could not be part of a path or a label everywhere.
    """
    if not NAME.fullmatch(name):
        raise InputError(f"{what} {name!r}: a name has 1 to 100 letters, digits, '.', '_' or '-' and starts with a letter or a digit")
    if what == "stage" and VERSION.fullmatch(name):
        raise InputError(f"stage {name!r}: looks like a version; give the stage a name such as staging or production")
    return name


def parse_reference(reference: str) -> tuple[str, str]:
    """NAME@VERSION or NAME@STAGE as its two parts.

    Raises:
        InputError: it is neither.
    """
    name, separator, which = reference.partition("@")
    if not separator:
        raise InputError(f"{reference!r}: names no version; write NAME@VERSION or NAME@STAGE, `asdfd registry list` shows them")
    checked_name(name, "model")
    return name, which if VERSION.fullmatch(which) else checked_name(which, "stage")


def parse_version(content: bytes, place: str, name: str, version: str) -> Version:
    """Read a version's manifest and verify all that can be told without its files.

    Raises:
        InputError: it is damaged, of a newer schema, of another version, or names a file outside of the version's folder.
    """
    document = _document(content, place, "version")
    try:
        files = {file: FileEntry(str(entry["sha256"]), int(entry["bytes"])) for file, entry in document.pop("files").items()}
        found = Version(**document, files=files, sha256=hashlib.sha256(content).hexdigest())
        kinds = held(files)
        complete = found.evidence in LEVELS and {*REQUIRED} <= {*kinds} == {file.partition("/")[0] for file in files}
        complete = complete and all(found.digests[kind] == artifact_digest(kind, files) for kind in kinds)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(f"{place}: is not a valid manifest; push the version again with `asdfd push`, or name another one") from None
    if (found.name, found.version) != (name, version):
        raise InputError(f"{place}: is the manifest of {found.name}@{found.version}, which does not belong here; do not use it")
    for file, entry in files.items():
        try:
            checked_key(file)
        except InputError:
            raise InputError(f"{place}: names a file outside of the version, {file!r}; do not use this version") from None
        if not DIGEST.fullmatch(entry.sha256) or file.partition("/")[0] not in ARTIFACTS:
            raise InputError(f"{place}: names a file that is not part of a version, {file!r}; do not use this version")
    if not complete or version_of(files) != version:
        raise InputError(f"{place}: lists other files than version {version} was made of (changed or damaged); do not use it, name another version")
    return found


def parse_alias(content: bytes, place: str, name: str, stage: str) -> Alias:
    """Read an alias or an entry of the history.

    Raises:
        InputError: it is damaged, of a newer schema, or of another stage.
    """
    document = _document(content, place, "alias")
    alias = None
    with contextlib.suppress(TypeError):
        alias = Alias(**document)
    if alias is None or not isinstance(alias.number, int) or not VERSION.fullmatch(str(alias.version)) or not DIGEST.fullmatch(str(alias.manifest)):
        raise InputError(f"{place}: is not a valid alias; restore it from history/{name}/{stage}/")
    if (alias.name, alias.stage) != (name, stage):
        raise InputError(f"{place}: is the alias of {alias.name}@{alias.stage}, which does not belong here; restore it from history/{name}/{stage}/")
    return alias


def artifact_digest(kind: str, files: Mapping[str, FileEntry]) -> str:
    """Digest of one of the version's artifacts, from the version's files."""
    inside = {file.removeprefix(f"{kind}/"): entry for file, entry in files.items() if file.startswith(f"{kind}/")}
    inside.pop(MANIFEST, None)
    return content_digest(kind, inside)


def _document(content: bytes, place: str, kind: str) -> dict[str, Any]:
    """The fields of a document of ours without its schema and kind."""
    try:
        document = json.loads(content)
        schema, found = document.pop("schema"), document.pop("kind")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{place}: is not a valid {kind} of a registry; it was changed or damaged") from None
    if schema != SCHEMA:
        raise InputError(f"{place}: has schema {schema}, this version reads schema {SCHEMA}; use the asdfd that wrote it")
    if found != kind:
        raise InputError(f"{place}: is {with_article(str(found))}, {with_article(kind)} is needed here; it was changed or damaged")
    return document


def _encoded(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
