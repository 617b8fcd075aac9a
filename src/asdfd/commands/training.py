"""The verb that writes the manifest of a distillation on several nodes."""

from __future__ import annotations

import argparse
import json

from asdfd.commands.options import Verbs, read_parameters
from asdfd.interruption import StopRequest


def add_verbs(verbs: Verbs) -> None:
    """Describe the verbs of this module."""
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
    from asdfd.trainjob import Placement, objects, trainjob_yaml

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
