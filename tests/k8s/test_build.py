"""The manifests build, are what three versions of Kubernetes and the operators' own resource types take, and agree with the rest of the repository."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.k8s.custom_resources import SCHEMAS
from tests.k8s.manifests import (
    EVERY_BUILD,
    K8S,
    REPOSITORY,
    Object,
    build,
    compiled,
    every_object,
    name_of,
    of_kind,
    one,
    pods,
    served,
    templates,
)

VERSIONS = ("1.32", "1.35", "1.37")
IMAGE = re.compile(r"[a-z0-9./-]+:[\w.-]*\d[\w.-]*(@sha256:[0-9a-f]{64})?")
"""An image by a tag with a number in it: not `latest`, and not without a tag."""


def check(item: Object, version: str) -> None:
    """Refuse an object that Kubernetes, or the operator whose resource it is, does not take; unknown fields are refused, too."""
    if schema := SCHEMAS.get((item["apiVersion"], item["kind"])):
        jsonschema.validate(item, schema, cls=jsonschema.Draft202012Validator)
        made = served(item) if item["kind"] == "InferenceService" else item
        for template in templates(made):
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod", **template.get("metadata", {})}, "spec": template["spec"]}
            kubernetes_validate.validate(pod, version, strict=True)
        return
    kubernetes_validate.validate(item, version, strict=True)


@pytest.mark.parametrize("name", EVERY_BUILD)
def test_every_kustomization_builds(name: str) -> None:
    objects = build(name)
    assert objects
    found = [(item["apiVersion"], name_of(item), item["metadata"].get("namespace")) for item in objects]
    assert len(found) == len(set(found))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(version: str) -> None:
    distinct = {json.dumps(item, sort_keys=True): item for _, item in every_object()}
    for item in distinct.values():
        check(item, version)


@pytest.mark.parametrize(
    ("name", "kind", "called", "path"),
    [
        ("base", "NetworkPolicy", "allow-dns", ("spec", "egres")),
        ("base", "LimitRange", "asdfd", ("spec", "limit")),
        ("serving", "HorizontalPodAutoscaler", "student", ("spec", "minReplica")),
        ("overlays/kserve", "InferenceService", "student", ("spec", "predictor", "minReplica")),
        ("overlays/kserve", "InferenceService", "student", ("spec", "predictor", "topologySpreadConstraint")),
        ("secrets", "ExternalSecret", "asdfd-credentials", ("spec", "secretStore")),
    ],
)
def test_a_misspelled_field_is_found(name: str, kind: str, called: str, path: tuple[str, ...]) -> None:
    item = copy.deepcopy(one(name, kind, called))
    place = item
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = []
    with pytest.raises((kubernetes_validate.ValidationError, jsonschema.ValidationError)):
        check(item, VERSIONS[0])


def test_every_file_belongs_to_a_kustomization() -> None:
    used = set()
    for file in K8S.rglob("kustomization.yaml"):
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        names = [*content.get("resources", []), *(patch["path"] for patch in content.get("patches", []) if "path" in patch)]
        names += [name for generator in content.get("configMapGenerator", []) for name in generator.get("files", [])]
        used |= {file, *((file.parent / name).resolve() for name in names)}
    inside = {file for file in K8S.rglob("*") if file.is_file() and file.parent != K8S and file.suffix != ".md"}
    assert inside - used == set()


def test_the_pipeline_reads_the_settings_and_secrets_that_are_made_here() -> None:
    _, executors = compiled()
    settings = one("base", "ConfigMap", "asdfd")["data"]
    secret = one("secrets", "ExternalSecret", "asdfd-credentials")["spec"]
    made = {entry["secretKey"] for entry in secret["data"]}
    readers = 0
    for executor in executors.values():
        for source in executor.get("configMapAsEnv", []):
            assert source["configMapName"] == "asdfd"
            assert set(settings) <= {entry["configMapKey"] for entry in source["keyToEnv"]}
        for source in executor.get("secretAsEnv", []):
            if source["secretName"] == "asdfd-signing":  # made by hand, by whoever wants signatures
                continue
            readers += 1
            assert source["secretName"] == secret["target"]["name"]
            assert made <= {entry["secretKey"] for entry in source["keyToEnv"]}
    assert readers == len(executors)


def test_our_images_have_one_name_and_one_version() -> None:
    specification, _ = compiled()
    images = {executor["container"]["image"] for executor in specification["deploymentSpec"]["executors"].values()}
    (image,) = images
    serving = image.replace(":", "-serving:")
    assert {container["image"] for pod in pods() for container in _containers(pod.spec) if container["image"].startswith("asdfd")} == {serving}
    dockerfile = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    titles = re.findall(r'org\.opencontainers\.image\.title="([^"]+)"', dockerfile)
    (version,) = set(re.findall(r"^ARG VERSION=(\S+)$", dockerfile, re.MULTILINE))
    assert [f"{title}:{version}" for title in titles] == [serving, image]


def test_no_image_can_change_under_its_name() -> None:
    images = [container["image"] for pod in pods() for container in _containers(pod.spec)]
    assert images
    for image in images:
        assert IMAGE.fullmatch(image), image


def test_the_laptop_s_overlay_leaves_kubeflow_s_namespace_to_kubeflow() -> None:
    objects = build("overlays/local")
    assert {item["metadata"]["namespace"] for item in objects} == {"kubeflow"}
    assert {item["kind"] for item in objects} == {"ServiceAccount", "Role", "RoleBinding", "ConfigMap", "NetworkPolicy"}
    for policy in of_kind("overlays/local", "NetworkPolicy"):
        assert policy["spec"]["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": "asdfd"}}


def test_runs_can_be_set_up_before_there_is_anything_to_serve() -> None:
    """KServe's resource types may not be known to the cluster then, and its pods would wait for a version in production."""
    for name in ("base", "overlays/gpu", "overlays/local"):
        assert not of_kind(name, "InferenceService")


