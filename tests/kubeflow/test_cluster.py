"""What is said of a cluster before a run is sent to it: nodes, quotas and the settings of tasks, each with the line that a person can act on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asdfd.base.errors import InputError
from asdfd.base.form import Form, read_form
from asdfd.kubeflow import cluster
from tests.servers.kubernetes_api import Cluster, running

NAMESPACE = "/api/v1/namespaces/asdfd"


def node(
    name: str, cpu: str = "2", memory: str = "8Gi", taints: tuple[tuple[str, str], ...] = (), labels: dict[str, str] | None = None, **room: str
) -> dict[str, Any]:
    """A node as Kubernetes' API gives it."""
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"taints": [{"key": key, "effect": effect} for key, effect in taints]},
        "status": {"allocatable": {"cpu": cpu, "memory": memory, **{f"nvidia.com/{key}": value for key, value in room.items()}}},
    }


def named(name: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, **more}


def form(**values: Any) -> Form:
    return read_form({"teacher": "s3://a/b", "registry": "s3://a/c", **values}, "form")


@pytest.fixture
def kubernetes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster with one small node and what k8s/base puts into a namespace."""
    with running() as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path)))
        server.put("/api/v1/nodes", node("small"))
        server.put(f"{NAMESPACE}/resourcequotas")
        server.put(f"{NAMESPACE}/limitranges")
        server.put(
            f"{NAMESPACE}/configmaps", named("asdfd", data={"S3_ENDPOINT": "http://seaweedfs.kubeflow:9000", "PUSHGATEWAY_URL": "http://pushgateway:9091"})
        )
        server.put(f"{NAMESPACE}/secrets", named("asdfd-credentials", data={}))
        server.put(f"{NAMESPACE}/services", named("pushgateway", spec={}))
        server.put("/api/v1/namespaces/kubeflow/services", named("seaweedfs", spec={}), named("ml-pipeline", spec={}))
        server.put("/api/v1/namespaces/example/services")
        yield server


@pytest.mark.parametrize(
    ("values", "nodes", "line"),
    [
        ({"cpu": "4"}, [node("small")], "asks for cpu 4, memory 3 GiB: the most that one has is cpu 2, memory 8 GiB; ask for less, such as --cluster cpu=250m"),
        ({"memory": "16Gi"}, [node("a", memory="8048Mi"), node("b", memory="4Gi")], "the most that one has is cpu 2, memory 7.86 GiB"),
        (
            {"accelerator_count": 2},
            [node("a", gpu="1")],
            "asks for cpu 0.5, memory 3 GiB, nvidia.com/gpu 2: the most that one has is cpu 2, memory 8 GiB, nvidia.com/gpu 1",
        ),
        ({"accelerator_count": 1, "accelerator_type": "amd.com/gpu"}, [node("a", gpu="1")], "amd.com/gpu 0;"),
        (
            {"node_selector": {"pool": "gpu"}},
            [node("a"), node("b", labels={"pool": "cpu"})],
            "no node may take the tasks (labels: pool=gpu; taints of the nodes: none)",
        ),
        ({}, [node("a", taints=(("nvidia.com/gpu", "NoSchedule"),))], "taints of the nodes: nvidia.com/gpu"),
        (
            {"tolerations": [{"key": "other", "operator": "Exists"}]},
            [node("a", taints=(("nvidia.com/gpu", "NoExecute"),))],
            "taints of the nodes: nvidia.com/gpu",
        ),
        (
            {"tolerations": [{"key": "key", "operator": "Exists", "effect": "NoExecute"}]},
            [node("a", taints=(("key", "NoSchedule"),))],
            "taints of the nodes: key",
        ),
    ],
)
def test_tasks_that_no_node_will_ever_take_are_told(values: dict[str, Any], nodes: list[dict[str, Any]], line: str, kubernetes: Cluster) -> None:
    kubernetes.put("/api/v1/nodes", *nodes)
    with pytest.raises(InputError) as caught:
        cluster.check_nodes(cluster.connect(), form(**values))
    assert line in str(caught.value)


@pytest.mark.parametrize(
    ("values", "nodes"),
    [
        ({}, [node("a")]),
        ({"cpu": 0, "memory": 0}, [node("a", cpu="100m", memory="64Mi")]),
        ({"accelerator_count": 1, "memory": "16Gi"}, [node("a"), node("b", memory="64Gi", gpu="1")]),
        ({"tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]}, [node("a", taints=(("gpu", "NoSchedule"),))]),
        ({"tolerations": [{"operator": "Exists"}]}, [node("a", taints=(("gpu", "NoSchedule"), ("other", "NoExecute")))]),
        ({}, [node("a", taints=(("slow", "PreferNoSchedule"),))]),
        ({"node_selector": {"pool": "gpu"}}, [node("a"), node("b", labels={"pool": "gpu"})]),
    ],
)
def test_a_node_that_can_take_the_tasks_is_found(values: dict[str, Any], nodes: list[dict[str, Any]], kubernetes: Cluster) -> None:
    kubernetes.put("/api/v1/nodes", *nodes)
    assert cluster.check_nodes(cluster.connect(), form(**values)).startswith(f"1 of {len(nodes)} may take the tasks")


def test_a_cordoned_node_does_not_count(kubernetes: Cluster) -> None:
    cordoned = node("a")
    cordoned["spec"]["unschedulable"] = True
    kubernetes.put("/api/v1/nodes", cordoned)
    with pytest.raises(InputError, match="all are cordoned"):
        cluster.check_nodes(cluster.connect(), form())


@pytest.mark.parametrize(
    ("hard", "values", "line"),
    [
        ({"requests.nvidia.com/gpu": "0"}, {"accelerator_count": 1}, "the quota team of namespace asdfd gives requests.nvidia.com/gpu 0"),
        ({"limits.memory": "2Gi"}, {}, "gives limits.memory 2Gi, and a task asks for cpu 0.5, memory 3 GiB"),
        ({"cpu": "100m"}, {}, "gives cpu 100m"),
    ],
)
def test_a_quota_that_lets_no_task_in_is_named(hard: dict[str, str], values: dict[str, Any], line: str, kubernetes: Cluster) -> None:
    kubernetes.put(f"{NAMESPACE}/resourcequotas", named("team", spec={"hard": hard}))
    with pytest.raises(InputError) as caught:
        cluster.check_quota(cluster.connect(), "asdfd", form(**values))
    assert line in str(caught.value)


def test_quotas_that_are_large_enough_are_no_fault(kubernetes: Cluster) -> None:
    kubernetes.put(f"{NAMESPACE}/resourcequotas", named("team", spec={"hard": {"requests.nvidia.com/gpu": "0", "limits.memory": "8Gi", "pods": "10"}}))
    kubernetes.put(
        f"{NAMESPACE}/limitranges", named("team", spec={"limits": [{"type": "Container", "max": {"memory": "3Gi"}}, {"type": "Pod", "max": {"memory": "1Gi"}}]})
    )
    assert cluster.check_quota(cluster.connect(), "asdfd", form()) == "1 in namespace asdfd"
    with pytest.raises(InputError, match="the limit range team of namespace asdfd allows a container memory 3Gi"):
        cluster.check_quota(cluster.connect(), "asdfd", form(memory="4Gi"))


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            {"S3_ENDPOINT": "http://minio-service.kubeflow:9000"},
            "namespace kubeflow has no service minio-service (it has ml-pipeline, seaweedfs); name one that is there",
        ),
        ({"S3_ENDPOINT": "http://minio.kubeflow.svc.cluster.local:9000"}, "namespace kubeflow has no service minio "),
        ({"PUSHGATEWAY_URL": "gateway:9091"}, "PUSHGATEWAY_URL is gateway:9091, and namespace asdfd has no service gateway (it has pushgateway)"),
    ],
)
def test_an_address_that_is_none_is_told(settings: dict[str, str], line: str, kubernetes: Cluster) -> None:
    kubernetes.put(f"{NAMESPACE}/configmaps", named("asdfd", data=settings))
    with pytest.raises(InputError) as caught:
        cluster.check_settings(cluster.connect(), "asdfd")
    assert line in str(caught.value)


@pytest.mark.parametrize(
    "endpoint", ["", "https://s3.eu-central-1.amazonaws.com", "http://10.0.0.7:9000", "http://minio.example:9000", "http://seaweedfs.kubeflow.svc:8333"]
)
def test_addresses_outside_of_the_cluster_and_services_that_are_there_pass(endpoint: str, kubernetes: Cluster) -> None:
    kubernetes.put(f"{NAMESPACE}/configmaps", named("asdfd", data={"S3_ENDPOINT": endpoint}))
    assert cluster.check_settings(cluster.connect(), "asdfd") == "config map asdfd of namespace asdfd"


def test_a_namespace_that_was_not_set_up_is_told(kubernetes: Cluster) -> None:
    del kubernetes.documents[f"{NAMESPACE}/secrets/asdfd-credentials"]
    with pytest.raises(InputError, match="has no secret asdfd-credentials, so tasks have no key for http://seaweedfs"):
        cluster.check_settings(cluster.connect(), "asdfd")
    with pytest.raises(InputError, match="namespace other has no config map asdfd"):
        cluster.check_settings(cluster.connect(), "other")


def test_what_may_not_be_looked_at_is_no_fault(kubernetes: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kubernetes.forbidden.add("/api/v1/nodes")
    with pytest.raises(cluster.NoSightError, match="this kubeconfig does not allow to list node"):
        cluster.check_nodes(cluster.connect(), form())
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(cluster.NoSightError, match="set KUBECONFIG to have it looked at"):
        cluster.connect()


def test_a_cluster_that_does_not_answer_is_told(kubernetes: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kubernetes.address = "http://127.0.0.1:9"
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.kubeconfig(tmp_path)))
    with pytest.raises(InputError, match="Kubernetes does not answer"):
        cluster.check_nodes(cluster.connect(), form())
