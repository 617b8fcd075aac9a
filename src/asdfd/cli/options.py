"""Options that several verbs share, and how a verb is added to the command line.

A module of this package holds the verbs of one topic: `add_verbs` describes them to argparse, and sets for each verb the function that does it. All of them are
imported whenever the command line is read, so nothing heavy is imported at their top.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import textwrap
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from asdfd.base.errors import InputError, RefusedError
from asdfd.base.interruption import StopRequest

if TYPE_CHECKING:
    from asdfd.base.config import Run
    from asdfd.storage.objects import ObjectStore

Perform = Callable[[argparse.Namespace, StopRequest], None]
"""What does a verb: it prints the result on stdout and raises an AsdfdError where there is none."""

OPTIONS_OF_PARAMETERS = (
    ("reference", "--teacher", "teacher", "reference"),
    ("data", "--data", "evaluation", "data"),
    ("prior_text", "--prior-text", "synthesis", "prior_text"),
    ("prior_model", "--prior-model", "synthesis", "prior_model"),
    ("registry", "--registry", "registry", "location"),
)
"""Options that are parameters of a run: the attribute of the parsed command line, the option, the parameter's section and its name."""

PARAMETERS = """\
Parameters: `asdfd params --describe` tells what each one means, and
`asdfd params > params.yaml` writes a file to change and to give to --params."""


class Parser(argparse.ArgumentParser):
    """Reports a wrong command line in one line, as every other wrong input."""

    def error(self, message: str) -> NoReturn:
        """Raise the InputError of a wrong command line."""
        if wrong := re.fullmatch(r"argument VERB: invalid choice: '(.*)' \(choose from (.*)\)", message):
            close = get_close_matches(wrong[1], re.findall(r"[\w-]+", wrong[2]), 1)
            message = f"{wrong[1]!r} is not a verb, {f'did you mean {close[0]}?' if close else f'choose from {wrong[2]}'}"
        raise InputError(f"{message}; see {self.prog} --help")


class Help(argparse.RawDescriptionHelpFormatter):
    """Lists verbs by their topic, all of them in one column."""

    def _format_action(self, action: argparse.Action) -> str:
        if not isinstance(action, argparse._SubParsersAction):
            return super()._format_action(action)
        lines, topic = list[str](), ""
        for verb in action._choices_actions:
            heading = getattr(verb, "topic", "")
            if heading != topic:
                lines += ["", f"  {heading}:"]
                topic = heading
            width = max(40, self._width)
            lines += textwrap.wrap(verb.help or "", width, initial_indent=f"    {verb.dest:<12}", subsequent_indent=" " * 16)
        return "\n".join([*lines, ""])


class Verbs:
    """The verbs of a parser; those that are added after `topic_title` was set belong to that topic."""

    def __init__(self, parser: argparse.ArgumentParser, title: str) -> None:
        self._parsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True, title=title)
        self.topic_title = ""

    def add(self, perform: Perform, example: str, *, parameters: bool = True) -> argparse.ArgumentParser:
        """Add the verb that `perform` does, which is called as it is (without the `_` of `list_`) and described by its docstring, whose first line is the
        summary; with `parameters` it takes --preset, --params and --set."""
        layout = argparse.RawDescriptionHelpFormatter
        epilog = f"example:\n  {example}" + (f"\n\n{PARAMETERS}" if parameters else "")
        name, description = perform.__name__.rstrip("_"), inspect.getdoc(perform) or ""
        summary = description.partition("\n")[0]
        verb = self._parsers.add_parser(name, help=summary, description=description, epilog=epilog, formatter_class=layout, allow_abbrev=False)
        self._file_under_topic()
        verb.set_defaults(perform=perform)
        if parameters:
            add_parameters(verb)
        verb.add_argument("--json", action="store_true", help="print one JSON object on stdout, also on an error")
        return verb

    def topic(self, name: str, summary: str) -> Verbs:
        """Add a verb that has verbs of its own, such as `registry list`."""
        parser = self._parsers.add_parser(name, help=summary, description=summary, formatter_class=Help, allow_abbrev=False)
        self._file_under_topic()
        return Verbs(parser, "verbs")

    def _file_under_topic(self) -> None:
        """Note the topic of the verb that was added last, for the help."""
        setattr(self._parsers._choices_actions[-1], "topic", self.topic_title)  # noqa: B010  # argparse knows no topics


def read_parameters(arguments: argparse.Namespace) -> Run:
    """The parameters that the options ask for. An option of its own goes before its parameter, such as --data before evaluation.data.

    Raises:
        InputError: an unknown or a wrong parameter.
    """
    from asdfd.base.loading import load_run, with_settings

    run = load_run(arguments.preset, arguments.params, arguments.set)
    for attribute, option, section, name in OPTIONS_OF_PARAMETERS:
        value = getattr(arguments, attribute, None)
        if value is not None:
            run = with_settings(run, {section: {name: value}}, option)
    return run


def add_parameters(verb: argparse.ArgumentParser) -> None:
    """The options that choose parameters."""
    group = verb.add_argument_group("parameters")
    group.add_argument("--preset", metavar="NAME", default="default", help="parameters to start from: default, guessing, paper or quick (default: default)")
    group.add_argument("--params", metavar="FILE", type=Path, help="YAML file of parameters; what it names replaces the preset's")
    group.add_argument(
        "--set", metavar="SECTION.NAME=VALUE", action="append", default=[], help="replace one parameter; repeat it for more, for example --set seed=1"
    )


def add_out(verb: argparse.ArgumentParser, what: str) -> None:
    """The folder that a step makes."""
    verb.add_argument("--out", metavar="DIR", type=Path, required=True, help=f"new folder of the {what}; its parents are made")


def add_folder(verb: argparse.ArgumentParser, kind: str) -> None:
    """The folder of an artifact that a step reads."""
    verb.add_argument(f"--{kind}", metavar="DIR", type=Path, required=True, help=f"folder of the {kind}, as its step wrote it")


def add_reference(verb: argparse.ArgumentParser) -> None:
    """Where the teacher comes from."""
    text = "folder, hf://organisation/name@revision or s3://bucket/prefix (default: the parameter teacher.reference)"
    verb.add_argument("--teacher", dest="reference", metavar="REF", help=text)


def add_data(verb: argparse.ArgumentParser) -> None:
    """The texts of an evaluation."""
    files = "texts, with labels or without: a .csv, .tsv, .jsonl or .parquet file, here or as s3://bucket/key, or hf://organisation/name[/configuration]"
    verb.add_argument("--data", metavar="FILE_OR_NAME", help=f"{files}; without it, agreement on real texts is predicted")


def add_word_order(verb: argparse.ArgumentParser) -> None:
    """Declared sources of how words follow each other in pseudo samples."""
    group = verb.add_argument_group("declared sources of word order (none by default; report and model card name what was used)")
    text = "unlabelled public text, UTF-8, one text per line (the parameter synthesis.prior_text)"
    group.add_argument("--prior-text", metavar="FILE", help=text)
    model = "public masked language model with the teacher's tokenizer (the parameter synthesis.prior_model)"
    group.add_argument("--prior-model", metavar="FOLDER", help=model)


WHICH = "NAME@VERSION or NAME@STAGE"


def add_registry(verb: argparse.ArgumentParser) -> None:
    """Where the registry is."""
    verb.add_argument("--registry", metavar="LOCATION", help="folder or s3://bucket/prefix (default: the parameter registry.location)")


def opened(run: Run) -> ObjectStore:
    """The registry that the parameters name."""
    from asdfd.storage.objects import open_objects

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
