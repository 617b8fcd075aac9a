"""What the command line's exit codes mean: `--help` and the documentation show this table."""

from __future__ import annotations

import textwrap

EXIT_CODES = (
    ("0", "done"),
    (
        "1",
        "a defect of asdfd: the traceback is shown, please report it; or, in one line, a task of run was ended from outside (out of memory, killed), or a run "
        "in a cluster failed for want of something, was terminated, or goes on (submit --wait)",
    ),
    ("2", "wrong input: a file, a reference, a parameter, an option, no space on the disk"),
    ("3", "refused by a rule: an unsafe or unsupported teacher, a student that the gate rejects"),
    ("4", "schedule diff: the server's schedules are not the declared ones"),
    (
        "130",
        "stopped by Ctrl-C: synthesize, distill and run stop at a checkpoint, and the same command goes on from it; a second Ctrl-C stops at once",
    ),
    ("141", "the reader of stdout has gone, as in asdfd params | head -1"),
    ("143", "stopped by SIGTERM, as by Ctrl-C"),
)
"""Code and meaning."""


def for_help() -> str:
    """The table as `--help` shows it: at most 95 columns."""
    return "\n".join(textwrap.fill(meaning, 95, initial_indent=f"  {code:<5}", subsequent_indent=" " * 7) for code, meaning in EXIT_CODES)
