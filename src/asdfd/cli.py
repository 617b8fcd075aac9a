"""The command line: verbs only. Each reads its parameters, calls its step and prints what came out.

Nothing heavy is imported before a verb runs, so that `--help` answers at once.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Sequence

from asdfd.arguments import build_parser
from asdfd.errors import AsdfdError, InputError, StoppedError
from asdfd.interruption import Interrupted, StopRequest, stop_requests

REMEDIES = {
    "ENOSPC": "free some space, then run the same command again: what is finished is kept",
    "EDQUOT": "free some of your quota, then run the same command again: what is finished is kept",
    "EACCES": "check the permissions, or name another --out",
    "EPERM": "check the permissions, or name another --out",
    "EROFS": "name another --out",
}
"""What to do about an error of the system, by its name."""


def execute(words: Sequence[str], stop: StopRequest) -> None:
    """Do what the command line says and print the result."""
    arguments = build_parser().parse_args(words)
    arguments.perform(arguments, stop)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (without the program's name; None takes the process's own) and return its exit code.

    Raises:
        Exception: a defect of ours; Python shows its traceback and exits with 1.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    as_json = "--json" in words
    open_streams()
    quiet_libraries()
    with warnings.catch_warnings(), stop_requests() as stop:
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
        try:
            execute(words, stop)
            sys.stdout.flush()
            return 0
        except SystemExit as leaving:  # argparse, after --help or --version
            return int(leaving.code or 0)
        except BrokenPipeError:  # the reader has seen enough, as in `asdfd params | head -1`
            return 141
        except StoppedError as error:
            return fail(str(error), stop.exit_code, as_json)
        except AsdfdError as error:
            return fail(str(error), error.exit_code, as_json)
        except Interrupted:
            return fail("stopped at once; run the same command again, it goes on from the last checkpoint where there is one", stop.exit_code, as_json)
        except Exception as error:
            line = system_error(error)
            if line is None:
                if as_json:
                    print(error_json(f"a defect of asdfd: {type(error).__name__}: {error}", 1), flush=True)
                raise
            return fail(line, InputError.exit_code, as_json)
        finally:
            empty_stdout()


def fail(message: str, exit_code: int, as_json: bool) -> int:
    """Say on stderr, in one line, what is wrong (and on stdout as JSON, where that was asked for); returns the exit code."""
    line = message.replace("\r", "\\r").replace("\n", "\\n")
    clear = "\r\x1b[K" if sys.stderr.isatty() else ""  # a moving progress line may stand there
    print(f"{clear}asdfd: {line}", file=sys.stderr, flush=True)
    if as_json:
        with contextlib.suppress(OSError):  # stdout may be what is full
            print(error_json(line, exit_code), flush=True)
    return exit_code


def empty_stdout() -> None:
    """Write what is left in stdout's buffer, or drop it where that fails: Python would fail on it again when it exits."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def error_json(message: str, exit_code: int) -> str:
    """An error for machines."""
    return json.dumps({"error": message, "exit_code": exit_code})


def system_error(error: Exception) -> str | None:
    """The line for a full disk, a missing permission, a full GPU and the like; None where the error is no such thing.

    Libraries written in Rust raise errors of their own for them, whose text ends in `(os error 28)`.
    """
    if type(error).__name__ == "OutOfMemoryError":  # of torch, which is not imported for this
        return "the GPU's memory is full; lower distillation.batch_size, synthesis.maximum_length or evaluation.batch_size, or take --set device=cpu"
    if isinstance(error, OSError) and error.errno is not None:
        number, place = error.errno, error.filename
    elif found := re.search(r"\(os error (\d+)\)", str(error)):
        number, place = int(found.group(1)), None
    else:
        return None
    remedy = REMEDIES.get(errno.errorcode.get(number, ""), "check it and run the same command again")
    return f"{place or 'the disk'}: {os.strerror(number)}; {remedy}"


def open_streams() -> None:
    """Give a process that was started without stdout or stderr a place to write to, and let no odd character of a path fail the print of a result."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115, PTH123  # as long as the process lives
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115, PTH123
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


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


if __name__ == "__main__":
    sys.exit(main())
