"""Processes of a distillation that a forked server starts in a moment, as torchrun would start them: two or three of them, over gloo, on 127.0.0.1."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cli.processes import CONTEXT
from tests.patience import PATIENCE


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def be_rank(rank: int, count: int, port: int, perform: Callable[..., None], *words: Any) -> None:
    """Be one of the processes: the environment that torchrun makes, and then `perform`."""
    where = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test"}
    os.environ.update({name: str(value) for name, value in where.items()})
    perform(*words)


@contextmanager
def started_ranks(count: int, perform: Callable[..., None], *words: Any) -> Iterator[list[Any]]:
    """The processes; they are killed at the end if they still run."""
    port = free_port()
    processes = [CONTEXT.Process(target=be_rank, args=(rank, count, port, perform, *words), daemon=True) for rank in range(count)]
    for process in processes:
        process.start()
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.join()


def together(count: int, perform: Callable[..., None], *words: Any) -> list[int | None]:
    """Exit codes of so many processes that do the same."""
    with started_ranks(count, perform, *words) as processes:
        for process in processes:
            process.join(PATIENCE)
        return [process.exitcode for process in processes]


def command(words: list[str]) -> None:
    """Be the command line."""
    from asdfd.cli.main import main

    sys.exit(main(words))


def children(process: int) -> set[int]:
    """Processes that a process started and that those started."""
    found: set[int] = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            continue
        if fields[0] != "Z" and int(fields[1]) == process:
            found |= {int(path.parent.name)} | children(int(path.parent.name))
    return found
