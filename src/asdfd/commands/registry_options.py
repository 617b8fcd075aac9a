"""Options and answers that the verbs around the registry share."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from asdfd.commands.options import read_parameters
from asdfd.errors import InputError, RefusedError

if TYPE_CHECKING:
    from asdfd.config import Run
    from asdfd.registry.objects import ObjectStore

WHICH = "NAME@VERSION or NAME@STAGE"


def add_registry(verb: argparse.ArgumentParser) -> None:
    """Where the registry is."""
    verb.add_argument("--registry", metavar="LOCATION", help="folder or s3://bucket/prefix (default: the parameter registry.location)")


def run_of(arguments: argparse.Namespace) -> Run:
    """The parameters. --registry goes before registry.location."""
    run = read_parameters(arguments)
    if arguments.registry is not None:
        run = run.model_copy(update={"registry": run.registry.model_copy(update={"location": arguments.registry})})
    return run


def opened(run: Run) -> ObjectStore:
    """The registry that the parameters name."""
    from asdfd.registry.objects import open_objects

    return open_objects(run.registry.location)


def tell(arguments: argparse.Namespace, facts: dict[str, Any], line: str) -> None:
    """Print a line for people, or the facts for machines."""
    print(json.dumps(facts) if arguments.json else line)


def conclude(
    arguments: argparse.Namespace, facts: dict[str, Any], reasons: list[str], line: str = "", error: type[InputError | RefusedError] = RefusedError
) -> None:
    """Print the result, and end with the error's exit code where there are reasons; for machines both are one object."""
    if not reasons:
        if arguments.json or line:
            tell(arguments, facts, line)
        return
    if arguments.json:
        print(json.dumps({**facts, "error": "; ".join(reasons), "exit_code": error.exit_code}), flush=True)
        raise SystemExit(error.exit_code)
    raise error("; ".join(reasons))
