"""A compiled pipeline by the rules of Kubeflow's backend: what its API server would refuse, or its drivers would stumble over in the middle of a run.

The compiler asks none of this. The rules are those of Kubeflow Pipelines 2.17 (in backend/src/v2: driver/resolve.go, driver/driver.go, driver/k8s.go and
compiler/argocompiler): a level of the pipeline (a DAG) knows only what the task that calls it was given; a text can be made of any value, every other type must
match; what names resources is read as a text; items of a loop have the type that the loop's level declares.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LARGEST_BYTES = 1_500_000
"""Most bytes of a pipeline, which Argo keeps whole in one object: etcd takes 1.5 MiB with all that is around it."""
PLACEHOLDER = re.compile(r"\{\{\$\.inputs\.parameters\['(.+?)'\]\}\}")
WORKSPACE = "{{$.workspace_path}}"
QUANTITY = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|n|u)?")
RESOURCES = ("resourceCpuRequest", "resourceCpuLimit", "resourceMemoryRequest", "resourceMemoryLimit")
ALIKE = {"NUMBER_DOUBLE": "number", "NUMBER_INTEGER": "number", "STRUCT": "mapping", "TASK_FINAL_STATUS": "mapping", "BOOLEAN": "boolean", "LIST": "list"}
"""Types that the backend tells apart by their value alone, as people call them; STRING takes every value."""


@dataclass(frozen=True)
class Value:
    """What is known of a parameter before a run."""

    type: str
    content: Any = None
    """The value, where it is known: a constant or a default."""


def faults(documents: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The rules that a compiled pipeline breaks, each in one line: where, what, and what to do."""
    specification, platforms = documents[0], documents[1] if len(documents) > 1 else {}
    kubernetes = platforms.get("platforms", {}).get("kubernetes", {})
    size = len(json.dumps(documents).encode())
    if size > LARGEST_BYTES:
        yield f"has {size:,} bytes, and etcd takes {LARGEST_BYTES:,} of them at most; make fewer tasks of it"
    yield from _workspace_faults(specification, kubernetes)
    given = {name: Value(each["parameterType"], each.get("defaultValue")) for name, each in _parameters(specification["root"]).items()}
    yield from _Walk(specification, kubernetes).level(specification["root"], given, set(), ())


def _workspace_faults(specification: Mapping[str, Any], kubernetes: Mapping[str, Any]) -> Iterator[str]:
    """A workspace is a claim, and a claim says how it may be mounted."""
    workspace = kubernetes.get("pipelineConfig", {}).get("workspace")
    if workspace is None and WORKSPACE in json.dumps(specification):
        yield "a task works in the workspace, and the pipeline asks for none; name its size in the pipeline's config"
    if workspace is not None and not workspace.get("kubernetes", {}).get("pvcSpecPatch", {}).get("accessModes"):
        yield "the workspace has no access modes, which the API server refuses; name them in its pvcSpecPatch, or do without a workspace"


class _Walk:
    """The levels of a pipeline, as the drivers go through them."""

    def __init__(self, specification: Mapping[str, Any], kubernetes: Mapping[str, Any]) -> None:
        self._components: Mapping[str, Any] = specification.get("components", {})
        self._executors: Mapping[str, Any] = specification.get("deploymentSpec", {}).get("executors", {})
        self._platform: Mapping[str, Any] = kubernetes.get("deploymentSpec", {}).get("executors", {})

    def level(self, component: Mapping[str, Any], given: Mapping[str, Value], artifacts: set[str], path: tuple[str, ...]) -> Iterator[str]:
        """The faults of a level whose caller gave it these parameters and artifacts."""
        tasks = component["dag"]["tasks"]
        for name, task in tasks.items():
            where = "/".join((*path, name))
            called = self._components[task["componentRef"]["name"]]
            inputs: dict[str, Value | None] = {}
            for each, source in task.get("inputs", {}).get("parameters", {}).items():
                value = self._resolved(source, given, tasks)
                if isinstance(value, str):
                    yield f"{where}: its input {each} comes from {value}, which this level of the pipeline was not given; make it an input of one of its tasks"
                inputs[each] = None if isinstance(value, str) else value
            taken = task.get("inputs", {}).get("artifacts", {})
            for each, source in taken.items():
                if (wanted := source.get("componentInputArtifact")) and wanted not in artifacts:
                    yield f"{where}: its artifact {each} comes from {wanted}, which this level of the pipeline was not given"
            yield from self._called(called, task, inputs, (set(taken), given), where)

    def _called(
        self, called: Mapping[str, Any], task: Mapping[str, Any], inputs: dict[str, Value | None], around: tuple[set[str], Mapping[str, Value]], where: str
    ) -> Iterator[str]:
        """The faults of what a task calls, with its inputs."""
        artifacts, given = around
        if "artifactIterator" in task:
            yield f"{where}: it loops over artifacts, which the backend cannot; loop over parameters"
        iterator = task.get("parameterIterator")
        if iterator:
            declared = _parameters(called)[iterator["itemInput"]]["parameterType"]
            items = inputs.pop(iterator["items"].get("inputParameter", ""), None)
            if items is not None and items.type not in ("LIST", "STRING"):
                yield f"{where}: it loops over a {_word(items.type)}; a list is needed"
            inputs[iterator["itemInput"]] = Value(declared)
        over = iterator["items"].get("inputParameter", "") if iterator else ""
        yield from self._type_faults(called, inputs, over, where)
        if "dag" in called:
            yield from self.level(called, _as_declared(called, inputs), artifacts, tuple(where.split("/")))
        else:
            label = called["executorLabel"]
            container = self._executors[label].get("container", {})
            yield from _resource_faults(container.get("resources", {}), inputs, where)
            yield from _platform_faults(self._platform.get(label, {}), given, where)

    def _resolved(self, source: Mapping[str, Any], given: Mapping[str, Value], tasks: Mapping[str, Any]) -> Value | str:
        """Where a parameter comes from: what is known of it, or the name that is not there."""
        if wanted := source.get("componentInputParameter"):
            return given.get(wanted, wanted)
        if output := source.get("taskOutputParameter"):
            producer = self._components[tasks[output["producerTask"]]["componentRef"]["name"]]
            outputs = producer.get("outputDefinitions", {}).get("parameters", {})
            return Value(outputs[output["outputParameterKey"]]["parameterType"])
        if "taskFinalStatus" in source:
            return Value("TASK_FINAL_STATUS")
        constant = source.get("runtimeValue", {}).get("constant")
        return Value(_type_of(constant), constant)

    def _type_faults(self, called: Mapping[str, Any], inputs: Mapping[str, Value | None], over: str, where: str) -> Iterator[str]:
        """Inputs that are missing, or of another type than the one that is declared."""
        for name, declared in _parameters(called).items():
            value, wanted = inputs.get(name), declared["parameterType"]
            if value is None:
                if name not in (over, *inputs) and not declared.get("isOptional") and "defaultValue" not in declared:
                    yield f"{where}: its input {name} has neither a value nor a default"
            elif wanted != "STRING" and ALIKE.get(wanted, wanted) != ALIKE.get(value.type, value.type):
                yield f"{where}: its input {name} is declared as a {_word(wanted)} and gets a {_word(value.type)}; declare what it gets"


