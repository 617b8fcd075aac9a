"""The compiled pipeline: the committed file, what it asks of Kubernetes, what may be cached, and that a wheel carries it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from setuptools import find_packages

from asdfd import __version__
from asdfd.base.form import Form
from asdfd.cli.main import main
from asdfd.kubeflow.compilation import compiled_text, local_form
from asdfd.steps.ending import PIPELINE_RUN

ROOT = Path(__file__).resolve().parents[2]
COMPONENTS = ("plan", "fetch_teacher", "synthesize", "distill", "evaluate", "push", "report_status")
TYPES = {"NUMBER_INTEGER": int, "BOOLEAN": bool, "STRING": str, "STRUCT": dict, "LIST": list}


@cache
def documents() -> tuple[dict[str, Any], dict[str, Any]]:
    """The committed pipeline: its specification, and what it asks of Kubernetes. Read only."""
    specification, platforms = yaml.safe_load_all((ROOT / "pipelines" / "compress.yaml").read_text(encoding="utf-8"))
    return specification, platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def tasks() -> dict[str, dict[str, Any]]:
    """Every task by its name, wherever in the pipeline."""
    specification, _ = documents()
    dags = [specification["root"]["dag"], *(component["dag"] for component in specification["components"].values() if "dag" in component)]
    return {name.replace("-", "_"): task for dag in dags for name, task in dag["tasks"].items()}


def executors() -> dict[str, dict[str, Any]]:
    """What runs, by its task."""
    specification, _ = documents()
    return {name.removeprefix("exec-").replace("-", "_"): each["container"] for name, each in specification["deploymentSpec"]["executors"].items()}


@pytest.mark.slow
def test_the_committed_file_is_what_the_code_compiles_to() -> None:
    committed = list(yaml.safe_load_all((ROOT / "pipelines" / "compress.yaml").read_text(encoding="utf-8")))
    fresh = list(yaml.safe_load_all(compiled_text()))
    for each in (committed[0], fresh[0]):
        each.pop("sdkVersion")
    assert committed == fresh, "run `asdfd compile` and commit pipelines/compress.yaml"


def test_every_task_runs_in_an_image_that_never_moves_and_installs_nothing() -> None:
    assert set(executors()) == set(COMPONENTS)
    for container in executors().values():
        assert container["image"] == f"asdfd:{__version__}"
        assert "pip install" not in " ".join(container["command"])
        assert "kfp.dsl.executor_main" in " ".join(container["command"])


def test_only_tasks_whose_result_is_decided_by_their_inputs_are_cached() -> None:
    cached = {name for name, task in tasks().items() if task.get("cachingOptions", {}).get("enableCache") and name in COMPONENTS}
    assert cached == {"fetch_teacher", "synthesize", "distill", "evaluate"}
    assert not any("cacheKey" in task.get("cachingOptions", {}) for task in tasks().values()), "a cache key of one's own makes Kubeflow ignore all inputs"


def test_the_form_in_the_user_interface_is_the_form_in_the_code() -> None:
    """Names, types, defaults and descriptions, in Kubeflow's form and as inputs of the task that reads it."""
    specification, _ = documents()
    shown = specification["root"]["inputDefinitions"]["parameters"]
    taken = specification["components"]["comp-plan"]["inputDefinitions"]["parameters"]
    assert set(shown) == set(Form.model_fields) == set(taken) - {"pipeline_run"}
    for name, field in Form.model_fields.items():
        assert shown[name]["description"] == field.description
        assert shown[name]["parameterType"] == taken[name]["parameterType"]
        assert shown[name].get("isOptional", False) != field.is_required()
        if not field.is_required():
            assert shown[name].get("defaultValue") == field.default
            assert isinstance(field.default, TYPES[shown[name]["parameterType"]])


