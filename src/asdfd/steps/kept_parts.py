"""The finished parts of a bank in the object store.

<fingerprint of the recipe>/part-<number>-<its SHA-256>.safetensors
"""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

from asdfd.base.artifacts import sha256_of
from asdfd.base.errors import AsdfdError, InputError
from asdfd.method.bank import part_path, parts_in
from asdfd.steps.kept import Kept, say

SECONDS = 60.0
"""How often a synthesis stores the parts that it finished since."""
_NAME = re.compile(r"part-(\d{5})-([0-9a-f]{64})\.safetensors")


class KeptParts:
    """The finished parts of one bank at a location."""

    def __init__(self, location: str, fingerprint: str) -> None:
        self._kept = Kept(location, fingerprint)
        self._stored = set[int]()
        self._began = time.monotonic()
        self._lock = threading.Lock()

    def fetch(self, folder: Path) -> None:
        """Bring those that `folder` does not hold; one that is damaged is reported and made again.

        Raises:
            InputError: the place cannot be read.
        """
        for name in self._kept.names():
            found = _NAME.fullmatch(name)
            if found is None or part_path(folder, int(found[1])).exists():
                continue
            try:
                self._kept.store.download(f"{self._kept.prefix}{name}", part_path(folder, int(found[1])), found[2])
            except InputError as error:
                say(f"part {int(found[1])} cannot be used, it is made again: {error}")
                continue
            self._stored.add(int(found[1]))
        if self._stored:
            say(f"going on with {len(self._stored)} finished parts, from {self._kept.store.location}/{self._kept.prefix}")

    def keep(self, folder: Path) -> None:
        """Store the finished parts in `folder` while the synthesis goes on, once in SECONDS; several threads may ask."""
        with self._lock:
            if time.monotonic() - self._began >= SECONDS and not self._kept.busy:
                self._began = time.monotonic()
                self._kept.begin(self._store_new, folder)

    def keep_last(self, folder: Path) -> None:
        """Store the finished parts in `folder` and wait for that: the process ends."""
        self.finish()
        self._store_new(folder)

    def finish(self) -> None:
        """Wait for what is on its way."""
        self._kept.finish()

    def _store_new(self, folder: Path) -> None:
        """Upload the parts that are not there yet. What fails is tried again with the next ones."""
        try:
            for part in sorted({*parts_in(folder)} - self._stored):
                path = part_path(folder, part)
                sha256 = sha256_of(path)
                self._kept.store.upload(f"{self._kept.prefix}part-{part:05d}-{sha256}.safetensors", path, sha256)
                self._stored.add(part)
        except (AsdfdError, OSError) as error:
            say(f"finished parts could not be stored, and the synthesis goes on: {error}")
