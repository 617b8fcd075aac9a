"""What can go wrong for a user, and the exit code that a script sees.

Every error carries one line that says what is wrong, where, and what to do. Anything else that is raised is a defect of ours and keeps its traceback.
"""

from __future__ import annotations

import re
import traceback

CREDENTIALS = re.compile(r"(?<=(?<!\bhf)://)(?:[^\s/:@]*:\S*@|[^\s/@]+@)")
"""A user's name and password in an address. What comes after the @ of a reference such as hf://organisation/name@revision is none."""


def without_passwords(text: str) -> str:
    """The text with *** in place of the user's name and password of every address in it."""
    return CREDENTIALS.sub("***@", text)


class AsdfdError(Exception):
    """An error that a user can act on; `exit_code` is what the command returns."""

    exit_code = 1

    def __str__(self) -> str:
        """Its line, in which no address holds a password: whoever shows it or writes it down need not think of that."""
        return without_passwords(super().__str__())


class InputError(AsdfdError):
    """Wrong input: a file, a reference, a parameter. Exit code 2."""

    exit_code = 2


class RefusedError(AsdfdError):
    """A rule says no: an unsupported or unsafe teacher, a gate that rejects. Exit code 3."""

    exit_code = 3


class StoppedError(AsdfdError):
    """Stopped by SIGTERM after a clean checkpoint; the same command goes on from there. Exit code 143."""

    exit_code = 143


class RemoteTraceback(Exception):  # noqa: N818  # shown, never raised
    """What another process showed of a defect, as the cause of the error that stands for it here."""


def traceback_of(error: BaseException) -> str:
    """What a person is shown of a defect, once: the traceback of the process that it happened in."""
    return str(error.__cause__) if isinstance(error.__cause__, RemoteTraceback) else "".join(traceback.format_exception(error))
