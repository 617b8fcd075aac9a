"""What Kubeflow's backend would refuse is told before it is sent: the faults that were seen on a real one, and every rule beside them.

The faulty pipelines are ours, or one with a loop, with one thing changed, as it stood in commit 35be624 where it was seen there.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from asdfd.kubeflow.compiled import LOADER
from asdfd.kubeflow.rules import LARGEST_BYTES, faults
from tests.kubeflow.conftest import PLACES, Command
from tests.servers.kfp_api import Server

ROOT = Path(__file__).resolve().parents[2]
Documents = tuple[dict[str, Any], dict[str, Any]]


@cache
def committed() -> Documents:
    """The committed pipeline; copy it before it is changed."""
    specification, platforms = yaml.load_all((ROOT / "pipelines" / "compress.yaml").read_text(encoding="utf-8"), LOADER)
    return specification, platforms


@cache
def looping() -> Documents:
    """A pipeline with a loop; copy it before it is changed."""
    from kfp.compiler import Compiler

    from tests.kubeflow.own_pipeline import own

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "own.yaml"
        Compiler().compile(own, str(path))  # pyright: ignore[reportArgumentType]  # the decorator made a component of it
        specification, platforms = yaml.load_all(path.read_text(encoding="utf-8"), LOADER)
    return specification, platforms


def inputs_of(specification: dict[str, Any], component: str) -> dict[str, Any]:
    return specification["components"][component]["inputDefinitions"]["parameters"]


def without_access_modes(specification: dict[str, Any], platforms: dict[str, Any]) -> None:
    platforms["platforms"]["kubernetes"]["pipelineConfig"] = {"workspace": {"size": "20Gi"}}
    specification["components"]["comp-exit-handler-1"]["dag"]["tasks"]["distill"]["inputs"]["parameters"]["checkpoints"] = {
        "runtimeValue": {"constant": "{{$.workspace_path}}"}
    }


def unasked_workspace(specification: dict[str, Any], platforms: dict[str, Any]) -> None:
    without_access_modes(specification, platforms)
    del platforms["platforms"]["kubernetes"]["pipelineConfig"]


def not_handed_into_the_loop(specification: dict[str, Any], platforms: dict[str, Any]) -> None:
    del platforms
    del specification["root"]["dag"]["tasks"]["for-loop-1"]["inputs"]["parameters"]["pipelinechannel--count"]
    del inputs_of(specification, "comp-for-loop-1")["pipelinechannel--count"]


def selector_not_handed_into_the_loop(specification: dict[str, Any], platforms: dict[str, Any]) -> None:
    del platforms
    del specification["root"]["dag"]["tasks"]["for-loop-1"]["inputs"]["parameters"]["pipelinechannel--selector"]
    del inputs_of(specification, "comp-for-loop-1")["pipelinechannel--selector"]


def number_of_an_item(specification: dict[str, Any], platforms: dict[str, Any]) -> None:
    del platforms
    inputs_of(specification, "comp-worked")["text"]["parameterType"] = "NUMBER_INTEGER"


def number_of_accelerators(specification: dict[str, Any], platforms: dict[str, Any]) -> None:
    del platforms
    field = specification["root"]["inputDefinitions"]["parameters"]["accelerator_count"]
    field |= {"parameterType": "NUMBER_INTEGER", "defaultValue": 1.0}
    inputs_of(specification, "comp-plan")["accelerator_count"]["parameterType"] = "NUMBER_INTEGER"
    inputs_of(specification, "comp-exit-handler-1")["pipelinechannel--accelerator_count"]["parameterType"] = "NUMBER_INTEGER"


def no_quantity(specification: dict[str, Any], platforms: dict[str, Any]) -> None:
    del platforms
    specification["root"]["inputDefinitions"]["parameters"]["memory"]["defaultValue"] = "3 gigabytes"


def list_as_selector(specification: dict[str, Any], platforms: dict[str, Any]) -> None:
    executors = platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    executors["exec-evaluate"]["nodeSelector"]["nodeSelectorJson"]["componentInputParameter"] = "pipelinechannel--tolerations"
    del specification


def missing_input(specification: dict[str, Any], platforms: dict[str, Any]) -> None:
    del platforms
    del specification["components"]["comp-exit-handler-1"]["dag"]["tasks"]["push"]["inputs"]["parameters"]["pipeline_run"]


def missing_artifact(specification: dict[str, Any], platforms: dict[str, Any]) -> None:
    del platforms
    del specification["root"]["dag"]["tasks"]["for-loop-1"]["inputs"]["artifacts"]


def loop_over_a_mapping(specification: dict[str, Any], platforms: dict[str, Any]) -> None:
    del platforms
    specification["components"]["comp-listed"]["outputDefinitions"]["parameters"]["items"]["parameterType"] = "STRUCT"
    inputs_of(specification, "comp-for-loop-1")["pipelinechannel--listed-items"]["parameterType"] = "STRUCT"


def too_large(specification: dict[str, Any], platforms: dict[str, Any]) -> None:
    del platforms
    specification["pipelineInfo"]["description"] = "x" * LARGEST_BYTES


Change = Callable[[dict[str, Any], dict[str, Any]], None]
COMPUTING = ("exit-handler-1/distill", "exit-handler-1/evaluate", "exit-handler-1/synthesize")
FAULTS: dict[Change, tuple[str, ...]] = {
    without_access_modes: ("the workspace has no access modes, which the API server refuses",),
    unasked_workspace: ("a task works in the workspace, and the pipeline asks for none",),
    number_of_accelerators: tuple(
        f"{task}: its accelerator's resourceCount comes from pipelinechannel--accelerator_count, a number, which counts as none; make it a text"
        for task in COMPUTING
    ),
    no_quantity: tuple(
        f"{task}: its {what} is '3 gigabytes', which is not a quantity of Kubernetes"
        for task in COMPUTING
        for what in ("resourceMemoryRequest", "resourceMemoryLimit")
    ),
    list_as_selector: ("exit-handler-1/evaluate: its node selector comes from pipelinechannel--tolerations, a list; a mapping is needed",),
    missing_input: ("exit-handler-1/push: its input pipeline_run has neither a value nor a default",),
    too_large: ("has 1,",),
}
FAULTS_OF_LOOPS: dict[Change, tuple[str, ...]] = {
    not_handed_into_the_loop: ("for-loop-1/worked: its input pipelinechannel--count comes from pipelinechannel--count, which this level",),
    selector_not_handed_into_the_loop: ("for-loop-1/worked: its node selector comes from pipelinechannel--selector, which this level",),
    number_of_an_item: ("for-loop-1/worked: its input text is declared as a number and gets a text",),
    missing_artifact: ("for-loop-1/worked: its artifact table comes from pipelinechannel--listed-table, which this level of the pipeline was not",),
    loop_over_a_mapping: ("for-loop-1: it loops over a mapping; a list is needed",),
}


@pytest.mark.parametrize("pipeline", [committed, looping])
def test_a_pipeline_that_the_backend_can_run_breaks_no_rule(pipeline: Callable[[], Documents]) -> None:
    assert list(faults(pipeline())) == []


@pytest.mark.parametrize(
    ("pipeline", "change", "lines"),
    [(pipeline, change, lines) for pipeline, found in ((committed, FAULTS), (looping, FAULTS_OF_LOOPS)) for change, lines in found.items()],
    ids=[change.__name__ for change in (*FAULTS, *FAULTS_OF_LOOPS)],
)
def test_each_fault_is_one_line(pipeline: Callable[[], Documents], change: Change, lines: tuple[str, ...]) -> None:
    documents = copy.deepcopy(pipeline())
    change(*documents)
    found = list(faults(documents))
    assert len(found) == len(lines), found
    for fault, line in zip(found, lines, strict=True):
        assert fault.startswith(line)
        assert "\n" not in fault


@pytest.mark.parametrize("verb", ["submit", "upload"])
def test_a_faulty_file_is_not_sent_and_every_fault_is_told(verb: str, server: Server, command: Command, tmp_path: Path) -> None:
    documents = copy.deepcopy(committed())
    number_of_accelerators(*documents)
    (tmp_path / "faulty.yaml").write_text(yaml.dump_all(documents, Dumper=yaml.CSafeDumper), encoding="utf-8")
    places = PLACES if verb == "submit" else []
    code, out, err = command(verb, "--endpoint", server.address, "--pipeline", "faulty.yaml", *places)
    assert (code, out) == (2, "")
    lines = err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("asdfd: faulty.yaml: exit-handler-1/") for line in lines)
    assert (server.state.pipelines, server.state.runs) == ({}, {})


def test_a_file_that_only_begins_as_a_pipeline_is_told(command: Command, tmp_path: Path) -> None:
    (tmp_path / "half.yaml").write_text("pipelineInfo: {name: a}\nroot: {dag: {tasks: {a: {}}}}\n", encoding="utf-8")
    code, _, err = command("upload", "--endpoint", "http://localhost:1", "--pipeline", "half.yaml")
    assert code == 2
    assert err == "asdfd: half.yaml: is not a compiled pipeline; write one with `asdfd compile`\n"
