"""The verbs that write files for a cluster: the pipeline, and the alert rules with their dashboard."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from asdfd.base.interruption import StopRequest
from asdfd.cli.options import Verbs

PIPELINE = Path("pipelines/compress.yaml")
MANIFEST = Path("pipelines/compress.kubernetes.yaml")


def add_verbs(verbs: Verbs) -> None:
    """Describe the verbs of this module."""
    verb = verbs.add(compile_, "asdfd compile --image registry.example.com/asdfd:0.1.0 --out compress.yaml", parameters=False)
    verb.add_argument("--image", metavar="REF", default="", help="image of all tasks, by a tag that never moves or by its digest (default: asdfd:VERSION)")
    verb.add_argument("--kubernetes-manifest", action="store_true", help="write Pipeline and PipelineVersion objects, for clusters that keep pipelines so")
    verb.add_argument("--out", metavar="FILE", type=Path, help=f"file to write (default: {PIPELINE}, or {MANIFEST} with --kubernetes-manifest)")
    _add_monitoring(verbs)


def compile_(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """Write the pipeline as a file for Kubeflow."""
    from asdfd.kubeflow import compilation

    del stop
    out = arguments.out or (MANIFEST if arguments.kubernetes_manifest else PIPELINE)
    written = compilation.compile_pipeline(out, arguments.image, kubernetes_manifest=arguments.kubernetes_manifest)
    print(json.dumps({"step": "compile", "path": str(written)}) if arguments.json else written)


def _add_monitoring(verbs: Verbs) -> None:
    """What watches the runs."""
    verb = verbs.add(monitoring, "asdfd monitoring --out k8s/monitoring", parameters=False)
    verb.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder to write prometheusrule.yaml and dashboard.yaml into")


def monitoring(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """Write the alert rules and the dashboard as Kubernetes objects."""
    del stop
    from asdfd.monitoring.manifests import write

    written = [str(path) for path in write(arguments.out)]
    print(json.dumps({"written": written}) if arguments.json else "\n".join(written))
