"""Whether a place keeps what the registry relies on: of many writers that try at once, one wins, and the others are told so.

Servers that do not know the conditions of a write ignore them (SeaweedFS up to about 4.18, old MinIO), and two who promote at once are both told that they won.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

from asdfd.base.errors import InputError
from asdfd.storage.store import Conflict, ObjectStore

WRITERS = 8
REMEDY = "so two who promote at once would both be told that they won; update the server, or name another registry.location"


def check_conditional_writes(store: ObjectStore) -> None:
    """Write a few small objects below `probes/`, each of which only one may write, and remove them.

    Raises:
        InputError: the place cannot be written, or takes a write that it has to refuse.
    """
    key = f"probes/{uuid4().hex}.json"
    try:
        etag = store.create(key, b"first")
        if _is_taken(lambda: store.create(key, b"second")):
            raise InputError(f"{store.location}: takes a write that must not replace anything (If-None-Match), {REMEDY}")
        newer = store.replace(key, b"third", etag)
        if newer != etag and _is_taken(lambda: store.replace(key, b"fourth", etag)):
            raise InputError(f"{store.location}: takes a write in place of what is no longer there (If-Match), {REMEDY}")
    finally:
        with contextlib.suppress(InputError):
            store.delete(key)
    _check_race(store)


def _check_race(store: ObjectStore) -> None:
    key = f"probes/{uuid4().hex}.json"
    try:
        with ThreadPoolExecutor(WRITERS) as pool:
            won = sum(pool.map(lambda number: _is_taken(lambda: store.create(key, json.dumps(number).encode())), range(WRITERS)))
        if won != 1:
            raise InputError(f"{store.location}: of {WRITERS} that wrote one object at once {won} were told that they were first, {REMEDY}")
    finally:
        with contextlib.suppress(InputError):
            store.delete(key)


def _is_taken(write: Callable[[], object]) -> bool:
    """Whether the place takes a write."""
    try:
        write()
    except Conflict:
        return False
    return True
