"""The verbs that write files for a cluster: the pipeline, the TrainJob, and the alert rules with their dashboard."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from asdfd.base.interruption import StopRequest
from asdfd.cli.options import Verbs, read_parameters

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
    _add_monitoring(verbs)
    _add_trainjob(verbs)


def compile_pipeline(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """The verb `compile`."""
    from asdfd.kubeflow import compilation

    del stop
    out = arguments.out or (MANIFEST if arguments.kubernetes_manifest else PIPELINE)
    written = compilation.compile_pipeline(out, arguments.image, kubernetes_manifest=arguments.kubernetes_manifest)
    print(json.dumps({"step": "compile", "path": str(written)}) if arguments.json else written)


def _add_trainjob(verbs: Verbs) -> None:
    """A distillation on several nodes."""
    verb = verbs.add(
        "trainjob",
        "Print the Kubernetes objects of a distillation on several nodes, for Kubeflow Trainer.",
        "asdfd trainjob --nodes 2 --accelerators 4 --params params.yaml > k8s/trainjob.yaml",
        trainjob,
    )
    verb.add_argument("--name", default="asdfd-distill", help="name of the TrainJob (default: asdfd-distill)")
    verb.add_argument("--namespace", default="asdfd", help="namespace of all objects (default: asdfd)")
    verb.add_argument("--image", help="image of the nodes (default: the pipeline's)")
    verb.add_argument("--nodes", metavar="N", type=int, default=2, help="nodes (default: 2)")
    verb.add_argument("--accelerators", metavar="N", type=int, default=1, help="GPUs of each node; 0 trains on processors (default: 1)")
    verb.add_argument("--claim", default="asdfd-runs", help="PersistentVolumeClaim that all nodes mount, ReadWriteMany (default: asdfd-runs)")
    verb.add_argument("--folder", default="run", help="folder of that volume with `teacher` and `bank`; `student` goes there (default: run)")


def trainjob(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """The verb `trainjob`."""
    del stop
    from asdfd.components import IMAGE
    from asdfd.kubeflow.trainjob import Placement, objects, trainjob_yaml

    run = read_parameters(arguments)
    placement = Placement(
        name=arguments.name,
        namespace=arguments.namespace,
        image=arguments.image or IMAGE,
        nodes=arguments.nodes,
        accelerators=arguments.accelerators,
        claim=arguments.claim,
        folder=arguments.folder,
    )
    print(json.dumps({"objects": objects(run, placement)}) if arguments.json else trainjob_yaml(run, placement), end="" if not arguments.json else "\n")


def _add_monitoring(verbs: Verbs) -> None:
    """What watches the runs."""
    verb = verbs.add(
        "monitoring",
        "Write the alert rules and the dashboard as Kubernetes objects.",
        "asdfd monitoring --out k8s/monitoring",
        monitoring,
        parameters=False,
    )
    verb.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder to write prometheusrule.yaml and dashboard.yaml into")


def monitoring(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """The verb `monitoring`."""
    del stop
    from asdfd.monitoring.manifests import write

    written = [str(path) for path in write(arguments.out)]
    print(json.dumps({"written": written}) if arguments.json else "\n".join(written))
