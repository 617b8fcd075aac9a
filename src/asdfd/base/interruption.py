"""SIGTERM and Ctrl-C as a request to stop: a step that can go on later reads it between two pieces of work, anything else stops at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)
NOTE = b"asdfd: stopping at the next checkpoint; press Ctrl-C again to stop at once\n"


class Interrupted(BaseException):
    """Stopped by a signal at once. No Exception, so that no library takes it for an error of its own."""


class StopRequest:
    """What the signals asked for so far; calling it answers whether to stop, which is the `should_stop` of a step."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        """The first signal that came."""
        self.patient = False
        """Whether the first signal waits for the running step to ask; the second one never does."""
        self.listeners: list[Callable[[], None]] = []
        """Called at every signal, in its handler."""
        self.announce: Callable[[], None] = write_note
        """Says after Ctrl-C that the step will stop, in the signal's handler."""

    def __call__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """Exit code of a command that the signal stopped: 143 for SIGTERM, 130 for Ctrl-C."""
        return 128 + (self.signal or signal.SIGTERM)

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        del frame
        again = self.signal is not None
        self.signal = self.signal or signal.Signals(number)
        for listener in self.listeners:
            listener()
        if again or not self.patient:
            raise Interrupted
        if number == signal.SIGINT:
            self.announce()


def write_note() -> None:
    """Say on stderr that the step will stop. Not by `print`: the signal may have come in the middle of one."""
    os.write(2, NOTE)


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Catch SIGTERM and SIGINT in this block."""
    request = StopRequest()
    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # what the caller had us ignore, as nohup does, stays ignored
    before = {number: signal.signal(number, request.on_signal) for number in heard}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


ShouldStop = Callable[[], bool]


def never() -> bool:
    """The answer of a run that nobody can stop."""
    return False
