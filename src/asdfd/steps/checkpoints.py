"""What a task has done so far in the object store, where the next pod, or the next run of the same recipe, finds it.

    <fingerprint of the recipe>/<step>-<start of its SHA-256>.safetensors   the checkpoint of a distillation
    <fingerprint of the recipe>/<step>-<start of its SHA-256>.json          written after it: its SHA-256, and the metric records up to its step
    <fingerprint of the recipe>/part-<number>-<its SHA-256>.safetensors     a finished part of a bank

A checkpoint without the second file is not complete, and nobody reads it. The pods of a run have no volume that outlives them: one that a single node can mount
would tie the run to that node, and one that root owns could not be written.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import threading
import time
from pathlib import Path

from asdfd.base.artifacts import sha256_of, write_atomically
from asdfd.base.errors import AsdfdError, InputError
from asdfd.method.bank import part_path, parts_in
from asdfd.method.distillation import CHECKPOINT, step_of
from asdfd.storage.objects import ObjectStore, open_objects

RECORDS = "metrics.jsonl"
PARTS_SECONDS = 60.0
"""How often a synthesis stores the parts that it finished since."""
_PART = re.compile(r"part-(\d{5})-([0-9a-f]{64})\.safetensors")


class _Kept:
    """What is kept of one recipe at a location; it is stored beside the work, by one thread at a time."""

    def __init__(self, location: str, fingerprint: str) -> None:
        self._store: ObjectStore = open_objects(location)
        self._prefix = f"{fingerprint}/"
        self._thread: threading.Thread | None = None

    def keep(self, folder: Path) -> None:
        """Store what is in `folder` while the work goes on; it is left out where what came before is still on its way."""
        if self._thread is None or not self._thread.is_alive():
            self._begin(folder)

    def keep_last(self, folder: Path) -> None:
        """Store what is in `folder` and wait for that: the process ends."""
        self.finish()
        self._begin(folder)
        self.finish()

    def _begin(self, folder: Path) -> None:
        raise NotImplementedError

    def finish(self) -> None:
        """Wait for what is on its way."""
        if self._thread is not None:
            self._thread.join()

    def clear(self) -> None:
        """Remove all of it."""
        with contextlib.suppress(AsdfdError):  # `asdfd registry gc` finds what stays
            self._remove([info.key for info in self._store.list(self._prefix)])

    def _remove(self, keys: list[str]) -> None:
        """Remove objects, those that declare others complete first."""
        for key in sorted(keys, key=lambda key: not key.endswith(".json")):
            self._store.delete(key)


class Parts(_Kept):
    """The finished parts of one bank at a location."""

    def __init__(self, location: str, fingerprint: str) -> None:
        super().__init__(location, fingerprint)
        self._stored = set[int]()
        self._began = time.monotonic()
        self._lock = threading.Lock()

    def fetch(self, folder: Path) -> None:
        """Bring those that `folder` does not hold; one that is damaged is reported and made again.

        Raises:
            InputError: the place cannot be read.
        """
        for info in self._store.list(self._prefix):
            found = _PART.fullmatch(info.key.removeprefix(self._prefix))
            if found is None or part_path(folder, int(found[1])).exists():
                continue
            try:
                self._store.download(info.key, part_path(folder, int(found[1])), found[2])
            except InputError as error:
                _say(f"part {int(found[1])} cannot be used, it is made again: {error}")
                continue
            self._stored.add(int(found[1]))
        if self._stored:
            _say(f"going on with {len(self._stored)} finished parts, from {self._store.location}/{self._prefix}")

    def keep(self, folder: Path) -> None:
        """Store the finished parts in `folder` while the synthesis goes on, once in PARTS_SECONDS; several threads may ask."""
        with self._lock:
            if time.monotonic() - self._began >= PARTS_SECONDS:
                super().keep(folder)

    def _begin(self, folder: Path) -> None:
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._store_new, args=(folder,), daemon=True)
        self._thread.start()

    def _store_new(self, folder: Path) -> None:
        """Upload the parts that are not there yet. What fails is tried again with the next ones."""
        try:
            for part in sorted({*parts_in(folder)} - self._stored):
                path = part_path(folder, part)
                sha256 = sha256_of(path)
                self._store.upload(f"{self._prefix}part-{part:05d}-{sha256}.safetensors", path, sha256)
                self._stored.add(part)
        except (AsdfdError, OSError) as error:
            _say(f"finished parts could not be stored, and the synthesis goes on: {error}")


class Checkpoints(_Kept):
    """The checkpoints of one distillation at a location."""

    def fetch(self, folder: Path) -> None:
        """Bring the newest complete one to `folder`, where there is none yet; one that is damaged is reported and passed over.

        Raises:
            InputError: the place cannot be read.
        """
        if (folder / CHECKPOINT).exists():
            return
        for name in sorted(self._complete(), key=_step, reverse=True):
            try:
                found = json.loads(self._store.read(f"{self._prefix}{name}.json")[0])
                self._store.download(f"{self._prefix}{name}.safetensors", folder / CHECKPOINT, found["sha256"])
                write_atomically(folder / RECORDS, found["records"])
            except (InputError, ValueError, KeyError, TypeError) as error:
                _say(f"the checkpoint of step {_step(name)} cannot be used, an earlier one is taken: {error}")
                continue
            _say(f"going on after step {_step(name)}, from {self._store.location}/{self._prefix}{name}.safetensors")
            return

    def _begin(self, folder: Path) -> None:
        snapshot = folder / f"{CHECKPOINT}.upload"
        snapshot.unlink(missing_ok=True)
        os.link(folder / CHECKPOINT, snapshot)  # the next one replaces the name, not the file
        records = (folder / RECORDS).read_text(encoding="utf-8") if (folder / RECORDS).exists() else ""
        self._thread = threading.Thread(target=self._store_one, args=(snapshot, records), daemon=True)
        self._thread.start()

    def _store_one(self, path: Path, records: str) -> None:
        """Upload, declare complete, remove those before. What fails costs this checkpoint and nothing else."""
        try:
            step, sha256 = step_of(path), sha256_of(path)
            name = f"{step:09d}-{sha256[:16]}"
            self._store.upload(f"{self._prefix}{name}.safetensors", path, sha256)
            marker = path.with_suffix(".json")
            marker.write_text(json.dumps({"step": step, "sha256": sha256, "records": records}), encoding="utf-8")
            self._store.upload(f"{self._prefix}{name}.json", marker, sha256_of(marker))
            self._remove([info.key for info in self._store.list(self._prefix) if 0 <= _step(info.key.removeprefix(self._prefix)) < step])
        except (AsdfdError, OSError) as error:
            _say(f"a checkpoint could not be stored, and the training goes on: {error}")

    def _complete(self) -> set[str]:
        """Names of the complete ones."""
        names = [info.key.removeprefix(self._prefix) for info in self._store.list(self._prefix)]
        return {name.removesuffix(".json") for name in names if name.endswith(".json")}


def _step(name: str) -> int:
    """The step that a name begins with; -1 where it is none of ours."""
    number = name.partition("-")[0]
    return int(number) if number.isdecimal() else -1


def _say(line: str) -> None:
    print(f"asdfd: {line}", file=sys.stderr, flush=True)
