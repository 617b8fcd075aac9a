"""The verb that makes a student ready to deploy."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from asdfd.commands.compression import show
from asdfd.commands.options import Verbs, add_folder, add_out, read_parameters

if TYPE_CHECKING:
    from asdfd.interruption import StopRequest

ABOUT = """\
Write a student as an ONNX model that onnxruntime runs without PyTorch and without asdfd.

onnx        float32; its logits are the student's, up to rounding
onnx-int8   8-bit weights by dynamic quantization, which needs no data: about a quarter of
            the size, mostly faster, nearly always the same answers

The folder holds model.onnx, the tokenizer, config.json with the label names, README.md
with ten lines that run it, and export.json: size and latency of student and export, measured
in turn, and how far their logits and answers differ on pseudo samples (and on --data).
Refused with exit code 3, and nothing written: float32 logits that are not the student's, or
int8 answers that agree with the student's on less than gate.minimum_agreement.

Then let the gate judge what you deploy: asdfd evaluate --export DIR"""


def add_verbs(verbs: Verbs) -> None:
    """Describe the verbs of this module."""
    example = "asdfd export --student runs/a/student --format onnx-int8 --out runs/a/onnx-int8"
    verb = verbs.add("export", "Write a student as an ONNX model, and compare the two.", example, export)
    verb.description = ABOUT
    add_folder(verb, "student")
    verb.add_argument("--format", metavar="FORMAT", required=True, help="onnx or onnx-int8")
    verb.add_argument("--data", metavar="FILE_OR_NAME", help="labelled texts, as for evaluate: the two are compared on them too, with their accuracy")
    add_out(verb, "export")


def export(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """The verb `export`."""
    from asdfd import steps

    del stop
    show(arguments, {"export": steps.export(read_parameters(arguments), arguments.student, arguments.out, arguments.format)})
