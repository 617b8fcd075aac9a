"""What the tests on a cluster share: our settings in it, a teacher and labelled texts in its object store, and one run that went well."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.kubeflow import NAMESPACE, REPOSITORY, Answer, Cluster, kubectl, missing

EXAMPLE = REPOSITORY / "examples" / "support-desk"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster that the environment names, set up with the documented commands. What is put into it stays, but for the bucket."""
    if unknown := missing():
        pytest.fail(f"these tests need a Kubeflow, and its settings: {', '.join(unknown)}; docs/cluster-tests.md says how one is made on a laptop")
    folder = tmp_path_factory.mktemp("cluster")
    kubectl("apply", "-k", str(REPOSITORY / "k8s" / "overlays" / "local"))
    kubectl("apply", "-f", str(REPOSITORY / "k8s" / "monitoring" / "pushgateway.yaml"))
    literals = [f"--from-literal={name}={os.environ[name]}" for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]
    secret = kubectl("create", "secret", "generic", "asdfd-credentials", *literals, "--dry-run=client", "-o", "yaml")
    kubectl("apply", "-f", "-", given=secret)
    kubectl("rollout", "status", "deployment/pushgateway", "--timeout=10m")
    pipeline = folder / "compress.yaml"
    found = Cluster(pipeline, f"asdfd-test-{uuid.uuid4().hex[:12]}", folder)
    found.asdfd("compile", "--image", os.environ["ASDFD_CLUSTER_IMAGE"], "--out", str(pipeline))
    with bucket(found.bucket, teacher(folder)):
        yield found


def teacher(folder: Path) -> Path:
    """The example's teacher, trained here in half a minute."""
    made = folder / "teacher"
    subprocess.run([sys.executable, EXAMPLE / "train_teacher.py", "--out", made], check=True, capture_output=True)
    return made


class bucket:  # noqa: N801  # a context manager that is used once
    """A bucket of the cluster's object store with the teacher and the labelled texts, removed at the end."""

    def __init__(self, name: str, teacher: Path) -> None:
        from asdfd.storage.s3_connection import connect, read_settings

        self._client, self._name, self._teacher = connect(read_settings()).client, name, teacher

    def __enter__(self) -> None:
        self._client.make_bucket(self._name)
        for path in sorted(self._teacher.iterdir()):
            self._client.fput_object(self._name, f"teachers/desk/{path.name}", str(path))
        self._client.fput_object(self._name, "data/test.csv", str(EXAMPLE / "test.csv"))

    def __exit__(self, *_: object) -> None:
        for found in self._client.list_objects(self._name, recursive=True):
            self._client.remove_object(self._name, str(found.object_name))
        self._client.remove_bucket(self._name)


@pytest.fixture(scope="session")
def registered(cluster: Cluster) -> Answer:
    """A run that went through: everything in it was done for the first time."""
    assert NAMESPACE in kubectl("get", "namespace", NAMESPACE, "-o", "name")
    return cluster.run()
