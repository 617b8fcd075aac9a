"""A distillation on several nodes of a cluster: the objects that Kubeflow Trainer makes its pods of.

The pods run the command `asdfd distill` on one volume, with the parameters that are written beside it. Trainer tells each of them how many there are and where
the first one is (PET_NNODES, PET_NODE_RANK, PET_MASTER_ADDR, PET_MASTER_PORT), and the command starts torchrun with that. The runtime is our own and not the
cluster's torch-distributed: what a job may change of a runtime's pods has been another thing in every release of Trainer, and it never was their grace period.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from asdfd.base.config import Run, dump_yaml
from asdfd.base.errors import InputError

HEADER = """\
# A distillation on several nodes, for Kubeflow Trainer 2. Written by `asdfd trainjob`; docs/training.md says more.
"""
PARAMETERS = "/etc/asdfd"
DATA = "/data"
USER = 10001
"""Numeric user of the image."""
GRACE_SECONDS = 60
"""Seconds that a pod has for the step that it is in and for a checkpoint."""
API = "trainer.kubeflow.org"


@dataclass(frozen=True)
class Placement:
    """Where a distillation runs."""

    name: str
    """Name of the TrainJob and of what belongs to it."""
    namespace: str
    image: str
    nodes: int
    accelerators: int
    """GPUs of each node; 0 trains on processors."""
    claim: str
    """PersistentVolumeClaim that all nodes mount, so one that many nodes may write (ReadWriteMany)."""
    folder: str
    """Folder of that volume that holds `teacher` and `bank`; `student` goes there."""


def trainjob_yaml(run: Run, placement: Placement) -> str:
    """The objects as the text of a manifest.

    Raises:
        InputError: nodes, accelerators or names that cannot be.
    """
    return HEADER + yaml.safe_dump_all(objects(run, placement), sort_keys=False, width=200)


def objects(run: Run, placement: Placement) -> list[dict[str, Any]]:
    """The parameters, leave for the pods to talk to each other, and the job.

    Raises:
        InputError: nodes, accelerators or names that cannot be.
    """
    if not re.fullmatch("[a-z]([-a-z0-9]{0,38}[a-z0-9])?", placement.name):  # the names of the pods and of their service are longer
        raise InputError(f"--name {placement.name}: is no name that Kubernetes takes for a job; use up to 40 of a-z, 0-9 and -, a letter first")
    processes = placement.nodes * (run.distillation.processes or max(1, placement.accelerators))
    if placement.nodes < 1 or placement.accelerators < 0:
        raise InputError(f"trainjob: {placement.nodes} nodes with {placement.accelerators} accelerators each; ask for one node or more, and no negative number")
    if processes > run.distillation.batch_size:
        raise InputError(f"trainjob: {processes} processes cannot share a batch of {run.distillation.batch_size}; raise distillation.batch_size")
    if placement.accelerators and run.distillation.processes > placement.accelerators:
        raise InputError(f"distillation.processes: {run.distillation.processes} processes on {placement.accelerators} accelerators; 0 takes one for each")
    return [_parameters(run, placement), _network(placement), _runtime(placement), _job(placement)]


def _metadata(placement: Placement, name: str, **labels: str) -> dict[str, Any]:
    common = {"app.kubernetes.io/name": "asdfd", "app.kubernetes.io/component": "distill"}
    return {"name": name, "namespace": placement.namespace, "labels": common | labels}


def _parameters(run: Run, placement: Placement) -> dict[str, Any]:
    """The parameters, as the command reads them."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _metadata(placement, f"{placement.name}-params"), "data": {"params.yaml": dump_yaml(run)}}


def _network(placement: Placement) -> dict[str, Any]:
    """The nodes talk to each other, on whatever ports the collectives choose."""
    nodes = {"matchLabels": {"jobset.sigs.k8s.io/jobset-name": placement.name}}
    ports = [{"protocol": "TCP", "port": 1024, "endPort": 65535}]
    spec = {
        "podSelector": nodes,
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": nodes}], "ports": ports}],
        "egress": [{"to": [{"podSelector": nodes}], "ports": ports}],
    }
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": _metadata(placement, f"{placement.name}-nodes"), "spec": spec}


def _runtime(placement: Placement) -> dict[str, Any]:
    """What every node's pod is made of. The names `node` and `trainer` are the ones that Trainer looks for."""
    pod = {"metadata": {"labels": _metadata(placement, "")["labels"]}, "spec": _pod(placement)}
    job = {
        "name": "node",
        "template": {"metadata": {"labels": {f"{API}/trainjob-ancestor-step": "trainer"}}, "spec": {"template": pod}},
    }
    return {
        "apiVersion": f"{API}/v1alpha1",
        "kind": "TrainingRuntime",
        "metadata": _metadata(placement, placement.name, **{f"{API}/framework": "torch"}),
        "spec": {"mlPolicy": {"numNodes": placement.nodes, "torch": {}}, "template": {"spec": {"replicatedJobs": [job]}}},
    }


def _job(placement: Placement) -> dict[str, Any]:
    """The command, once on every node."""
    folder = f"{DATA}/{placement.folder.strip('/')}".rstrip("/")
    paths = [word for name, option in (("teacher", "--teacher"), ("bank", "--bank"), ("student", "--out")) for word in (option, f"{folder}/{name}")]
    trainer = {
        "image": placement.image,
        "command": ["asdfd"],
        "args": ["distill", "--params", f"{PARAMETERS}/params.yaml", *paths],
        "numNodes": placement.nodes,
        "resourcesPerNode": _resources(placement),
    }
    return {
        "apiVersion": f"{API}/v1alpha1",
        "kind": "TrainJob",
        "metadata": _metadata(placement, placement.name),
        "spec": {"runtimeRef": {"apiGroup": API, "kind": "TrainingRuntime", "name": placement.name}, "trainer": trainer},
    }


def _resources(placement: Placement) -> dict[str, Any]:
    """What a node needs."""
    accelerators = {"nvidia.com/gpu": placement.accelerators} if placement.accelerators else {}
    return {"requests": {"cpu": "4", "memory": "16Gi"}, "limits": {"memory": "16Gi", **accelerators}}


def _pod(placement: Placement) -> dict[str, Any]:
    """A node's pod, as the Pod Security Standard `restricted` asks for."""
    volumes = [
        {"name": "data", "persistentVolumeClaim": {"claimName": placement.claim}},
        {"name": "parameters", "configMap": {"name": f"{placement.name}-params"}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "4Gi"}},
        {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}},  # for NCCL, between the processes of a node
    ]
    mounts = [
        {"name": "data", "mountPath": DATA},
        {"name": "parameters", "mountPath": PARAMETERS, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "shared-memory", "mountPath": "/dev/shm"},
    ]
    pushgateway = {"configMapKeyRef": {"name": "asdfd", "key": "PUSHGATEWAY_URL", "optional": True}}
    container = {
        "name": "node",
        "image": placement.image,
        "env": [{"name": "HF_HUB_OFFLINE", "value": "1"}, {"name": "PUSHGATEWAY_URL", "valueFrom": pushgateway}],
        "resources": _resources(placement),
        "volumeMounts": mounts,
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
    }
    owner = {"runAsUser": USER, "runAsGroup": 0, "fsGroup": USER, "fsGroupChangePolicy": "OnRootMismatch"}
    pod = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {"runAsNonRoot": True, **owner, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": volumes,
    }
    if placement.accelerators:
        pod["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    return pod
