"""What every process of ours does around its work, a command as well as a task of the pipeline: quiet libraries, and one line for what the system refuses."""

from __future__ import annotations

import errno
import logging
import os
import re
import sys

REMEDIES = {
    "ENOSPC": "free some space, then run the same command again: what is finished is kept",
    "EDQUOT": "free some of your quota, then run the same command again: what is finished is kept",
    "EACCES": "check the permissions, or name another --out",
    "EPERM": "check the permissions, or name another --out",
    "EROFS": "name another --out",
}
"""What to do about an error of the system, by its name."""


def system_error(error: Exception) -> str | None:
    """The line for a full disk, a missing permission, a full GPU and the like; None where the error is not such a thing.

    Libraries written in Rust raise errors of their own for them, whose text ends in `(os error 28)`.
    """
    if type(error).__name__ == "OutOfMemoryError":  # of torch, which is not imported for this
        return "the GPU's memory is full; lower distillation.batch_size, synthesis.maximum_length or evaluation.batch_size, or use --set device=cpu"
    if isinstance(error, OSError) and error.errno is not None:
        number, place = error.errno, error.filename
    elif found := re.search(r"\(os error (\d+)\)", str(error)):
        number, place = int(found.group(1)), None
    else:
        return None
    remedy = REMEDIES.get(errno.errorcode.get(number, ""), "check it and run the same command again")
    return f"{place or 'the disk'}: {os.strerror(number)}; {remedy}"


def quiet_libraries() -> None:
    """Keep what libraries log and draw off the user's terminal. Read by them when they are imported; a value that the user has set stays."""
    quiet = {
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_VERBOSITY": "error",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "DATASETS_VERBOSITY": "error",
        "TRANSFORMERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",
        "TORCH_CPP_LOG_LEVEL": "ERROR",
    }
    for name, value in quiet.items():
        os.environ.setdefault(name, value)
    logging.basicConfig(level=logging.ERROR, format="%(message)s", stream=sys.stderr)
    logging.getLogger("asdfd").setLevel(logging.WARNING)
