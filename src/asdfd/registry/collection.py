"""What may be removed: versions that no stage holds and that no rollback would look for, and what killed writers left.

A version that an alias names, or the last moves of a stage's history, is never removed. `find` only looks; `remove` announces each removal, then looks again
for a worker or an alias that took the version up meanwhile (see `versions.announced`), and only then deletes, the manifest first.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import uuid4

from asdfd.base.artifacts import MANIFEST
from asdfd.registry.aliases import history, read_alias
from asdfd.registry.records import VERSION, file_key, version_key
from asdfd.registry.versions import names, now, read_version, removal_key
from asdfd.storage.objects import Conflict, MissingObject, ObjectInfo, ObjectStore

RUN_DAYS = 14
"""Days after which the notes of a pipeline's run, and checkpoints and parts of banks that nobody went on with, are left behind."""


@dataclass(frozen=True)
class Garbage:
    """Something that may be removed."""

    kind: str
    """version, incomplete version, stray file, unfinished write, checkpoint or run note."""
    name: str
    version: str
    """Empty for what belongs to none."""
    keys: tuple[str, ...]
    bytes: int
    reason: str
    unfinished: ObjectInfo | None = None


def find(store: ObjectStore, *, keep: int, older_than: float) -> list[Garbage]:
    """What `gc` would remove: of what is older than `older_than` seconds, all that no alias and none of the last `keep` moves of any stage's history names.

    Raises:
        InputError: an alias or a history is damaged; nothing is removed from a registry that cannot be understood.
    """
    before = time.time() - older_than
    found: list[Garbage] = []
    for name in names(store):
        protected = _worked_on(store, name, before) | _protected(store, name, keep)
        for version, objects in _by_version(store, name).items():
            old = max(info.modified for info in objects) <= before
            if version not in protected and old:
                found.append(_whole(name, version, objects))
            elif version in protected:
                found += _stray(store, name, version, [info for info in objects if info.modified <= before])
        found += _cut_off_evaluations(store, name, before)
    found += _left_behind(store, before, {(one.name, one.version) for one in found})
    return found + _of_runs(store, min(before, time.time() - RUN_DAYS * 86_400))


def remove(store: ObjectStore, garbage: Iterable[Garbage], *, keep: int, older_than: float) -> tuple[list[Garbage], list[Garbage]]:
    """Remove what `find` found; what was removed, and what was kept since somebody took it up or removes it already."""
    removed: list[Garbage] = []
    kept: list[Garbage] = []
    for one in garbage:
        if one.unfinished is not None:
            store.discard(one.unfinished)
        elif one.version and not _remove_version(store, one, keep=keep, before=time.time() - older_than):
            kept.append(one)
            continue
        elif not one.version:
            _delete(store, one.keys)
        removed.append(one)
    return removed, kept


def _remove_version(store: ObjectStore, one: Garbage, *, keep: int, before: float) -> bool:
    """Remove a version or files of it; whether nobody wanted it any more."""
    key = removal_key(one.name, one.version)
    if not _announce(store, key, before):
        return False
    whole = one.kind != "stray file"
    wanted = _worked_on(store, one.name, before)  # before the aliases: who has ended since had moved one by then
    if one.version in (wanted | _protected(store, one.name, keep) if whole else wanted):
        store.delete(key)
        return False
    _delete(store, sorted(one.keys, key=lambda name: not name.endswith(f"{one.version}/{MANIFEST}")))
    if whole:
        _delete(store, [info.key for prefix in ("evaluations", "signatures") for info in store.list(f"{prefix}/{one.name}/{one.version}/")])
    store.delete(key)
    return True


def _announce(store: ObjectStore, key: str, before: float) -> bool:
    """Announce a removal; False where another one is under way. That of a `gc` that was killed is taken over when it is old enough."""
    content = json.dumps({"time": now(), "identity": uuid4().hex}).encode()
    with contextlib.suppress(Conflict):
        store.create(key, content)
        return True
    try:
        _, etag = store.read(key)
        if any(info.key == key and info.modified > before for info in store.list(key)):
            return False
        store.replace(key, content, etag)
    except (Conflict, MissingObject):
        return False
    return True


def _protected(store: ObjectStore, name: str, keep: int) -> set[str]:
    """The versions that an alias or the last `keep` moves of a stage name."""
    stages = {info.key.split("/")[2].removesuffix(".json") for info in store.list(f"aliases/{name}/")}
    protected: set[str] = set()
    for stage in stages:
        moves = history(store, name, stage)
        protected |= {move.version for move in moves[max(0, len(moves) - keep) :]}
        if (held := read_alias(store, name, stage)) is not None:  # after the history: a move between the two is seen here
            protected.add(held.alias.version)
    return protected


