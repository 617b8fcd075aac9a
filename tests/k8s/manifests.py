"""The manifests below k8s/ as kustomize builds them, and the pods that come of them."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import yaml

REPOSITORY = Path(__file__).parents[2]
K8S = REPOSITORY / "k8s"
COMPILED = REPOSITORY / "pipelines" / "compress.yaml"
KSERVE_PREDICTOR = {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "deploymentStrategy", "labels"}
"""What KServe's predictor has beside the fields of a pod."""
Object = dict[str, Any]


class Pod(NamedTuple):
    """A pod that an object makes."""

    source: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    spec: Object


def read_yaml(text: str) -> list[Object]:
    """The documents of a text, read by libyaml where PyYAML has it: ten times faster."""
    return [document for document in yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if document]


def _of_kind(kind: str) -> list[str]:
    files = sorted(K8S.rglob("kustomization.yaml"))
    return [str(file.parent.relative_to(K8S)) for file in files if yaml.safe_load(file.read_text())["kind"] == kind]


KUSTOMIZATIONS = _of_kind("Kustomization")
COMPONENTS = _of_kind("Component")
EVERY_BUILD = [*KUSTOMIZATIONS, *COMPONENTS]


@cache
def build(name: str) -> tuple[Object, ...]:
    """The objects of a kustomization; of a component: of the base and of serving with it."""
    if name in KUSTOMIZATIONS:
        return _kustomize(K8S / name)
    with TemporaryDirectory(dir=REPOSITORY) as folder:  # kustomize takes other folders by relative paths only
        paths = {
            key: [os.path.relpath(K8S / path, folder) for path in paths] for key, paths in {"resources": ["base", "serving"], "components": [name]}.items()
        }
        Path(folder, "kustomization.yaml").write_text(yaml.safe_dump({"kind": "Kustomization", **paths}))
        return _kustomize(Path(folder))


def _kustomize(folder: Path) -> tuple[Object, ...]:
    kustomize = shutil.which("kustomize", path=f"{os.environ['PATH']}:{Path(sys.executable).parent}")
    command = ["kubectl", "kustomize"] if shutil.which("kubectl") else [kustomize or "", "build"]
    assert command[0], "the tests need kubectl 1.27 or later, or kustomize 4.5.4 or later; install one: make kustomize"
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # a deprecated field is told there
    return tuple(read_yaml(done.stdout))


@cache
def standalone() -> tuple[Object, ...]:
    """The objects of files that no kustomization is made of."""
    documents = (document for file in sorted(K8S.glob("*.yaml")) for document in read_yaml(file.read_text(encoding="utf-8")))
    return tuple(document for document in documents if "apiVersion" in document)


def every_object() -> Iterator[tuple[str, Object]]:
    """Every object of every build, with the name of the build."""
    for name in EVERY_BUILD:
        for item in build(name):
            yield name, item
    for item in standalone():
        yield "k8s", item


def name_of(item: Object) -> str:
    return f"{item['kind']}/{item['metadata']['name']}"


def of_kind(name: str, kind: str) -> list[Object]:
    return [item for item in build(name) if item["kind"] == kind]


def one(name: str, kind: str, called: str) -> Object:
    """The only object of a kind and name in a build."""
    (found,) = (item for item in of_kind(name, kind) if item["metadata"]["name"] == called)
    return found


def pods() -> list[Pod]:
    """Every pod that an object of any build makes, once."""
    found: dict[str, Pod] = {}
    for name, item in every_object():
        if item["kind"] == "InferenceService":
            item = served(item)
        for template in templates(item):
            metadata = template.get("metadata", {})
            source = f"{name}: {name_of(item)}"
            found[source] = Pod(source, metadata.get("labels", {}), item["metadata"].get("annotations", {}), template["spec"])
    return list(found.values())


def templates(tree: Any) -> Iterator[Object]:
    """Whatever has a pod's specification in it, at any depth: templates of Deployments and Jobs."""
    if isinstance(tree, dict):
        if isinstance(tree.get("spec"), dict) and isinstance(tree["spec"].get("containers"), list):
            yield tree
        for value in tree.values():
            yield from templates(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from templates(value)


def served(service: Object) -> Object:
    """The Deployment that KServe makes of an InferenceService in its mode Standard, as far as the service says it."""
    predictor = copy.deepcopy(service["spec"]["predictor"])
    labels = {**predictor.get("labels", {}), "serving.kserve.io/inferenceservice": service["metadata"]["name"]}
    spec = {key: value for key, value in predictor.items() if key not in KSERVE_PREDICTOR}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": service["metadata"],
        "spec": {
            "replicas": predictor["minReplicas"],
            "strategy": predictor["deploymentStrategy"],
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels, "annotations": service["metadata"].get("annotations", {})}, "spec": spec},
        },
    }


@cache
def compiled() -> tuple[Object, Object]:
    """The compiled pipeline: its specification, and what it asks of Kubernetes for each executor."""
    specification, platform = read_yaml(COMPILED.read_text(encoding="utf-8"))
    return specification, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def task_labels() -> dict[str, dict[str, str]]:
    """The labels of each task's pod: those that the pipeline sets, and the one that Argo sets on every pod of a run."""
    _, executors = compiled()
    argo = {"workflows.argoproj.io/workflow": "compress-abcde"}
    return {name: {**argo, **executor.get("podMetadata", {}).get("labels", {})} for name, executor in executors.items()}


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector takes an object with these labels, as Kubernetes does it."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    return all(_fulfils(expression, labels) for expression in selector.get("matchExpressions", []))


def _fulfils(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    present = expression["key"] in labels
    among = labels.get(expression["key"]) in expression.get("values", [])
    return {"Exists": present, "DoesNotExist": not present, "In": present and among, "NotIn": not (present and among)}[expression["operator"]]
