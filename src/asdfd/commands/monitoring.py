"""The verb that writes what watches the runs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from asdfd.commands.options import Verbs
from asdfd.interruption import StopRequest


def add_verbs(verbs: Verbs) -> None:
    """Describe the verbs of this module."""
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
