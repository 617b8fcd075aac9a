"""The verb that writes the pipeline for Kubeflow."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from asdfd.commands.options import Verbs
from asdfd.interruption import StopRequest

PIPELINE = Path("pipelines/compress.yaml")
MANIFEST = Path("pipelines/compress.kubernetes.yaml")


def add_verbs(verbs: Verbs) -> None:
    """Describe the verbs of this module."""
    verb = verbs.add(
        "compile",
        "Write the pipeline as a file for Kubeflow.",
        "asdfd compile --image registry.example.com/asdfd:0.1.0 --out compress.yaml",
        compile_pipeline,
        parameters=False,
    )
    verb.add_argument("--image", metavar="REF", default="", help="image of all tasks, by a tag that never moves or by its digest (default: asdfd:VERSION)")
    verb.add_argument("--kubernetes-manifest", action="store_true", help="write Pipeline and PipelineVersion objects, for clusters that keep pipelines so")
    verb.add_argument("--out", metavar="FILE", type=Path, help=f"file to write (default: {PIPELINE}, or {MANIFEST} with --kubernetes-manifest)")


def compile_pipeline(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """The verb `compile`."""
    from asdfd import kubeflow

    del stop
    out = arguments.out or (MANIFEST if arguments.kubernetes_manifest else PIPELINE)
    written = kubeflow.compile_pipeline(out, arguments.image, kubernetes_manifest=arguments.kubernetes_manifest)
    print(json.dumps({"step": "compile", "path": str(written)}) if arguments.json else written)
