"""A real pseudo-terminal, and what its screen shows: pyte reads what a command writes to it, as a terminal would."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import termios
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyte

from tests.patience import PATIENCE


@dataclass
class Terminal:
    """A command in a terminal of its own."""

    columns: int = 100
    rows: int = 30
    environment: dict[str, str] = field(default_factory=dict)
    written: bytes = b""
    """All that the command wrote so far."""
    exit_code: int | None = None

    def start(self, words: Sequence[str], folder: Path) -> None:
        """Start the command; its TERM is xterm-256color where the environment says nothing else."""
        variables = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")}
        variables |= {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **self.environment}
        self._pid, self._end = pty.fork()
        if self._pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", self.rows, self.columns, 0, 0))
            os.chdir(folder)
            os.execvpe(words[0], list(words), variables)
        self._screen = pyte.HistoryScreen(self.columns, self.rows, history=10_000)
        self._stream = pyte.ByteStream(self._screen)

    def read_until(self, wanted: Callable[[list[str]], bool], patience: float = PATIENCE) -> list[str]:
        """Read until the screen is as wanted, or the command has ended; what the screen shows then."""
        end = time.monotonic() + patience
        while self.exit_code is None and not wanted(self.shown()):
            assert time.monotonic() < end, f"the screen never showed it: {self.shown()}"
            if select.select([self._end], [], [], 0.2)[0]:
                self._take()
        return self.shown()

    def read_to_the_end(self) -> list[str]:
        """Read until the command has ended; what the screen shows then."""
        return self.read_until(lambda _: False)

    def press(self, keys: bytes) -> None:
        """Type something."""
        os.write(self._end, keys)

    def shown(self) -> list[str]:
        """The lines of the screen, also those that went out of it at the top, without what is empty at the end."""
        above = ["".join(line[column].data for column in range(self.columns)) for line in self._screen.history.top]
        lines = [line.rstrip() for line in [*above, *self._screen.display]]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def _take(self) -> None:
        try:
            read = os.read(self._end, 65536)
        except OSError:  # the last process that has the terminal has closed it
            read = b""
        if not read:
            self.exit_code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
            os.close(self._end)
            return
        self.written += read
        self._stream.feed(read)
