"""The verbs that bring a student to its users: `gate`, `push`, `promote` and `rollback`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from asdfd.base.errors import InputError
from asdfd.base.interruption import StopRequest
from asdfd.cli.live import watching
from asdfd.cli.options import WHICH, Verbs, add_folder, add_out, add_registry, conclude, read_parameters, tell

if TYPE_CHECKING:
    from asdfd.base.config import Run
    from asdfd.steps.promotion import Request


def add_verbs(verbs: Verbs) -> None:
    """Describe the verbs of this module."""
    verb = verbs.add(gate, "asdfd gate --evaluation evaluation --out verdict --set gate.minimum_accuracy=0.9")
    add_folder(verb, "evaluation")
    add_registry(verb)
    add_out(verb, "verdict")
    example = "asdfd push --teacher teacher --student student --evaluation evaluation --verdict verdict --set registry.name=support-desk"
    verb = verbs.add(push, example)
    for kind in ("teacher", "student", "evaluation", "verdict"):
        add_folder(verb, kind)
    verb.add_argument("--export", metavar="DIR", type=Path, help="folder of the export that the student was evaluated with")
    add_registry(verb)
    example = "asdfd promote support-desk@staging --to production --data holdout.csv --reason 'better on refunds'"
    verb = verbs.add(promote, example)
    verb.add_argument("which", metavar="NAME@VERSION", nargs="?", default="", help=f"{WHICH} to promote")
    verb.add_argument("--to", metavar="STAGE", default="", help="stage to move, for example production")
    verb.add_argument(
        "--data", metavar="FILE_OR_NAME", help="fixed texts that decide, labelled or not: .csv, .tsv, .jsonl, .parquet, or hf://organisation/name"
    )
    verb.add_argument("--reason", metavar="TEXT", default="", help="why; the history keeps it")
    verb.add_argument("--teacher", dest="teacher_reference", metavar="REF", default="", help="where to fetch the teacher from (default: where it came from)")
    verb.add_argument("--wanted", metavar="FILE", type=Path, help="models/NAME.yaml that says all of this, in place of it")
    verb.add_argument("--check", action="store_true", help="do all but the move, and write nothing to the registry")
    verb.add_argument("--report", metavar="FILE", type=Path, help="write the verdict as a Markdown table, for a pull request")
    add_registry(verb)
    verb = verbs.add(rollback, "asdfd rollback support-desk --stage production --reason 'wrong on refunds'")
    verb.add_argument("name", metavar="NAME", help="model")
    verb.add_argument("--stage", metavar="STAGE", required=True, help="stage to move back")
    verb.add_argument("--reason", metavar="TEXT", required=True, help="why; the history keeps it")
    add_registry(verb)


def gate(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """Judge an evaluation by the rules of the gate.

    Exit code 3 where the student is rejected.
    """
    from asdfd import steps
    from asdfd.cli.presentation import rendered
    from asdfd.cli.registry_tables import verdict_table

    del stop
    artifact = steps.judge(read_parameters(arguments), arguments.evaluation, arguments.out)
    document = json.loads((artifact.path / "verdict.json").read_text(encoding="utf-8"))
    if not arguments.json:
        print(rendered(verdict_table(document)), end="")
    conclude(arguments, {"step": "gate", "path": str(artifact.path), "kind": "verdict", "digest": artifact.digest, **document}, document["reasons"])


def push(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """Store a student that passed the gate as a version, and move the stage to it."""
    from dataclasses import asdict

    from asdfd import steps

    run, folders = read_parameters(arguments), (arguments.teacher, arguments.student, arguments.evaluation, arguments.verdict)
    with watching(arguments, stop):
        pushed = steps.push(run, *folders, provenance={}, export=arguments.export)
    before = f", which {pushed.previous} held before" if pushed.previous else ""
    tell(arguments, asdict(pushed), f"{pushed.name}@{pushed.version} holds {pushed.stage} in {pushed.location}{before}")


def promote(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """Evaluate a version again on fixed data, judge it, and move a stage to it.

    Exit code 3 where the version is rejected.
    """
    from asdfd.cli.presentation import rendered
    from asdfd.cli.registry_tables import verdict_table
    from asdfd.steps.promotion import Request
    from asdfd.steps.promotion import promote as promote_version

    run = read_parameters(arguments)
    if arguments.wanted is not None:
        if arguments.which or arguments.to or arguments.data or arguments.reason or arguments.teacher_reference:
            raise InputError("--wanted: its file says what, where to, on which data and why; leave the other options out")
        run, request = _wanted(run, arguments)
    elif not (arguments.which and arguments.to and arguments.data and arguments.reason):
        raise InputError("promote: name NAME@VERSION, --to, --data and --reason, or a file that says them with --wanted; see `asdfd promote --help`")
    else:
        request = Request(arguments.which, arguments.to, arguments.reason, arguments.teacher_reference)
    with watching(arguments, stop):
        promotion = promote_version(run, request, check=arguments.check)
    version, document = promotion.version, promotion.verdict.document()
    title = f"`{version.name}@{version.version}` to `{promotion.stage}`"
    if arguments.report is not None:
        arguments.report.write_text(f"### {title}\n\n{promotion.verdict.markdown()}", encoding="utf-8")
    if not arguments.json:
        print(rendered(verdict_table(document)), end="")
    moved = None if promotion.alias is None else {"number": promotion.alias.number, "previous": promotion.alias.previous}
    facts = {"name": version.name, "version": version.version, "stage": promotion.stage, "location": run.registry.location, "move": moved}
    outcome = "would be moved" if arguments.check else f"{version.name}@{version.version} holds {promotion.stage}"
    conclude(arguments, {**facts, **document}, document["reasons"], outcome)


def _wanted(run: Run, arguments: argparse.Namespace) -> tuple[Run, Request]:
    """The run and the request that a file models/NAME.yaml means."""
    from asdfd.base.loading import with_settings
    from asdfd.steps.promotion import Request, read_wanted

    name, wanted = read_wanted(arguments.wanted)
    location = {"registry": {"location": wanted.location}} if wanted.location and arguments.registry is None else {}
    run = with_settings(run, {"evaluation": {"data": wanted.data}, **location}, str(arguments.wanted))
    return run, Request(f"{name}@{wanted.version}", wanted.stage, wanted.reason, wanted.teacher, wanted.evidence)


def rollback(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """Move a stage back to the version before."""
    from asdfd.steps.promotion import roll_back

    del stop
    alias = roll_back(read_parameters(arguments), arguments.name, arguments.stage, arguments.reason)
    facts = {"name": alias.name, "version": alias.version, "stage": alias.stage, "previous": alias.previous, "number": alias.number}
    tell(arguments, facts, f"{alias.name}@{alias.version} holds {alias.stage} again, in place of {alias.previous}")