def test_a_drain_does_not_wait_for_a_run() -> None:
    """A task goes on from its checkpoint elsewhere, while a budget that protects the only pod of its kind blocks the drain for hours."""
    for name in ("base", "overlays/gpu", "overlays/local"):
        assert not of_kind(name, "PodDisruptionBudget")


def test_the_overlay_for_gpus_gives_what_the_base_does_not() -> None:
    assert one("base", "ResourceQuota", "asdfd")["spec"]["hard"]["requests.nvidia.com/gpu"] == "0"
    assert one("overlays/gpu", "ResourceQuota", "asdfd")["spec"]["hard"]["requests.nvidia.com/gpu"] == "8"


def test_eight_runs_of_large_tasks_fit_into_the_namespace() -> None:
    """With the sizes that docs/kubeflow.md shows for a node with a GPU; the tasks of a run that compute follow each other."""
    specification, _ = compiled()
    hard = one("base", "ResourceQuota", "asdfd")["spec"]["hard"]
    (most,) = (limit["max"]["memory"] for limit in one("base", "LimitRange", "asdfd")["spec"]["limits"] if limit["type"] == "Container")
    sizes = dict(re.findall(r"--cluster (cpu|memory)=(\S+)", (REPOSITORY / "docs" / "kubeflow.md").read_text(encoding="utf-8")))
    for executor in specification["deploymentSpec"]["executors"].values():
        limit = executor["container"]["resources"]["resourceMemoryLimit"]
        assert limit == "{{$.inputs.parameters['pipelinechannel--memory']}}" or _bytes(limit) <= _bytes(most)
    assert _bytes(sizes["memory"]) <= _bytes(most)
    assert 8 * _bytes(sizes["memory"]) <= _bytes(hard["limits.memory"])
    assert 8 * float(sizes["cpu"]) <= float(hard["requests.cpu"])


def test_both_ways_to_serve_run_one_pod() -> None:
    """The plain Deployment and KServe's differ in the name that KServe asks for, and in nothing else."""
    plain = one("serving", "Deployment", "student")["spec"]
    behind = served(one("overlays/kserve", "InferenceService", "student"))["spec"]
    (container,) = behind["template"]["spec"]["containers"]
    assert container.pop("name") == "kserve-container"
    (ours,) = plain["template"]["spec"]["containers"]
    assert {**ours, "name": "server"} == {**container, "name": "server"}
    assert {**behind["template"]["spec"], "containers": []} == {**plain["template"]["spec"], "containers": []}
    assert behind["strategy"] == plain["strategy"]
    scaler = one("serving", "HorizontalPodAutoscaler", "student")["spec"]
    predictor = one("overlays/kserve", "InferenceService", "student")["spec"]["predictor"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (predictor["minReplicas"], predictor["maxReplicas"])
    assert scaler["metrics"][0]["resource"]["target"]["averageUtilization"] == predictor["scaleTarget"]
    assert not of_kind("overlays/kserve", "Deployment"), "there it is KServe that makes it"


def test_the_server_is_started_with_a_command_that_exists_and_probed_where_it_answers() -> None:
    from asdfd.cli.main import build_parser
    from asdfd.serving.server import GRACE

    pod = one("serving", "Deployment", "student")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    words = [*container["command"], *container["args"]]
    assert words[0] == "asdfd"
    parsed = build_parser().parse_args(words[1:])
    assert (parsed.which, parsed.host, parsed.port) == ("student@production", "0.0.0.0", container["ports"][0]["containerPort"])
    assert parsed.threads == float(container["resources"]["requests"]["cpu"]), "as many batches side by side as there are processors for it"
    probes = {name: container[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert {probe["path"] for probe in probes.values()} == {"/v2/health/ready", "/v2/health/live"}
    before = float(container["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert before + GRACE < pod["terminationGracePeriodSeconds"], "the server has the time to answer what has come"
    assert [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")] == ["/tmp"]


def test_every_object_says_its_namespace() -> None:
    for name, item in every_object():
        assert item["metadata"].get("namespace") or item["kind"] == "Namespace", f"{name}: {name_of(item)}"


def _containers(spec: Object) -> list[dict[str, Any]]:
    return [*spec.get("initContainers", []), *spec["containers"]]


def _bytes(quantity: str) -> float:
    number, unit = re.fullmatch(r"(\d+)([KMGT]i)?", quantity).groups()  # pyright: ignore[reportOptionalMemberAccess]
    return int(number) * 1024 ** (" KMGT".index(unit[0]) if unit else 0)