def test_a_run_has_no_more_levels_and_tasks_than_it_needs() -> None:
    """Each level costs a pod of Kubeflow's own, each task two: docs/pipeline.md counts them."""
    specification, _ = documents()
    dags = {name for name, each in specification["components"].items() if "dag" in each}
    assert dags == {"comp-exit-handler-1"}
    assert len(executors()) == 7
    assert "workspace" not in json.dumps(specification), "no volume that ties tasks to a node, and whose name keeps a task from being cached"


def test_the_status_is_reported_whatever_happens() -> None:
    report = tasks()["report_status"]
    assert report["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    assert report["inputs"]["parameters"]["status"] == {"taskFinalStatus": {"producerTask": "exit-handler-1"}}


def test_what_each_task_asks_of_kubernetes() -> None:
    _, asked = documents()
    computing, retried = {"synthesize", "distill", "evaluate"}, set()
    for name in COMPONENTS:
        platform, container = asked[f"exec-{name.replace('_', '-')}"], executors()[name]
        assert int(platform["activeDeadlineSeconds"]) >= 3600
        assert platform["podMetadata"]["labels"] == {"app.kubernetes.io/name": "asdfd", "app.kubernetes.io/component": name.replace("_", "-")}
        assert platform["imagePullPolicy"] == "IfNotPresent"
        optional = ("configMapAsEnv", "configMapAsVolume", "secretAsEnv", "secretAsVolume")
        assert all(each["optional"] for kind in optional for each in platform.get(kind, []))
        assert platform["fieldPathAsEnv"] == [{"name": PIPELINE_RUN, "fieldPath": "metadata.labels['pipeline/runid']"}], "no cache sees it there"
        assert {"name": "ASDFD_IMAGE", "value": container["image"]} in container["env"]
        assert ({"name": "S3_TRIES", "value": "14"} in container["env"]) == (name in {"distill", "evaluate", "push"})
        resources = container["resources"]
        assert ("accelerator" in resources) == (name in computing)
        mounts = {mount["mountPath"]: mount for mount in platform.get("emptyDirMounts", [])}
        assert ("tolerations" in platform) == ("nodeSelector" in platform) == (name in computing)
        assert ("/scratch" in mounts) == (name in {"plan", "fetch_teacher", "distill", "evaluate"})
        if name in computing:
            assert mounts["/dev/shm"]["medium"] == "Memory"
            assert resources["accelerator"]["resourceType"] == "{{$.inputs.parameters['pipelinechannel--accelerator_type']}}"
            assert resources["resourceMemoryLimit"] == resources["resourceMemoryRequest"] == "{{$.inputs.parameters['pipelinechannel--memory']}}"
            assert resources["resourceCpuRequest"] == "{{$.inputs.parameters['pipelinechannel--cpu']}}"
        else:
            assert resources["resourceMemoryRequest"] == "512Mi"
        if "retryPolicy" in tasks()[name]:
            retried.add(name)
            assert tasks()[name]["retryPolicy"]["backoffDuration"] == "0s", "it is waited out after a mistake of the user, too"
            assert int(tasks()[name]["retryPolicy"]["backoffMaxDuration"].removesuffix("s")) > 10 * int(platform["activeDeadlineSeconds"])
    assert retried == {"fetch_teacher", "synthesize", "distill", "push"}


def test_the_signing_key_is_where_versions_are_stored_and_nowhere_else() -> None:
    _, asked = documents()
    holders = {name for name, platform in asked.items() if re.search("sign", json.dumps(platform), re.IGNORECASE)}
    assert holders == {"exec-push"}
    (volume,), (_, variables) = asked["exec-push"]["secretAsVolume"], asked["exec-push"]["secretAsEnv"]
    assert (volume["secretName"], volume["mountPath"], variables["secretName"]) == ("asdfd-signing", "/etc/asdfd/signing", "asdfd-signing")
    assert variables["keyToEnv"] == [{"secretKey": "ASDFD_SIGNING_KEY", "envVar": "ASDFD_SIGNING_KEY"}]
    assert not any("secretAsVolume" in platform for name, platform in asked.items() if name != "exec-push"), "credentials are variables, no files"


def test_no_secret_is_a_parameter() -> None:
    specification, _ = documents()
    assert not [name for name in specification["root"]["inputDefinitions"]["parameters"] if re.search("secret|token|password|credential|key", name)]


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_component_is_thin_and_described(name: str) -> None:
    folder = ROOT / "components" / name
    assert len((folder / "README.md").read_text(encoding="utf-8")) > 200
    specification, _ = documents()
    described = specification["components"][f"comp-{name.replace('_', '-')}"]["inputDefinitions"]
    for inputs in described.values():
        for each, definition in inputs.items():
            if not each.startswith("pipelinechannel--") and not (name == "plan" and each in Form.model_fields):  # which the form describes
                assert len(definition["description"]) > 10, f"{name}.{each}"
    source = (folder / "component.py").read_text(encoding="utf-8")
    assert len(source.rpartition('    """\n')[2].splitlines()) < 30


@pytest.mark.slow
def test_compile_names_another_image_and_writes_objects_of_kubernetes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = f"registry.example.com:5000/team/asdfd@sha256:{'a' * 64}"
    out = tmp_path / "new" / "pipeline.yaml"
    assert main(["compile", "--image", image, "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"step": "compile", "path": str(out)}
    specification = next(yaml.safe_load_all(out.read_text(encoding="utf-8")))
    assert {each["container"]["image"] for each in specification["deploymentSpec"]["executors"].values()} == {image}
    assert main(["compile", "--kubernetes-manifest", "--out", str(tmp_path / "objects.yaml")]) == 0
    pipeline, version = yaml.safe_load_all((tmp_path / "objects.yaml").read_text(encoding="utf-8"))
    assert [(each["apiVersion"], each["kind"]) for each in (pipeline, version)] == [
        ("pipelines.kubeflow.org/v2beta1", "Pipeline"),
        ("pipelines.kubeflow.org/v2beta1", "PipelineVersion"),
    ]
    assert version["spec"]["pipelineName"] == pipeline["metadata"]["name"]
    assert "platformSpec" in version["spec"]


@pytest.mark.parametrize("image", ["asdfd", "asdfd:latest", "registry.example.com/asdfd", "asdfd@sha256:abc", "a b:1"])
def test_an_image_whose_version_can_move_is_refused(image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", "--image", image, "--out", str(tmp_path / "pipeline.yaml")]) == 2
    assert "a tag that never moves" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["compile"], ["run", "--teacher", "somewhere"]])
def test_without_the_extra_one_line_says_what_to_install(words: list[str], tmp_path: Path) -> None:
    code = "import sys; sys.modules['kfp'] = None; from asdfd.cli.main import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, *words, "--out", str(tmp_path / "out")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "asdfd: the pipeline needs the extra `kubeflow`: pip install 'asdfd[kubeflow]'\n"
    assert list(tmp_path.iterdir()) == []


def test_a_wheel_carries_the_pipeline_and_all_components() -> None:
    packages = find_packages(str(ROOT / "src"))
    assert {"asdfd.components", "asdfd.pipelines", *(f"asdfd.components.{name}" for name in COMPONENTS)} <= set(packages)
    assert (ROOT / "src" / "asdfd" / "components").resolve() == ROOT / "components"
    assert (ROOT / "src" / "asdfd" / "pipelines").resolve() == ROOT / "pipelines"


def test_below_asdfd_run_nothing_is_tried_again_or_asks_for_a_gpu() -> None:
    text = (ROOT / "pipelines" / "compress.yaml").read_text(encoding="utf-8")
    local = yaml.safe_load(local_form(text, {"NAME": "value"}))
    assert "retryPolicy" not in json.dumps(local)
    assert all(each["container"]["env"] == [{"name": "NAME", "value": "value"}] for each in local["deploymentSpec"]["executors"].values())
    assert not any("resources" in each["container"] for each in local["deploymentSpec"]["executors"].values())
    expected = documents()[0]["components"]["comp-exit-handler-1"]["inputDefinitions"]
    assert local["components"]["comp-exit-handler-1"]["inputDefinitions"] == expected
