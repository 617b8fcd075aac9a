"""The verbs that compress a teacher: one for each step, `export` for what is deployed, `run` for all of them, and `params`."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from asdfd.cli.live import watching, watching_tasks
from asdfd.cli.options import Verbs, add_data, add_folder, add_out, add_reference, add_word_order, read_parameters

if TYPE_CHECKING:
    from asdfd.base.artifacts import Artifact
    from asdfd.base.config import Run
    from asdfd.base.interruption import StopRequest


def add_verbs(verbs: Verbs) -> None:
    """Describe the verbs of this module."""
    verb = verbs.add(fetch, "asdfd fetch --teacher models/my-classifier --out teacher")
    add_reference(verb)
    add_out(verb, "teacher")
    verb = verbs.add(synthesize, "asdfd synthesize --teacher teacher --out bank")
    add_folder(verb, "teacher")
    verb.add_argument(
        "--shard", metavar="N/COUNT", type=shard_of, help="make shard N, from 0, of COUNT shards of the bank, one for each machine; `asdfd merge` joins them"
    )
    add_word_order(verb)
    add_out(verb, "bank or shard")
    verb = verbs.add(merge, "asdfd merge --out bank shard-0 shard-1")
    verb.add_argument("shards", metavar="SHARD", nargs="+", type=Path, help="folders that `asdfd synthesize --shard N/COUNT` wrote, all of one bank")
    add_out(verb, "bank")
    verb = verbs.add(distill, "asdfd distill --teacher teacher --bank bank --out student --set distillation.steps=2000")
    add_folder(verb, "teacher")
    add_folder(verb, "bank")
    add_out(verb, "student")
    verb = verbs.add(evaluate, "asdfd evaluate --teacher teacher --student student --data test.csv --out evaluation")
    add_folder(verb, "teacher")
    add_folder(verb, "student")
    add_data(verb)
    verb.add_argument("--export", metavar="DIR", type=Path, help="folder of an export of the student, measured with it; the gate then looks at the export")
    verb.add_argument("--teacher-int8", metavar="DIR", type=Path, help="folder of the teacher's own export with 8-bit weights, measured with the others")
    add_out(verb, "evaluation")
    _add_export(verbs)
    verb = verbs.add(run, "asdfd run --teacher models/my-classifier --data test.csv --preset quick --out runs/first")
    add_reference(verb)
    add_data(verb)
    add_word_order(verb)
    add_out(verb, "run: it holds teacher, bank, student, export, evaluation, verdict and, where registry.location is a relative folder, the registry")
    verb = verbs.add(params, "asdfd params --preset quick --set seed=1 > params.yaml")
    verb.add_argument("--describe", action="store_true", help="print what every parameter means, in place of YAML")


def fetch(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """Bring a teacher here, and verify that it is safe, whole and supported."""
    from asdfd import steps

    run = read_parameters(arguments)
    with watching(arguments, stop):
        made = steps.fetch(run, arguments.out)
    show(arguments, {"teacher": made})


def synthesize(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """Make a bank of pseudo samples from the teacher alone."""
    from asdfd import steps

    stop.patient = True
    run, shard = read_parameters(arguments), arguments.shard and steps.Shard(*arguments.shard)
    with watching(arguments, stop):
        made = steps.synthesize(run, arguments.teacher, arguments.out, shard, stop)
    show(arguments, {"bank": made})


def shard_of(text: str) -> tuple[int, int]:
    """Number and count of a shard."""
    number, separator, count = text.partition("/")
    if not (separator and number.isdecimal() and count.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} does not say which of how many; write it as 0/4, 1/4, 2/4 and 3/4")
    return int(number), int(count)


def merge(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """Put a bank together from its shards."""
    from asdfd import steps

    del stop
    read_parameters(arguments)  # it needs none, yet a wrong one is refused
    show(arguments, {"bank": steps.merge(arguments.shards, arguments.out)})


def distill(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """Distil the student on the bank."""
    from asdfd import steps

    stop.patient = True
    run = read_parameters(arguments)
    with watching(arguments, stop):
        made = steps.distill(run, arguments.teacher, arguments.bank, arguments.out, stop)
    show(arguments, {"student": made})


def evaluate(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """Compare the student with its teacher."""
    from asdfd import steps

    run, beside = read_parameters(arguments), steps.Beside(arguments.export, arguments.teacher_int8)
    with watching(arguments, stop):
        made = steps.evaluate(run, arguments.teacher, arguments.student, arguments.out, beside=beside)
    show(arguments, {"evaluation": made})


def run(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """Run the whole pipeline on this machine, from a teacher to a registered student.

    Fetch, synthesize, distill, export, evaluate, judge, register; the report is in --out,
    and `asdfd report` opens it. The same command goes on where it was stopped.
    """
    from asdfd.base.errors import RefusedError
    from asdfd.cli import presentation
    from asdfd.kubeflow.local import TASKS, run_locally

    stop.patient = True
    parameters = read_parameters(arguments)
    with watching_tasks(arguments, stop, TASKS) as hear:
        result = run_locally(parameters, arguments.out, stop, hear=hear)
    instead = _teacher_instead(arguments.words, parameters, arguments.out) if result.teacher_is_better else ""
    if not arguments.json:
        presentation.print_result(result.made)
        presentation.print_registered(result.registered, instead)
    if not result.passed:
        raise RefusedError(f"the gate rejects the {result.judged}: {'; '.join(result.reasons)}; `asdfd report {arguments.out}` shows what was measured")
    if arguments.json:
        print(presentation.result_json("run", result.made, arguments.out, result.registered, instead))


def _teacher_instead(words: Sequence[str], run: Run, out: Path) -> str:
    """The command that registers the teacher's own int8 where the run of these words registered a student: the same with another student and folder."""
    from asdfd.kubeflow.local import registry_within

    kept = [word for before, word in zip(["", *words], words, strict=False) if "--out" not in (before, word) and not word.startswith(("--out=", "--json"))]
    changes = {"student.layers": "all", "registry.location": registry_within(run, out).registry.location}
    changes |= {"student.width": "0"} if run.student.width else {}
    changes |= {"export": "int8"} if run.export != "int8" else {}
    settings = [word for name, value in changes.items() for word in ("--set", f"{name}={value}")]
    return shlex.join(["asdfd", *kept, *settings, "--out", f"{out}-teacher"])


