"""What a registry holds, for people and for machines to look at."""

from __future__ import annotations

from typing import Any

from asdfd.base.errors import AsdfdError, InputError
from asdfd.registry.aliases import history, read_alias
from asdfd.registry.records import Alias, Version, checked_name
from asdfd.registry.versions import names, read_version, resolve, verify, versions
from asdfd.storage.objects import ObjectStore


def stages(store: ObjectStore, name: str) -> list[str]:
    """The stages of a model that were ever held."""
    return [info.key.split("/")[2].removesuffix(".json") for info in store.list(f"aliases/{name}/")]


def holders(store: ObjectStore, name: str) -> dict[str, list[str]]:
    """The stages that each version holds."""
    found: dict[str, list[str]] = {}
    for stage in stages(store, name):
        if (held := read_alias(store, name, stage)) is not None:
            found.setdefault(held.alias.version, []).append(stage)
    return found


def summaries(store: ObjectStore, name: str) -> list[dict[str, Any]]:
    """One row for each version of a model (of all models, where none is named), the newest first.

    Raises:
        InputError: there is no such model, or a manifest is damaged.
    """
    rows: list[dict[str, Any]] = []
    known = names(store)
    if name and checked_name(name, "model") not in known:
        raise InputError(f"{name}: is not a model of {store.location}; there are {', '.join(known) or 'none'}")
    for model in [name] if name else known:
        held = holders(store, model)
        found = [read_version(store, model, version, signed=False) for version in versions(store, model)]
        for version in sorted(found, key=lambda one: one.created, reverse=True):
            served = "export/" if "export" in version.digests else "student/"
            size = sum(entry.bytes for file, entry in version.files.items() if file.startswith(served))
            row = {"name": model, "version": version.version, "stages": held.get(version.version, []), "created": version.created}
            rows.append({**row, "evidence": version.evidence, "metrics": dict(version.metrics), "bytes": size})
    return rows


def description(store: ObjectStore, version: Version) -> dict[str, Any]:
    """All that the manifest tells, and the stages that the version holds."""
    return {
        "name": version.name,
        "version": version.version,
        "stages": holders(store, version.name).get(version.version, []),
        "manifest_sha256": version.sha256,
        "created": version.created,
        "made_by": version.made_by,
        "teacher_reference": version.teacher_reference,
        "digests": dict(version.digests),
        "evidence": version.evidence,
        "data": version.data,
        "metrics": dict(version.metrics),
        "provenance": dict(version.provenance),
        "parameters": dict(version.parameters),
        "files": {file: {"sha256": entry.sha256, "bytes": entry.bytes} for file, entry in version.files.items()},
    }


def moves_of(store: ObjectStore, name: str, stage: str) -> list[Alias]:
    """The moves of a stage of a model, or of all its stages, in the order of time.

    Raises:
        InputError: nobody ever held it, or the history was changed.
    """
    checked_name(name, "model")
    found = [move for one in ([checked_name(stage, "stage")] if stage else stages(store, name)) for move in history(store, name, one)]
    if not found:
        raise InputError(f"{name}{f'@{stage}' if stage else ''}: no version ever held a stage in {store.location}; `asdfd registry list` shows what is there")
    return sorted(found, key=lambda move: (move.time, move.number))


def problems(store: ObjectStore, *, signed: bool) -> tuple[int, list[str]]:
    """Verify every version, alias and history: how many versions there are, and a line for each thing that is wrong."""
    count = 0
    found: list[str] = []
    for name in names(store):
        for version in versions(store, name):
            count += 1
            try:
                verify(store, read_version(store, name, version, signed=signed))
            except AsdfdError as error:
                found.append(str(error))
        for stage in stages(store, name):
            try:
                resolve(store, f"{name}@{stage}", signed=signed)
                history(store, name, stage)
            except AsdfdError as error:
                found.append(str(error))
    return count, list(dict.fromkeys(found))