def _resource_faults(resources: Mapping[str, Any], inputs: Mapping[str, Value | None], where: str) -> Iterator[str]:
    """What a pod asks for: each is read as a text, and a value of another type counts as none. An input that is None was told already."""
    accelerator = resources.get("accelerator", {})
    wanted = {name: resources[name] for name in RESOURCES if name in resources}
    wanted |= {f"accelerator's {name}": accelerator[name] for name in ("resourceType", "resourceCount") if name in accelerator}
    for what, text in wanted.items():
        known: Any = text
        if match := PLACEHOLDER.fullmatch(text):
            value = inputs.get(match[1])
            if value is None or value.type != "STRING":
                if match[1] not in inputs:
                    yield f"{where}: its {what} comes from {match[1]}, which is not an input of it"
                elif value is not None:
                    yield f"{where}: its {what} comes from {match[1]}, a {_word(value.type)}, which counts as none; make it a text"
                continue
            known = value.content
        if known is not None and not what.endswith("resourceType") and not QUANTITY.fullmatch(str(known)):
            yield f"{where}: its {what} is {known!r}, which is not a quantity of Kubernetes; write it as 2, 500m or 4Gi"


def _platform_faults(platform: Mapping[str, Any], given: Mapping[str, Value], where: str) -> Iterator[str]:
    """Where a pod runs: these are looked up in the level, and not among the task's inputs."""
    sources = [("node selector", platform.get("nodeSelector", {}).get("nodeSelectorJson"), ("STRUCT",))]
    sources += [("toleration", each.get("tolerationJson"), ("STRUCT", "LIST")) for each in platform.get("tolerations", [])]
    for what, source, types in sources:
        wanted = (source or {}).get("componentInputParameter")
        if wanted and wanted not in given:
            yield f"{where}: its {what} comes from {wanted}, which this level of the pipeline was not given; make it an input of one of its tasks"
        elif wanted and given[wanted].type not in types:
            yield f"{where}: its {what} comes from {wanted}, a {_word(given[wanted].type)}; {' or '.join(f'a {_word(each)}' for each in types)} is needed"


def _parameters(component: Mapping[str, Any]) -> Mapping[str, Any]:
    return component.get("inputDefinitions", {}).get("parameters", {})


def _as_declared(component: Mapping[str, Any], inputs: Mapping[str, Value | None]) -> dict[str, Value]:
    """What a level hands on: a value that is declared as a text has become one."""
    texts = {name for name, declared in _parameters(component).items() if declared["parameterType"] == "STRING"}
    return {name: Value("STRING", value.content) if name in texts else value for name, value in inputs.items() if value is not None}


def _type_of(constant: Any) -> str:
    kinds = ((bool, "BOOLEAN"), (str, "STRING"), (int | float, "NUMBER_DOUBLE"), (list, "LIST"), (dict, "STRUCT"))
    return next((name for kind, name in kinds if isinstance(constant, kind)), "null")


def _word(type_name: str) -> str:
    return "text" if type_name == "STRING" else ALIKE.get(type_name, type_name)
