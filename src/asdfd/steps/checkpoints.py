"""The checkpoints of a distillation in the object store.

    <fingerprint of the recipe>/<step>-<start of its SHA-256>.safetensors   the checkpoint
    <fingerprint of the recipe>/<step>-<start of its SHA-256>.json          written after it: its SHA-256, and the metric records up to its step

A checkpoint without the second file is not complete, and nobody reads it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from asdfd.base.artifacts import sha256_of, write_atomically
from asdfd.base.errors import AsdfdError, InputError
from asdfd.method.distillation import CHECKPOINT, step_of
from asdfd.steps.kept import Kept, say

RECORDS = "metrics.jsonl"


class Checkpoints:
    """The checkpoints of one distillation at a location."""

    def __init__(self, location: str, fingerprint: str) -> None:
        self._kept = Kept(location, fingerprint)

    def fetch(self, folder: Path) -> None:
        """Bring the newest complete one to `folder`, where there is none yet; one that is damaged is reported and passed over.

        Raises:
            InputError: the place cannot be read.
        """
        if (folder / CHECKPOINT).exists():
            return
        store, prefix = self._kept.store, self._kept.prefix
        for name in sorted(self._complete(), key=_step, reverse=True):
            try:
                found = json.loads(store.read(f"{prefix}{name}.json")[0])
                store.download(f"{prefix}{name}.safetensors", folder / CHECKPOINT, found["sha256"])
                write_atomically(folder / RECORDS, found["records"])
            except (InputError, ValueError, KeyError, TypeError) as error:
                say(f"the checkpoint of step {_step(name)} cannot be used, an earlier one is taken: {error}")
                continue
            say(f"going on after step {_step(name)}, from {store.location}/{prefix}{name}.safetensors")
            return

    def keep(self, folder: Path) -> None:
        """Store the one in `folder` while the training goes on; it is left out where the one before is still on its way."""
        if not self._kept.busy:
            self._begin(folder)

    def keep_last(self, folder: Path) -> None:
        """Store the one in `folder` and wait for that: the process ends."""
        self.finish()
        self._begin(folder)
        self.finish()

    def finish(self) -> None:
        """Wait for what is on its way."""
        self._kept.finish()

    def _begin(self, folder: Path) -> None:
        snapshot = folder / f"{CHECKPOINT}.upload"
        snapshot.unlink(missing_ok=True)
        os.link(folder / CHECKPOINT, snapshot)  # the next one replaces the name, not the file
        records = (folder / RECORDS).read_text(encoding="utf-8") if (folder / RECORDS).exists() else ""
        self._kept.begin(self._store_one, snapshot, records)

    def _store_one(self, path: Path, records: str) -> None:
        """Upload, declare complete, remove those before. What fails costs this checkpoint and nothing else."""
        store, prefix = self._kept.store, self._kept.prefix
        try:
            step, sha256 = step_of(path), sha256_of(path)
            name = f"{step:09d}-{sha256[:16]}"
            store.upload(f"{prefix}{name}.safetensors", path, sha256)
            marker = path.with_suffix(".json")
            marker.write_text(json.dumps({"step": step, "sha256": sha256, "records": records}), encoding="utf-8")
            store.upload(f"{prefix}{name}.json", marker, sha256_of(marker))
            self._kept.remove([name for name in self._kept.names() if 0 <= _step(name) < step])
        except (AsdfdError, OSError) as error:
            say(f"a checkpoint could not be stored, and the training goes on: {error}")

    def _complete(self) -> set[str]:
        """Names of the complete ones."""
        return {name.removesuffix(".json") for name in self._kept.names() if name.endswith(".json")}


def _step(name: str) -> int:
    """The step that a name begins with; -1 where it is none of ours."""
    number = name.partition("-")[0]
    return int(number) if number.isdecimal() else -1
