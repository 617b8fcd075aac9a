"""The process that serves: the socket, the event loop, the thread that watches the stage, and a stop that answers what was asked before it."""

from __future__ import annotations

import contextlib
import gc
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import uvicorn

from asdfd.base.errors import InputError
from asdfd.base.interruption import StopRequest
from asdfd.registry.records import parse_reference
from asdfd.serving.application import Service
from asdfd.serving.batching import Batches
from asdfd.serving.instruments import Instruments
from asdfd.serving.protocol import Limits
from asdfd.serving.stage import Stage
from asdfd.storage.objects import ObjectStore

GRACE = 25
"""Seconds that requests have to end after a stop was asked for: fewer than Kubernetes' 30."""
IDLE = 620
"""Seconds that a connection may be idle. Load balancers keep theirs open for up to 600 (Google's; 60 is usual) and use them again: who closes first makes the
other one send into a connection that is gone, and a request fail."""


@dataclass(frozen=True)
class Settings:
    """How a version is served."""

    host: str
    port: int
    """0 takes a free one."""
    threads: int
    """Batches that are computed side by side."""
    every: float
    """Seconds between two looks at the alias."""
    unsure_below: float
    """Probability of a label below which it counts as one of low confidence."""
    limits: Limits


def serve(store: ObjectStore, reference: str, *, signed: bool, settings: Settings, stop: StopRequest, ready: Callable[[Stage, int], None]) -> None:
    """Serve NAME@STAGE or NAME@VERSION until a stop is asked for; `ready` is told once, with the port, before the first answer.

    Raises:
        InputError: there is no such version, it cannot be loaded, or the address is taken.
        RefusedError: the version's signature is missing or wrong.
    """
    instruments = Instruments(*parse_reference(reference), unsure_below=settings.unsure_below)
    stage = Stage(store, reference, signed=signed, every=settings.every, instruments=instruments)
    batches = Batches(settings.threads, instruments.batch)
    application = Service(stage, batches, instruments, settings.limits).application()
    quiet = {"access_log": False, "log_config": None, "server_header": False}
    config = uvicorn.Config(application, lifespan="off", timeout_graceful_shutdown=GRACE, timeout_keep_alive=IDLE, **quiet)
    gc.freeze()  # what is loaded by now stays; the collector need not look at it with every request
    with _listening(settings.host, settings.port) as listener, _watched(stage):
        server = _Server(config)
        stop.patient = True  # the first signal ends it in peace, a second one at once
        stop.listeners.append(server.stop)
        ready(stage, listener.getsockname()[1])
        server.run([listener])
    batches.close()


class _Server(uvicorn.Server):
    """uvicorn, which leaves signals to whoever has them already."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing: `stop` is called for them."""
        yield

    def stop(self) -> None:
        """Take no more connections, answer what was asked, and end."""
        self.should_exit = True


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens.

    Raises:
        InputError: the address is taken or is none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise InputError(f"--host {host} --port {port}: nothing can listen there ({error.strerror}); name another") from None
    with listener:
        yield listener


@contextlib.contextmanager
def _watched(stage: Stage) -> Iterator[None]:
    """A thread that watches the stage in this block; it is not waited for, since it may be waiting for the store."""
    stopped = threading.Event()
    if stage.moves:
        threading.Thread(target=stage.watch, args=(stopped,), name="watch", daemon=True).start()
    try:
        yield
    finally:
        stopped.set()