def _worked_on(store: ObjectStore, name: str, before: float) -> set[str]:
    """The versions that somebody announced work on, and may still be at it."""
    return {info.key.split("/")[2] for info in store.list(f"intents/{name}/") if info.modified > before}


def _by_version(store: ObjectStore, name: str) -> Mapping[str, list[ObjectInfo]]:
    """All objects in the versions' folders, by version."""
    folders: dict[str, list[ObjectInfo]] = {}
    for info in store.list(version_key(name, "").rstrip("/") + "/"):
        version = info.key.split("/")[3]
        if VERSION.fullmatch(version):
            folders.setdefault(version, []).append(info)
    return folders


def _whole(name: str, version: str, objects: Iterable[ObjectInfo]) -> Garbage:
    keys = tuple(info.key for info in objects)
    size = sum(info.bytes for info in objects)
    if version_key(name, version, MANIFEST) in keys:
        return Garbage("version", name, version, keys, size, "no stage holds it and no recent move names it")
    return Garbage("incomplete version", name, version, keys, size, "its push was killed")


def _stray(store: ObjectStore, name: str, version: str, objects: Iterable[ObjectInfo]) -> list[Garbage]:
    """Evaluations and verdicts in a version's folder that its manifest does not name: a push that lost to another one of the same student put them there."""
    manifest = read_version(store, name, version, signed=False)
    wanted = {version_key(name, version, MANIFEST), *(file_key(manifest, file) for file in manifest.files)}
    student = version_key(name, version, "student/")
    stray = [info for info in objects if info.key not in wanted and not info.key.startswith(student)]
    if not stray:
        return []
    return [Garbage("stray file", name, version, tuple(info.key for info in stray), sum(info.bytes for info in stray), "a push that came second left it")]


def _cut_off_evaluations(store: ObjectStore, name: str, before: float) -> list[Garbage]:
    """Later evaluations that were not written to their end."""
    folders: dict[str, list[ObjectInfo]] = {}
    for info in store.list(f"evaluations/{name}/"):
        folders.setdefault("/".join(info.key.split("/")[:5]), []).append(info)
    return [
        Garbage("stray file", name, folder.split("/")[2], tuple(info.key for info in objects), sum(info.bytes for info in objects), "its promotion was killed")
        for folder, objects in folders.items()
        if f"{folder}/{MANIFEST}" not in {info.key for info in objects} and max(info.modified for info in objects) <= before
    ]


def _left_behind(store: ObjectStore, before: float, known: set[tuple[str, str]]) -> list[Garbage]:
    """Parts of killed writes, and announcements of work and of removals that were killed; `known` are versions that are found already."""
    found = [
        Garbage("unfinished write", "", "", (info.key,), info.bytes, "its writer was killed", info) for info in store.unfinished() if info.modified <= before
    ]
    for info in store.list("intents/"):
        if info.modified <= before:
            found.append(Garbage("unfinished write", "", "", (info.key,), info.bytes, "its worker was killed"))
    for info in store.list("removals/"):
        name, version = info.key.split("/")[1], info.key.split("/")[2].removesuffix(".json")
        if info.modified <= before and (name, version) not in known:
            found.append(Garbage("unfinished write", name, version, (), info.bytes, "its removal was killed"))
    return found


def _of_runs(store: ObjectStore, before: float) -> list[Garbage]:
    """What runs left beside the registry: their notes by run, their checkpoints and parts by recipe, where nothing in the folder is younger."""
    folders: dict[tuple[str, str], list[ObjectInfo]] = {}
    for kind, prefix in (("run note", "runs/"), ("checkpoint", "checkpoints/")):
        for info in store.list(prefix):
            folders.setdefault((kind, info.key.rpartition("/")[0]), []).append(info)
    return [
        Garbage(
            kind, "", "", tuple(sorted((info.key for info in objects), key=lambda key: not key.endswith(".json"))), sum(info.bytes for info in objects), reason
        )
        for (kind, _), objects in folders.items()
        if max(info.modified for info in objects) <= before
        for reason in [f"nothing was added to it for {RUN_DAYS} days"]
    ]


def _delete(store: ObjectStore, keys: Iterable[str]) -> None:
    for key in keys:
        store.delete(key)
