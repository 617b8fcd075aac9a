"""Every pod is what Pod Security's profile `restricted` asks for, and more: a read-only root, limits, no token. No secret is written down."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.k8s.manifests import K8S, REPOSITORY, Object, Pod, compiled, every_object, name_of, one, pods

VOLUMES = {"name", "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
SECRET_LITERALS = [
    re.compile(r"AKIA[0-9A-Z]{16}|ASIA[0-9A-Z]{16}"),  # keys of AWS
    re.compile(r"\bhf_[A-Za-z0-9]{20,}|\bgh[pousr]_[A-Za-z0-9]{20,}|\bxox[abpr]-"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY"),
    re.compile(r"://[^/\s:@]+:[^/\s:@]+@"),
    re.compile(r"eyJ[A-Za-z0-9_-]{10,}\.eyJ"),
]
SECRET_NAME = re.compile(r"(password|passwd|secret|token|access_key|private_key|credential)", re.IGNORECASE)
ALL_PODS = pods()


def faults(pod: Pod) -> list[str]:
    """What a pod has that the profile, or our own rules beyond it, do not allow."""
    spec, found = pod.spec, []
    found += [name for name in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace") if spec.get(name)]
    found += [f"volume {volume['name']}: {kind}" for volume in spec.get("volumes", []) for kind in volume if kind not in VOLUMES]
    found += [
        f"volume {volume['name']} has no size" for volume in spec.get("volumes", []) if "emptyDir" in volume and "sizeLimit" not in (volume["emptyDir"] or {})
    ]
    if spec.get("automountServiceAccountToken", True):
        found.append("mounts a token for Kubernetes' API")
    if spec.get("ephemeralContainers"):
        found.append("ephemeral containers")
    for container in (*spec.get("initContainers", []), *spec["containers"]):
        found += [f"{container['name']}: {fault}" for fault in _container_faults(container, spec.get("securityContext", {}))]
    return found


def _container_faults(container: Object, of_pod: Object) -> list[str]:
    own = container.get("securityContext", {})
    both = {**of_pod, **own}
    wanted: dict[str, tuple[Any, Any]] = {
        "privilege escalation": (own.get("allowPrivilegeEscalation"), False),
        "capabilities": (own.get("capabilities"), {"drop": ["ALL"]}),
        "privileged": (own.get("privileged", False), False),
        "read-only root": (own.get("readOnlyRootFilesystem"), True),
        "not root": (both.get("runAsNonRoot"), True),
        "seccomp": (both.get("seccompProfile"), {"type": "RuntimeDefault"}),
        "SELinux": (both.get("seLinuxOptions"), None),
        "host ports": ([port for port in container.get("ports", []) if "hostPort" in port], []),
    }
    found = [name for name, (value, needed) in wanted.items() if value != needed]
    if both.get("runAsUser", 1) == 0:
        found.append("user 0")
    resources = container.get("resources", {})
    found += [f"no request of {name}" for name in ("cpu", "memory") if name not in resources.get("requests", {})]
    if "memory" not in resources.get("limits", {}):
        found.append("no limit of memory")
    return found


@pytest.mark.parametrize("pod", ALL_PODS, ids=[pod.source for pod in ALL_PODS])
def test_every_pod_is_restricted(pod: Pod) -> None:
    assert faults(pod) == []


def serving_pod() -> Pod:
    return next(pod for pod in ALL_PODS if pod.source == "serving: Deployment/student")


SPOILT: dict[str, tuple[Callable[[Object], object], str]] = {
    "root": (lambda spec: spec["securityContext"].update(runAsUser=0), "user 0"),
    "not said": (lambda spec: (spec["securityContext"].pop("runAsNonRoot"), spec["containers"][0]["securityContext"].pop("runAsNonRoot")), "not root"),
    "writable": (lambda spec: spec["containers"][0]["securityContext"].pop("readOnlyRootFilesystem"), "read-only root"),
    "capability": (lambda spec: spec["containers"][0]["securityContext"]["capabilities"].update(add=["NET_ADMIN"]), "capabilities"),
    "seccomp": (lambda spec: spec["securityContext"].pop("seccompProfile"), "seccomp"),
    "host path": (lambda spec: spec["volumes"].append({"name": "host", "hostPath": {"path": "/"}}), "hostPath"),
    "host network": (lambda spec: spec.update(hostNetwork=True), "hostNetwork"),
    "init container": (lambda spec: spec.update(initContainers=[{"name": "pull"}]), "pull: privilege escalation"),
    "limits": (lambda spec: spec["containers"][0]["resources"]["limits"].pop("memory"), "no limit of memory"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_a_pod_that_is_not_restricted_is_found(case: str) -> None:
    spoil, fault = SPOILT[case]
    pod = serving_pod()._replace(spec=copy.deepcopy(serving_pod().spec))
    spoil(pod.spec)
    assert any(fault in one for one in faults(pod))


def test_the_tasks_of_the_pipeline_may_enter_a_restricted_namespace() -> None:
    labels = one("base", "Namespace", "asdfd")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    user = re.search(r"^USER (\d+)", (REPOSITORY / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert user is not None
    _, executors = compiled()
    for name, executor in executors.items():
        # Kubeflow (2.17) sets privilege escalation, capabilities and seccomp itself, but leaves it to the pipeline to say that a container is not root.
        assert executor.get("securityContext") == {"runAsNonRoot": True, "runAsUser": user[1]}, name
        assert not set(executor) & {"hostPathMounts", "hostNetwork"}, name
        assert all("sizeLimit" in mount for mount in executor.get("emptyDirMounts", [])), name


def test_no_secret_is_written_down() -> None:
    for file in (file for file in K8S.rglob("*") if file.is_file()):
        text = file.read_text(encoding="utf-8")
        assert [pattern.pattern for pattern in SECRET_LITERALS if pattern.search(text)] == [], file
    for name, item in every_object():
        assert item["kind"] != "Secret", f"{name}: {name_of(item)}: secrets come from the cluster"
        if item["kind"] == "ConfigMap":
            assert not [key for key in item["data"] if SECRET_NAME.search(key)]
    for pod in ALL_PODS:
        for container in (*pod.spec.get("initContainers", []), *pod.spec["containers"]):
            literal = [entry["name"] for entry in container.get("env", []) if SECRET_NAME.search(entry["name"]) and "value" in entry]
            assert literal == [], pod.source


def test_a_written_secret_is_found() -> None:
    for text in ("aws_access_key_id: AKIAIOSFODNN7EXAMPLE", "url: https://user:hunter2@store", "token: hf_" + "a" * 30):
        assert any(pattern.search(text) for pattern in SECRET_LITERALS)
    assert SECRET_NAME.search("AWS_SECRET_ACCESS_KEY")
