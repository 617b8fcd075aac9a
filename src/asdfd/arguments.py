"""The options of the command line and what `--help` says about them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from asdfd import __version__
from asdfd.errors import InputError

DESCRIPTION = """\
Compress a fine-tuned text classifier without its training data: pseudo inputs are
synthesized from the teacher alone, and a student of some of its layers learns from them."""

EPILOG = """\
in one go:      asdfd run --teacher hf://organisation/name@revision --out runs/first
step by step:   asdfd fetch --teacher models/my-classifier --out runs/a/teacher
                asdfd synthesize --teacher runs/a/teacher --out runs/a/bank
                asdfd distill --teacher runs/a/teacher --bank runs/a/bank --out runs/a/student
                asdfd evaluate --teacher runs/a/teacher --student runs/a/student --out runs/a/evaluation

Every step verifies what it reads and writes --out whole or not at all. The same command
again returns what is finished, and goes on where it was interrupted.

exit codes:
  0    done
  1    a defect of asdfd: the traceback is shown, please report it
  2    wrong input: a file, a reference, a parameter, an option, no space on the disk
  3    refused by a rule: an unsafe or unsupported teacher
  130  stopped by Ctrl-C: synthesize, distill and run stop at a checkpoint, and the same
       command goes on from it; a second Ctrl-C stops at once
  143  stopped by SIGTERM, likewise"""

PARAMETERS = """\
Parameters: `asdfd params --describe` tells what each one means, and
`asdfd params > params.yaml` writes a file to change and to give to --params."""


class Parser(argparse.ArgumentParser):
    """Reports a wrong command line in one line, as every other wrong input."""

    def error(self, message: str) -> NoReturn:
        """Raise the InputError of a wrong command line."""
        raise InputError(f"{message}; see {self.prog} --help")


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = Parser(prog="asdfd", description=DESCRIPTION, epilog=EPILOG, formatter_class=layout, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"asdfd {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, title="verbs (asdfd VERB --help shows an example of each)")

    def add(name: str, summary: str, example: str) -> argparse.ArgumentParser:
        verb = verbs.add_parser(
            name, help=summary, description=summary, epilog=f"example:\n  {example}\n\n{PARAMETERS}", formatter_class=layout, allow_abbrev=False
        )
        add_common(verb)
        return verb

    verb = add("fetch", "Bring a teacher here, and verify that it is safe, whole and supported.", "asdfd fetch --teacher models/my-classifier --out teacher")
    add_reference(verb)
    add_out(verb, "teacher")
    verb = add("synthesize", "Stage 1: make a bank of pseudo samples from the teacher alone.", "asdfd synthesize --teacher teacher --out bank")
    add_folder(verb, "teacher")
    verb.add_argument("--shard", metavar="N", type=int, help="make shard N, from 0, of the synthesis.shards shards of the bank; `merge` puts them together")
    add_out(verb, "bank or shard")
    verb = add("merge", "Put a bank together from its shards.", "asdfd merge --out bank shard-0 shard-1 shard-2 shard-3")
    verb.add_argument("shards", metavar="SHARD", nargs="+", type=Path, help="folders that `synthesize --shard` wrote, all of one bank")
    add_out(verb, "bank")
    verb = add("distill", "Stage 2: distil the student on the bank.", "asdfd distill --teacher teacher --bank bank --out student --set distillation.steps=2000")
    add_folder(verb, "teacher")
    add_folder(verb, "bank")
    add_out(verb, "student")
    verb = add("evaluate", "Judge the student beside its teacher.", "asdfd evaluate --teacher teacher --student student --data test.csv --out evaluation")
    add_folder(verb, "teacher")
    add_folder(verb, "student")
    add_data(verb)
    add_out(verb, "evaluation")
    verb = add("run", "All steps in turn.", "asdfd run --teacher models/my-classifier --data test.csv --preset quick --out runs/first")
    add_reference(verb)
    add_data(verb)
    add_out(verb, "run: it holds teacher, bank, student and evaluation")
    verb = add("params", "Print the parameters that the other verbs would use, as YAML.", "asdfd params --preset quick --set seed=1 > params.yaml")
    verb.add_argument("--describe", action="store_true", help="print what every parameter means, in place of YAML")
    return parser


def add_common(verb: argparse.ArgumentParser) -> None:
    """The options of every verb."""
    group = verb.add_argument_group("parameters")
    group.add_argument("--preset", metavar="NAME", default="default", help="parameters to start from: default, paper or quick (default: default)")
    group.add_argument("--params", metavar="FILE", type=Path, help="YAML file of parameters; what it names replaces the preset's")
    group.add_argument(
        "--set", metavar="SECTION.NAME=VALUE", action="append", default=[], help="replace one parameter; repeat it for more, for example --set seed=1"
    )
    verb.add_argument("--json", action="store_true", help="print one JSON object on stdout, also on an error")


def add_out(verb: argparse.ArgumentParser, what: str) -> None:
    """The folder that a step makes."""
    verb.add_argument("--out", metavar="DIR", type=Path, required=True, help=f"new folder of the {what}; its parents are made")


def add_folder(verb: argparse.ArgumentParser, kind: str) -> None:
    """The folder of an artifact that a step reads."""
    verb.add_argument(f"--{kind}", metavar="DIR", type=Path, required=True, help=f"folder of the {kind}, as its step wrote it")


def add_reference(verb: argparse.ArgumentParser) -> None:
    """Where the teacher comes from."""
    verb.add_argument("--teacher", metavar="REF", help="folder or hf://organisation/name@revision (default: the parameter teacher.reference)")


def add_data(verb: argparse.ArgumentParser) -> None:
    """The labelled texts of an evaluation."""
    text = "labelled texts: a .csv, .tsv, .jsonl or .parquet file, or hf://organisation/name; without it, agreement on pseudo samples is measured"
    verb.add_argument("--data", metavar="FILE_OR_NAME", help=text)