def params(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """Print the parameters that the other verbs would use, as YAML."""
    del stop
    from asdfd.base.loading import dump_yaml
    from asdfd.cli import presentation

    run = read_parameters(arguments)
    if arguments.describe and arguments.json:
        print(json.dumps({"parameters": list(presentation.parameter_descriptions(run))}))
    elif arguments.describe:
        presentation.print_descriptions(run)
    elif arguments.json:
        print(json.dumps(run.model_dump(mode="json")))
    else:
        print(dump_yaml(run), end="")


def show(arguments: argparse.Namespace, made: Mapping[str, Artifact]) -> None:
    """Print the artifacts that a verb made, by their role."""
    from asdfd.cli import presentation

    if arguments.json:
        print(presentation.result_json(arguments.verb, made, arguments.out))
    else:
        presentation.print_result(made)


def _add_export(verbs: Verbs) -> None:
    """The verb that makes a student ready to deploy."""
    example = "asdfd export --student runs/a/student --format int8 --out runs/a/int8"
    verb = verbs.add(export, example)
    source = verb.add_mutually_exclusive_group(required=True)
    source.add_argument("--student", metavar="DIR", type=Path, help="folder of the student")
    source.add_argument("--teacher", metavar="DIR", type=Path, help="folder of the teacher: its own int8, which a student is compared with")
    verb.add_argument(
        "--format", metavar="FORMAT", default="", help="onnx or int8, or nothing is written (default: what the parameter export says, or what it falls back to)"
    )
    verb.add_argument("--data", metavar="FILE_OR_NAME", help="labelled texts, as for evaluate: the two are compared on them too, with their accuracy")
    add_out(verb, "export")


def export(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """Write a student as an ONNX model and compare the two, or a teacher with 8-bit weights.

    It runs in onnxruntime without PyTorch and without asdfd.

    onnx   float32; its logits are the student's, up to rounding
    int8   8-bit weights by dynamic quantization, which needs no data: about a quarter of
           the size, mostly faster, nearly always the same answers

    The folder holds model.onnx, the tokenizer, config.json with the label names, README.md
    with ten lines that run it, and export.json: the size, and how far logits, probabilities and
    answers of student and export differ on pseudo samples (and on --data).
    With --format, refused with exit code 3, and nothing written: float32 logits that are not the
    student's, or int8 answers that break gate.minimum_parity, gate.largest_parity_difference or
    gate.largest_export_drop. Without it, int8 falls back to onnx then, and onnx to none.

    Then let the gate judge what you deploy: `asdfd evaluate --export DIR`
    """
    from asdfd import steps

    run = read_parameters(arguments)
    with watching(arguments, stop):
        if arguments.teacher is not None:
            made = steps.export_teacher(run, arguments.teacher, arguments.out)
        else:
            made = steps.export(run, arguments.student, arguments.out, arguments.format)
    show(arguments, {"export": made})
