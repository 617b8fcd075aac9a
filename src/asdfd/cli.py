"""The command line: verbs only. Each reads its parameters, calls its step and prints what came out.

Nothing heavy is imported before a verb runs, so that `--help` answers at once.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import warnings
from collections.abc import Sequence

from asdfd.arguments import build_parser
from asdfd.errors import AsdfdError, InputError, StoppedError
from asdfd.interruption import Interrupted, StopRequest, stop_requests
from asdfd.process import quiet_libraries, system_error


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


def open_streams() -> None:
    """Give a process that was started without stdout or stderr a place to write to, and let no odd character of a path fail the print of a result."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115, PTH123  # as long as the process lives
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115, PTH123
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
