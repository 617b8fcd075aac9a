"""Versions: stored whole, never changed, verified whenever they are read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from asdfd.base import artifacts
from asdfd.base.artifacts import MANIFEST, Artifact, FileEntry
from asdfd.base.errors import InputError, RefusedError
from asdfd.base.locking import sole_process
from asdfd.registry import signing
from asdfd.registry.aliases import read_alias
from asdfd.registry.records import ARTIFACTS, VERSION, Version, alias_key, artifact_digest, file_key, held, parse_reference, parse_version, version_key
from asdfd.storage.objects import Conflict, MissingObject, ObjectStore


@contextlib.contextmanager
def announced(store: ObjectStore, name: str, version: str) -> Iterator[None]:
    """Work on a version (store it, or move a stage to it) that `gc` must not remove meanwhile.

    The one who works announces it and then looks for a removal; `gc` announces its removal and then looks for work and aliases: one of them sees the other.

    Raises:
        RefusedError: `gc` is removing the version.
    """
    key = f"intents/{name}/{version}/{uuid4().hex}.json"
    store.create(key, json.dumps({"time": now()}).encode())
    try:
        if is_stored(store, removal_key(name, version)):
            raise RefusedError(
                f"{name}@{version}: is being removed by `asdfd registry gc`; "
                "try again when that has ended, or end it with `asdfd registry gc --older-than 0 --yes`"
            )
        yield
    finally:
        with contextlib.suppress(InputError):  # what was done is done; `gc` removes an announcement that is left
            store.delete(key)


def store_version(store: ObjectStore, version: Version, folders: Mapping[str, Path], *, sign: bool) -> Version:
    """Store a version from its artifacts' folders, the manifest last; one that is there already is returned as it was stored first.

    Raises:
        InputError: a file changed meanwhile, or a signature is required (`sign`) and a key is not set.
        RefusedError: a signature is required, and the version that is there already has none that is trusted.
    """
    with contextlib.suppress(MissingObject):
        return read_version(store, version.name, version.version, signed=sign)
    for file, entry in sorted(version.files.items()):
        kind, _, inside = file.partition("/")
        store.upload(file_key(version, file), folders[kind] / inside, entry.sha256)
    _check_sizes(store, version)  # and that nothing else lies in the student's folder
    content = version.encoded()
    signing.sign(store, version.name, version.version, content, required=sign)
    with contextlib.suppress(Conflict):  # somebody stored the same version beside us, or the answer to our own write was lost
        store.create(version_key(version.name, version.version, MANIFEST), content)
    return read_version(store, version.name, version.version, signed=sign)


def read_version(store: ObjectStore, name: str, version: str, *, signed: bool) -> Version:
    """The manifest of a version; its files are not read. With `signed` it must be signed by a trusted key, else its signature is verified where a key is set.

    Raises:
        MissingObject: there is no such version.
        InputError: the manifest is damaged, or not the one of this version.
        RefusedError: the signature is missing or wrong.
    """
    key = version_key(name, version, MANIFEST)
    try:
        content, _ = store.read(key)
    except MissingObject:
        raise MissingObject(f"{name}@{version}: is not in {store.location}; `asdfd registry list` shows what is") from None
    found = parse_version(content, f"{store.location}/{key}", name, version)
    signing.verify(store, name, version, content, required=signed)
    return found


def resolve(store: ObjectStore, reference: str, *, signed: bool) -> Version:
    """The version that NAME@VERSION or NAME@STAGE means.

    Raises:
        InputError: there is none, or it is not the one that was moved to the stage.
        RefusedError: the signature is missing or wrong.
    """
    name, which = parse_reference(reference)
    if VERSION.fullmatch(which):
        return read_version(store, name, which, signed=signed)
    held = read_alias(store, name, which)
    if held is None:
        raise InputError(f"{reference}: no version holds this stage in {store.location}; `asdfd registry list` shows what is there")
    try:
        version = read_version(store, name, held.alias.version, signed=signed)
    except MissingObject:
        place = f"{store.location}/{alias_key(name, which)}"
        raise InputError(f"{place}: names version {held.alias.version}, which is not there; move the stage with `asdfd promote` or `asdfd rollback`") from None
    if version.sha256 != held.alias.manifest:
        raise InputError(f"{name}@{version.version}: its manifest is not the one that was moved to {which} (changed or damaged); do not use it")
    return version


def versions(store: ObjectStore, name: str) -> list[str]:
    """The stored versions of a model; one without a manifest is none."""
    keys = (info.key.split("/") for info in store.list(version_key(name, "").rstrip("/") + "/"))
    return [parts[3] for parts in keys if len(parts) == 5 and parts[4] == MANIFEST and VERSION.fullmatch(parts[3])]


def names(store: ObjectStore) -> list[str]:
    """The models of a registry."""
    return sorted({info.key.split("/")[1] for prefix in ("models/", "aliases/") for info in store.list(prefix)})


def verify(store: ObjectStore, version: Version) -> None:
    """Read every file of a version and compare it with the manifest.

    Raises:
        InputError: a file is missing or is another one; the line names it.
    """
    _check_sizes(store, version)
    with tempfile.TemporaryDirectory(prefix="asdfd-verify-") as folder:
        for file, entry in sorted(version.files.items()):
            path = Path(folder) / "file"
            store.download(file_key(version, file), path, entry.sha256)
            path.unlink()


def pull(store: ObjectStore, version: Version, out: Path) -> None:
    """Fetch a version to the new folder `out`: student/, export/ where it has one, evaluation/, verdict/ and manifest.json. It appears whole; an interrupted
    pull goes on where it was.

    Raises:
        InputError: `out` exists, a file is missing or is not the one that the manifest names, or another process fetches to `out`.
    """
    partial = out.with_name(out.name + ".partial")
    if partial.is_symlink() or (partial.exists() and not partial.is_dir()):
        raise InputError(f"{partial}: is in the way; move it or name another --out")
    _refuse_existing(out)
    partial.mkdir(parents=True, exist_ok=True)
    with sole_process(partial / "lock", f"{out}: another process is fetching it; wait until that is done, or name another --out"):
        _refuse_existing(out)  # whoever fetched it beside us may have ended between our two looks
        _fetch(store, version, partial / "version")
        (partial / "version").rename(out)
    with contextlib.suppress(OSError):  # something of somebody else is in it
        partial.rmdir()


def _fetch(store: ObjectStore, version: Version, folder: Path) -> None:
    """Have all of a version in a folder, which may hold some of it."""
    _remove_others(folder, version)
    for file, entry in sorted(version.files.items()):
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if not (path.is_file() and path.stat().st_size == entry.bytes and artifacts.sha256_of(path) == entry.sha256):
            store.download(file_key(version, file), path, entry.sha256)
    content, _ = store.read(version_key(version.name, version.version, MANIFEST))
    if hashlib.sha256(content).hexdigest() != version.sha256:
        raise InputError(f"{version.name}@{version.version}: its manifest was changed during the pull; do not use it")
    (folder / MANIFEST).write_bytes(content)
    for kind in held(version.files):
        artifacts.read(folder / kind, kind)


def _refuse_existing(out: Path) -> None:
    if out.exists() or out.is_symlink():
        raise InputError(f"{out}: exists already; name another --out")


def is_stored(store: ObjectStore, key: str) -> bool:
    """Whether there is a small object of this key."""
    try:
        store.read(key)
    except MissingObject:
        return False
    return True


def removal_key(name: str, version: str) -> str:
    """Key of the announcement that a version is being removed."""
    return f"removals/{name}/{version}.json"


def now() -> str:
    """This moment in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def artifact_files(found: Mapping[str, Artifact]) -> dict[str, FileEntry]:
    """Every file of the artifacts that a version holds, with their manifests, by its name in the version."""
    files: dict[str, FileEntry] = {}
    for kind in (kind for kind in ARTIFACTS if kind in found):
        manifest = found[kind].path / MANIFEST
        entries = {**found[kind].files, MANIFEST: FileEntry(artifacts.sha256_of(manifest), manifest.stat().st_size)}
        files |= {f"{kind}/{name}": entry for name, entry in entries.items()}
    return files


