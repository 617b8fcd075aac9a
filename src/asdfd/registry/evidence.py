"""What evaluations say of students: of the one that is judged, and of the version that holds a stage, whose evaluations the registry keeps."""

from __future__ import annotations

import csv
import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asdfd.base import artifacts
from asdfd.base.artifacts import MANIFEST, Artifact, FileEntry
from asdfd.base.errors import InputError, RefusedError
from asdfd.base.evidence import Level, level_of
from asdfd.registry.aliases import Held
from asdfd.registry.records import Version, file_key
from asdfd.registry.versions import read_version
from asdfd.storage.objects import Conflict, ObjectStore


@dataclass(frozen=True)
class Evidence:
    """What an evaluation says about a student."""

    student: str
    """Digest of the student artifact."""
    data: str
    """Digest of the texts, with their labels where there are some; empty for pseudo samples."""
    metrics: Mapping[str, Any]
    answers: Sequence[tuple[str, str]]
    """Of each text, in the order of the data: its true class, or set of labels, or where nobody says that the teacher's answer; and what the export, or without
    one the student, answers."""
    evaluation: str
    """Digest of the evaluation artifact."""
    export: str = ""
    """Digest of the export of the student, which is judged in its place; empty where there is none."""

    @property
    def level(self) -> Level:
        """What it rests on."""
        return level_of(self.metrics)


@dataclass(frozen=True)
class Champion:
    """The version that holds the stage, with its evaluation on the data at hand; None where there is none."""

    version: str
    student: str
    """Digest of its student artifact."""
    evidence: Evidence | None
    problem: str = ""
    """Why there is no evidence, where something is wrong with the version."""
    export: str = ""
    """Digest of its export; empty where it has none."""


def read_evidence(evaluation: Path | Artifact) -> Evidence:
    """What an evaluation artifact says.

    Raises:
        InputError: it is not an evaluation, or is damaged.
    """
    found = artifacts.verified(evaluation, "evaluation")
    metrics = json.loads((found.path / "metrics.json").read_text(encoding="utf-8")) if "metrics.json" in found.files else {}
    answers: list[tuple[str, str]] = []
    if "predictions.csv" in found.files:
        with (found.path / "predictions.csv").open(encoding="utf-8", newline="") as stream:
            answers = [(row.get("label", row["teacher"]), row.get("export") or row["student"]) for row in csv.DictReader(stream)]
    student, data, export = (found.recipe.inputs.get(name, "") for name in ("student", "data", "export"))
    return Evidence(student, data, metrics, answers, found.digest, export)


def champion_of(store: ObjectStore, held: Held | None, data: str, *, signed: bool) -> Champion | None:
    """The version that holds a stage, with its evaluation on the texts of digest `data`, or without texts where that is empty; None where nobody holds it."""
    if held is None:
        return None
    try:
        version = read_version(store, held.alias.name, held.alias.version, signed=signed)
        if version.sha256 != held.alias.manifest:
            raise InputError(
                f"{version.name}@{version.version}: its manifest is not the one that was moved to {held.alias.stage}; "
                "`asdfd registry verify` looks at all of it"
            )
        export = version.digests.get("export", "")
        return Champion(version.version, version.digests["student"], find_evidence(store, version, data), export=export)
    except (InputError, RefusedError) as error:
        return Champion(held.alias.version, "", None, str(error))


def find_evidence(store: ObjectStore, version: Version, data: str) -> Evidence | None:
    """What a version's evaluation on the texts of digest `data`, or without texts, says; None where it has none.

    Raises:
        InputError: the evaluation is damaged.
    """
    if version.data == data:
        prefix = file_key(version, "evaluation/")
        entries = {file.removeprefix("evaluation/"): entry for file, entry in version.files.items() if file.startswith("evaluation/")}
    elif not data:
        return None
    else:
        folder = evaluation_key(version, data)
        stored = [info for info in store.list(folder) if info.key.endswith(f"/{MANIFEST}")]
        if not stored:
            return None
        prefix = max(stored, key=lambda info: (info.modified, info.key)).key.removesuffix(MANIFEST)
        entries = _entries_of(store, prefix)
    with tempfile.TemporaryDirectory(prefix="asdfd-evaluation-") as scratch:
        for name, entry in entries.items():
            store.download(prefix + name, Path(scratch) / name, entry.sha256)
        evidence = read_evidence(Path(scratch))
    if (evidence.student, evidence.export, evidence.data) != (version.digests["student"], version.digests.get("export", ""), data):
        raise InputError(f"{store.location}/{prefix}: is an evaluation of another student or on other data; remove it")
    return evidence


def store_evaluation(store: ObjectStore, version: Version, evaluation: Path | Artifact) -> None:
    """Keep a later evaluation of a version, so that its challengers can be compared with it on that data."""
    found = artifacts.verified(evaluation, "evaluation")
    data = found.recipe.inputs.get("data", "")
    if not data or data == version.data:
        return
    prefix = f"{evaluation_key(version, data)}{found.digest}/"
    for name, entry in found.files.items():
        store.upload(prefix + name, found.path / name, entry.sha256)
    try:
        store.create(prefix + MANIFEST, (found.path / MANIFEST).read_bytes())
    except Conflict:
        return  # the very same one is there


def evaluation_key(version: Version, data: str) -> str:
    """Folder of the later evaluations of a version on one data set, ending in `/`."""
    return f"evaluations/{version.name}/{version.version}/{data}/"


def _entries_of(store: ObjectStore, prefix: str) -> dict[str, FileEntry]:
    """The files of a stored artifact, its manifest among them."""
    content, _ = store.read(prefix + MANIFEST)
    try:
        entries = {str(name): FileEntry(str(entry["sha256"]), int(entry["bytes"])) for name, entry in json.loads(content)["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{store.location}/{prefix}{MANIFEST}: is not a valid manifest; remove it") from None
    if any("/" in name or name in (".", "..") for name in entries):
        raise InputError(f"{store.location}/{prefix}{MANIFEST}: names a file outside of the evaluation; remove it")
    return {**entries, MANIFEST: FileEntry(hashlib.sha256(content).hexdigest(), len(content))}
