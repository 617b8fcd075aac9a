"""What can go wrong for a user, and the exit code that a script sees.

Every error carries one line that says what is wrong, where, and what to do. Anything else that is raised is a defect of ours and keeps its traceback.
"""

from __future__ import annotations


class AsdfdError(Exception):
    """An error that a user can act on; `exit_code` is what the command returns."""

    exit_code = 1


class InputError(AsdfdError):
    """Wrong input: a file, a reference, a parameter. Exit code 2."""

    exit_code = 2


class RefusedError(AsdfdError):
    """A rule says no: an unsupported or unsafe teacher, a gate that rejects. Exit code 3."""

    exit_code = 3


class StoppedError(AsdfdError):
    """Stopped by SIGTERM after a clean checkpoint; the same command goes on from there. Exit code 143."""

    exit_code = 143
