"""The checkpoint of a distillation in the object store, where the next pod, or the next run of the same recipe, finds it.

    <fingerprint of the recipe>/<step>-<start of its SHA-256>.safetensors   the checkpoint
    <fingerprint of the recipe>/<step>-<start of its SHA-256>.json          written after it: its SHA-256, and the metric records up to its step

One without the second file is not complete, and nobody reads it. The pods of a run have no volume that outlives them: one that a single node can mount would
tie the run to that node, and one that root owns could not be written.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from pathlib import Path

from asdfd.base.artifacts import sha256_of, write_atomically
from asdfd.base.errors import AsdfdError, InputError
from asdfd.method.distillation import CHECKPOINT, step_of
from asdfd.storage.objects import ObjectStore, open_objects

RECORDS = "metrics.jsonl"


class Checkpoints:
    """The checkpoints of one recipe at a location."""

    def __init__(self, location: str, fingerprint: str) -> None:
        self._store: ObjectStore = open_objects(location)
        self._prefix = f"{fingerprint}/"
        self._thread: threading.Thread | None = None

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

    def keep(self, folder: Path) -> None:
        """Store the checkpoint in `folder` while the training goes on; it is left out where the one before is still on its way."""
        if self._thread is None or not self._thread.is_alive():
            self._begin(folder)

    def keep_last(self, folder: Path) -> None:
        """Store the checkpoint in `folder` and wait for that: the process ends."""
        self.finish()
        self._begin(folder)
        self.finish()

    def _begin(self, folder: Path) -> None:
        snapshot = folder / f"{CHECKPOINT}.upload"
        snapshot.unlink(missing_ok=True)
        os.link(folder / CHECKPOINT, snapshot)  # the next one replaces the name, not the file
        records = (folder / RECORDS).read_text(encoding="utf-8") if (folder / RECORDS).exists() else ""
        self._thread = threading.Thread(target=self._store_one, args=(snapshot, records), daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Wait for the one that is on its way."""
        if self._thread is not None:
            self._thread.join()

    def clear(self) -> None:
        """Remove all of them."""
        with contextlib.suppress(AsdfdError):  # `asdfd registry gc` finds what stays
            self._remove([info.key for info in self._store.list(self._prefix)])

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

    def _remove(self, keys: list[str]) -> None:
        """Remove objects, those that declare others complete first."""
        for key in sorted(keys, key=lambda key: not key.endswith(".json")):
            self._store.delete(key)

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
