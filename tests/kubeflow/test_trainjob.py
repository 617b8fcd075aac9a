"""The manifest of a distillation on several nodes: generated, valid as far as a machine without Kubeflow Trainer can say, and with a command that works.

No operator runs here. The types of Trainer are checked against a schema of the parts that are used (written after their definitions, unknown fields refused),
the pod, the network policy and the parameters against Kubernetes' own; what Trainer then does is played by test_torchrun, with the environment that it makes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from asdfd.base.config import load_run
from asdfd.cli.main import build_parser, main
from tests.k8s.custom_resources import SCHEMAS

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / "k8s" / "trainjob.yaml"
VERSION = "1.35"


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    """The objects that the command prints."""
    assert main(["trainjob", *words]) == 0
    return list(yaml.safe_load_all(capsys.readouterr().out))


def by_kind(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {each["kind"]: each for each in objects}


def pod_of(runtime: dict[str, Any]) -> dict[str, Any]:
    return runtime["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]


def test_the_committed_manifest_is_the_generated_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trainjob"]) == 0
    assert MANIFEST.read_text(encoding="utf-8") == capsys.readouterr().out, "write it again: asdfd trainjob > k8s/trainjob.yaml"


@pytest.mark.parametrize("accelerators", [0, 4])
def test_every_object_is_valid(accelerators: int, capsys: pytest.CaptureFixture[str]) -> None:
    objects = by_kind(printed(capsys, "--accelerators", str(accelerators)))
    assert list(objects) == ["ConfigMap", "NetworkPolicy", "TrainingRuntime", "TrainJob"]
    for kind in ("ConfigMap", "NetworkPolicy"):
        kubernetes_validate.validate(objects[kind], VERSION, strict=True)
    for kind in ("TrainingRuntime", "TrainJob"):
        jsonschema.validate(objects[kind], SCHEMAS[objects[kind]["apiVersion"], kind], cls=jsonschema.Draft202012Validator)
    pod = pod_of(objects["TrainingRuntime"])
    kubernetes_validate.validate({"apiVersion": "v1", "kind": "Pod", **pod, "metadata": {"name": "node", **pod["metadata"]}}, VERSION, strict=True)
    limits = objects["TrainJob"]["spec"]["trainer"]["resourcesPerNode"]["limits"]
    assert limits.get("nvidia.com/gpu", 0) == accelerators
    assert ("tolerations" in pod["spec"]) == (accelerators > 0)


def test_the_objects_belong_together(capsys: pytest.CaptureFixture[str]) -> None:
    objects = by_kind(printed(capsys, "--name", "big", "--namespace", "team", "--nodes", "3", "--claim", "shared", "--image", "asdfd:1"))
    job, runtime = objects["TrainJob"], objects["TrainingRuntime"]
    pod = pod_of(runtime)["spec"]
    assert {each["metadata"]["namespace"] for each in objects.values()} == {"team"}
    assert job["spec"]["runtimeRef"]["name"] == runtime["metadata"]["name"] == job["metadata"]["name"] == "big"
    assert job["spec"]["trainer"]["numNodes"] == runtime["spec"]["mlPolicy"]["numNodes"] == 3
    assert job["spec"]["trainer"]["image"] == pod["containers"][0]["image"] == "asdfd:1"
    assert job["spec"]["trainer"]["resourcesPerNode"] == pod["containers"][0]["resources"]
    (parameters,) = [volume["configMap"]["name"] for volume in pod["volumes"] if "configMap" in volume]
    assert parameters == objects["ConfigMap"]["metadata"]["name"]
    assert {volume["name"] for volume in pod["volumes"]} == {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "shared"}} in pod["volumes"]
    assert objects["NetworkPolicy"]["spec"]["podSelector"] == {"matchLabels": {"jobset.sigs.k8s.io/jobset-name": "big"}}


def test_the_nodes_run_a_command_that_exists_with_the_parameters_that_were_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    objects = by_kind(printed(capsys, "--preset", "paper", "--set", "distillation.steps=77", "--folder", "runs/first/"))
    trainer, pod = objects["TrainJob"]["spec"]["trainer"], pod_of(objects["TrainingRuntime"])["spec"]
    assert trainer["command"] == ["asdfd"]
    arguments = build_parser().parse_args(trainer["args"])
    assert arguments.verb == "distill"
    places = {"teacher": arguments.teacher, "bank": arguments.bank, "student": arguments.out}
    assert places == {name: Path("/data/runs/first") / name for name in places}
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert str(arguments.params) == f"{mounts['parameters']}/params.yaml"
    (tmp_path / "params.yaml").write_text(objects["ConfigMap"]["data"]["params.yaml"], encoding="utf-8")
    assert load_run("default", tmp_path / "params.yaml") == load_run("paper", None, ["distillation.steps=77"])


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--nodes", "0"], "trainjob: 0 nodes with 1 accelerators each; ask for one node or more, and no negative number"),
        (["--accelerators", "-1"], "trainjob: 2 nodes with -1 accelerators each; ask for one node or more, and no negative number"),
        (["--nodes", "9", "--accelerators", "4"], "trainjob: 36 processes cannot share a batch of 32; raise distillation.batch_size"),
        (["--set", "distillation.processes=2"], "distillation.processes: 2 processes on 1 accelerators; 0 takes one for each"),
        (["--name", "Big_Job"], "--name Big_Job: is no name that Kubernetes takes for a job; use up to 40 of a-z, 0-9 and -, a letter first"),
    ],
)
def test_what_cannot_be_is_one_line(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trainjob", *words, "--json"]) == 2
    output, errors = capsys.readouterr()
    assert json.loads(output) == {"error": line, "exit_code": 2}
    assert errors == f"asdfd: {line}\n"
