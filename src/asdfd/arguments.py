"""The whole command line as argparse sees it, and what `asdfd --help` says."""

from __future__ import annotations

import argparse

from asdfd import __version__
from asdfd.commands import cluster, compression, exporting, kubeflow, monitoring, promotion, registry, training
from asdfd.commands.options import Parser, Verbs

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
  3    refused by a rule: an unsafe or unsupported teacher, a student that the gate rejects
  4    schedule diff: the server's schedules are not the declared ones
  130  stopped by Ctrl-C: synthesize, distill and run stop at a checkpoint, and the same
       command goes on from it; a second Ctrl-C stops at once
  143  stopped by SIGTERM, likewise"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = Parser(prog="asdfd", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"asdfd {__version__}")
    verbs = Verbs(parser, "verbs (asdfd VERB --help shows an example of each)")
    compression.add_verbs(verbs)
    exporting.add_verbs(verbs)
    kubeflow.add_verbs(verbs)
    monitoring.add_verbs(verbs)
    promotion.add_verbs(verbs)
    registry.add_verbs(verbs)
    cluster.add_verbs(verbs)
    training.add_verbs(verbs)
    return parser