def digests_of(files: Mapping[str, FileEntry]) -> dict[str, str]:
    """Digest of every artifact that these files make."""
    return {kind: artifact_digest(kind, files) for kind in held(files)}


def _check_sizes(store: ObjectStore, version: Version) -> None:
    """See that every file is there in its size, and nothing else in the student's folder."""
    found = {info.key: info.bytes for info in store.list(version_key(version.name, version.version))}
    wanted = {file_key(version, file): entry.bytes for file, entry in version.files.items()}
    for key, size in wanted.items():
        if key not in found:
            raise InputError(f"{store.location}/{key}: is missing; name another version, `asdfd registry list` shows them")
        if found[key] != size:
            raise InputError(f"{store.location}/{key}: has {found[key]} bytes, its manifest says {size} (changed or damaged); do not use it")
    student = version_key(version.name, version.version, "student/")
    if extra := sorted(key for key in found.keys() - wanted.keys() if key.startswith(student)):
        raise InputError(f"{store.location}/{extra[0]}: is not named in the manifest; remove it")


def _remove_others(folder: Path, version: Version) -> None:
    """Make a folder, without what is not a file of this version: from an interrupted pull of another one, or a download that was cut off."""
    folder.mkdir(exist_ok=True)
    for place, _, files in os.walk(folder):
        for name in files:
            path = Path(place, name)
            if path.relative_to(folder).as_posix() not in version.files:
                path.unlink()
