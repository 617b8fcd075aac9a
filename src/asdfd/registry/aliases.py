"""Stages and their history.

The alias of a stage holds the whole last move. A mover first makes sure that this move is in the history, and only then replaces the alias by
compare-and-set: nothing is ever lost between the two, however a mover ends, and the history is in the order in which moves won. The entry of the newest move
may still be missing there; readers take it from the alias.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from asdfd.base.errors import InputError, RefusedError
from asdfd.registry.records import Alias, alias_key, history_key, parse_alias
from asdfd.storage.objects import Conflict, MissingObject, ObjectStore


@dataclass(frozen=True)
class Held:
    """An alias as it was read."""

    alias: Alias
    content: bytes
    etag: str

    @property
    def sha256(self) -> str:
        """Hash of its bytes."""
        return hashlib.sha256(self.content).hexdigest()


def read_alias(store: ObjectStore, name: str, stage: str) -> Held | None:
    """Who holds a stage; None where nobody does.

    Raises:
        InputError: the alias is damaged.
    """
    key = alias_key(name, stage)
    try:
        content, etag = store.read(key)
    except MissingObject:
        return None
    return Held(parse_alias(content, f"{store.location}/{key}", name, stage), content, etag)


def move(store: ObjectStore, held: Held | None, alias: Alias) -> None:
    """Move a stage from the alias that was read to a new one. `alias` must be its successor: see `publication.successor`.

    What goes wrong after the alias was replaced raises nothing: the stage has moved, and its entry is written by the next move.

    Raises:
        Conflict: somebody else moved the stage since it was read.
        InputError: the registry cannot be written; the stage was not moved.
    """
    key = alias_key(alias.name, alias.stage)
    content = alias.encoded()
    try:
        if held is None:
            store.create(key, content)
        else:
            record(store, held)
            store.replace(key, content, held.etag)
    except Conflict:
        now = read_alias(store, alias.name, alias.stage)
        if now is None or now.content != content:  # it is ours where an answer was lost and the write was tried again
            raise
    with contextlib.suppress(InputError):
        record(store, Held(alias, content, ""))


def record(store: ObjectStore, held: Held) -> None:
    """Make sure that a move is in the history."""
    with contextlib.suppress(Conflict):
        store.create(history_key(held.alias.name, held.alias.stage, held.alias.number), held.content)


def history(store: ObjectStore, name: str, stage: str) -> list[Alias]:
    """All moves of a stage, the first one first.

    Raises:
        InputError: an entry is damaged, missing, or not the one that its successor followed.
    """
    held = read_alias(store, name, stage)  # before the listing: what it says last is then either listed or added here
    contents = [store.read(info.key)[0] for info in store.list(f"history/{name}/{stage}/")]
    if held is not None and held.alias.number == len(contents) + 1:
        contents.append(held.content)
    if held is not None and held.content not in contents:
        raise InputError(
            f"{store.location}/{alias_key(name, stage)}: is not in the history of {name}@{stage}; "
            "it was written by hand, or the history was changed: `asdfd registry verify` looks at all of it"
        )
    moves: list[Alias] = []
    before = ""
    for number, content in enumerate(contents, 1):
        place = f"{store.location}/{history_key(name, stage, number)}"
        entry = parse_alias(content, place, name, stage)
        if entry.number != number or entry.previous_entry != before:
            raise InputError(f"{place}: does not follow the entry before it; the history was changed: `asdfd registry verify` looks at all of it")
        moves.append(entry)
        before = hashlib.sha256(content).hexdigest()
    return moves


def rollback_target(moves: Sequence[Alias], name: str, stage: str) -> Alias:
    """The move that a rollback returns to: the one before the last that was not itself rolled back.

    Raises:
        RefusedError: there is none.
    """
    standing: list[Alias] = []
    for entry in moves:
        if entry.action == "rollback":
            while standing and standing[-1].version != entry.version:
                standing.pop()
        elif not standing or standing[-1].version != entry.version:
            standing.append(entry)
    if len(standing) < 2:
        raise RefusedError(f"{name}@{stage}: no version held it before this one, so there is nothing to roll back to; move it with `asdfd promote` instead")
    return standing[-2]
