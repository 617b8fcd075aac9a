"""What a task has done so far, kept in the object store below the fingerprint of its recipe: the next pod, or the next run of the same recipe, goes on from it.

The pods of a run have no volume that outlives them: one that a single node can mount would tie the run to that node, and one that root owns could not be
written.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from typing import Any

from asdfd.base.errors import AsdfdError
from asdfd.storage.objects import ObjectStore, open_objects


class Kept:
    """What is kept of one recipe at a location; it is stored beside the work, by one thread at a time."""

    def __init__(self, location: str, fingerprint: str) -> None:
        self.store: ObjectStore = open_objects(location)
        self.prefix = f"{fingerprint}/"
        self._thread: threading.Thread | None = None

    def names(self) -> list[str]:
        """Names of all objects, below the prefix.

        Raises:
            InputError: the place cannot be read.
        """
        return [info.key.removeprefix(self.prefix) for info in self.store.list(self.prefix)]

    @property
    def busy(self) -> bool:
        """Whether something is still on its way."""
        return self._thread is not None and self._thread.is_alive()

    def begin(self, upload: Callable[..., None], *arguments: Any) -> None:
        """Call `upload` beside the work; nothing may be on its way."""
        self._thread = threading.Thread(target=upload, args=arguments, daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Wait for what is on its way."""
        if self._thread is not None:
            self._thread.join()

    def remove(self, names: list[str]) -> None:
        """Remove objects, those that declare others complete first."""
        for name in sorted(names, key=lambda name: not name.endswith(".json")):
            self.store.delete(f"{self.prefix}{name}")

    def clear(self) -> None:
        """Remove all of it."""
        with contextlib.suppress(AsdfdError):  # `asdfd registry gc` finds what stays
            self.remove(self.names())


def say(line: str) -> None:
    """Tell the user about what is kept."""
    print(f"asdfd: {line}", file=sys.stderr, flush=True)
