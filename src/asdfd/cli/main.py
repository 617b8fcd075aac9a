"""The command line: verbs only. Each reads its parameters, calls its step and prints what came out.

Nothing heavy is imported before a verb runs, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
import warnings
from collections.abc import Sequence

from asdfd import __version__
from asdfd.base.errors import AsdfdError, InputError, StoppedError, traceback_of, without_passwords
from asdfd.base.interruption import Interrupted, StopRequest, stop_requests
from asdfd.base.process import quiet_libraries, system_error
from asdfd.cli import cluster, completion, compression, manifests, project, promotion, registry, reports, serving
from asdfd.cli.exit_codes import for_help
from asdfd.cli.live import is_live_terminal
from asdfd.cli.options import Help, Parser, Verbs


def execute(words: Sequence[str], stop: StopRequest) -> None:
    """Do what the command line says and print the result."""
    arguments = build_parser().parse_args(words)
    arguments.words = list(words)
    arguments.perform(arguments, stop)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (without the program's name; None takes the process's own) and return its exit code.

    A defect of ours shows its traceback on stderr and ends with 1.
    """
    if completion.is_asked():
        completion.complete(build_parser())
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
                return show_defect(error, as_json)
            return fail(line, InputError.exit_code, as_json)
        finally:
            empty_stdout()


def show_defect(error: Exception, as_json: bool) -> int:
    """Show the traceback of a defect of ours once, wherever it happened; returns the exit code."""
    print(traceback_of(error).rstrip(), file=sys.stderr, flush=True)
    if as_json:
        print(error_json(f"a defect of asdfd: {type(error).__name__}: {error}", 1), flush=True)
    return 1


def fail(message: str, exit_code: int, as_json: bool) -> int:
    """Say on stderr, in one line, what is wrong (and on stdout as JSON, where that was asked for); returns the exit code."""
    line = without_passwords(message).replace("\r", "\\r").replace("\n", "\\n")
    clear = "\r\x1b[K" if is_live_terminal() else ""  # the terminal's own ^C may stand there
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


DESCRIPTION = """\
Compress a fine-tuned text classifier without its training data: pseudo inputs are
synthesized from the teacher alone, and a student of some of its layers learns from them."""


EPILOG = f"""\
in one go:      asdfd run --teacher hf://organisation/name@revision --out runs/first
step by step:   asdfd fetch --teacher models/my-classifier --out runs/a/teacher
                asdfd synthesize --teacher runs/a/teacher --out runs/a/bank
                asdfd distill --teacher runs/a/teacher --bank runs/a/bank --out runs/a/student
                asdfd evaluate --teacher runs/a/teacher --student runs/a/student --out runs/a/evaluation

Every step verifies what it reads and writes --out whole or not at all. The same command
again returns what is finished, and goes on where it was interrupted.

exit codes:
{for_help()}"""


TOPICS = {
    "compress a teacher": (compression, reports),
    "judge, register and serve a student": (promotion, registry, serving),
    "on a cluster": (cluster, manifests),
    "around it": (project, completion),
}
"""The modules of the verbs, by what `--help` says of them."""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = Parser(prog="asdfd", description=DESCRIPTION, epilog=EPILOG, formatter_class=Help, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"asdfd {__version__}")
    verbs = Verbs(parser, "verbs (asdfd VERB --help shows an example of each)")
    for title, modules in TOPICS.items():
        verbs.topic_title = title
        for module in modules:
            module.add_verbs(verbs)
    return parser
