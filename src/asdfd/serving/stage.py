"""Which version answers: the one that NAME@STAGE means, kept up to date, or the one of NAME@VERSION for ever.

The alias of the stage is read every now and then. When it is another one (its etag says so), its version is fetched, verified byte by byte, loaded beside the
one that answers and asked a first time, and only then takes its place. Whatever goes wrong before leaves the old one where it is, and is tried again.
"""

from __future__ import annotations

import random
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from asdfd.base.errors import AsdfdError, InputError
from asdfd.base.telemetry import tell
from asdfd.registry.aliases import read_alias
from asdfd.registry.records import VERSION, Version, parse_reference
from asdfd.registry.versions import pull, resolve
from asdfd.serving.answering import Model, load
from asdfd.serving.instruments import Instruments
from asdfd.storage.objects import ObjectStore

JITTER = 0.2
"""Looks come this share of their pause sooner or later, so that the pods of a deployment do not come to the store together."""
LONGEST_PAUSE = 20
"""Pauses between looks after which a version that does not load is tried again at the latest: each try fetches all of it."""


@dataclass
class _Failure:
    """A version that did not load."""

    etag: str
    """The alias that named it."""
    tries: int
    again: float
    """When it is tried again, on the monotonic clock."""


class Stage:
    """The model that answers."""

    def __init__(self, store: ObjectStore, reference: str, *, signed: bool, every: float, instruments: Instruments) -> None:
        """Load what `reference` means now; `every` is the pause between two looks, in seconds.

        Raises:
            InputError: there is no such version, or it is damaged or cannot be loaded.
            RefusedError: its signature is missing or wrong, or its answers are not finite.
        """
        self.reference, self.every = reference, every
        self._store, self._signed, self._instruments = store, signed, instruments
        self._name, which = parse_reference(reference)
        self._stage = "" if VERSION.fullmatch(which) else which
        self._failure: _Failure | None = None
        self._etag = self._read_etag()
        self.model = self._load(resolve(store, reference, signed=signed))
        instruments.switched(self.model)
        instruments.followed()

    @property
    def name(self) -> str:
        """The model's name in the registry."""
        return self._name

    @property
    def moves(self) -> bool:
        """Whether another version may come to answer."""
        return bool(self._stage)

    def watch(self, stopped: threading.Event) -> None:
        """Look again and again until told to stop; nothing that happens ends it."""
        while not stopped.wait(self.every * random.uniform(1 - JITTER, 1 + JITTER)):
            self.look()

    def look(self) -> None:
        """Read the alias, and change the version where it names another one."""
        try:
            etag = self._read_etag()
        except AsdfdError as error:
            tell(f"{self.reference}: cannot be looked up, version {self.model.version} goes on answering: {error}")
            return
        failure = self._failure if self._failure and self._failure.etag == etag else None
        if failure and time.monotonic() < failure.again:
            return
        try:
            if etag != self._etag:
                self._follow()
        except Exception as error:  # whatever it is, the version that answers is worth more
            tries = failure.tries + 1 if failure else 1
            self._failure = _Failure(etag, tries, time.monotonic() + self.every * min(LONGEST_PAUSE, 2 ** (tries - 1)))
            self._instruments.failed()
            told = str(error) if isinstance(error, AsdfdError) else f"{type(error).__name__}: {error}"
            tell(f"{self.reference}: its version does not load, version {self.model.version} goes on answering: {told}")
            return
        self._etag, self._failure = etag, None
        self._instruments.followed()

    def _follow(self) -> None:
        """Have the version answer that holds the stage now."""
        before, wanted = self.model.version, resolve(self._store, self.reference, signed=self._signed)
        if wanted.version != before:
            self.model = self._load(wanted)
            self._instruments.switched(self.model)
            tell(f"{self.reference}: version {wanted.version} answers in place of {before}")

    def _load(self, version: Version) -> Model:
        """Fetch a version and load it. Its files go at once: what is loaded is in memory, or is mapped and stays until it is let go."""
        with tempfile.TemporaryDirectory(prefix="asdfd-serve-") as folder:
            pull(self._store, version, Path(folder) / "version")
            return load(Path(folder) / "version", version)

    def _read_etag(self) -> str:
        """Etag of the alias; empty where the version never moves.

        Raises:
            InputError: the store cannot be read, or no version holds the stage.
        """
        if not self._stage:
            return ""
        held = read_alias(self._store, self._name, self._stage)
        if held is None:
            raise InputError(f"{self.reference}: no version holds this stage in {self._store.location}; `asdfd registry list` shows what is there")
        self._instruments.looked()
        return held.etag
