"""The run form: what a person fills in to start a run in a cluster, the parameters of the run that it describes, and the way back.

Seven of its fields say what is made; `settings` holds whatever else differs from the preset, in the form of params.yaml. The others say where the tasks run and
change nothing of the result. The pipeline has these fields as its parameters, and a schedule names them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from asdfd.base.config import Frozen, Registry, Run, Seed
from asdfd.base.errors import InputError
from asdfd.base.loading import DEFAULT_PRESET, did_you_mean, merge, preset_values, validate, violation

LARGEST_WHOLE_NUMBER = 2**53
"""Kubeflow carries every number as a double, which counts one by one up to here."""
OWN_FIELDS: Mapping[str, tuple[str, ...]] = {
    "teacher": ("teacher", "reference"),
    "data": ("evaluation", "data"),
    "name": ("registry", "name"),
    "registry": ("registry", "location"),
    "seed": ("seed",),
}
"""Parameters that have a field of their own, and where they stand in a params.yaml."""


def _text(value: Any) -> Any:
    """A number as the text that Kubernetes reads: the driver of Kubeflow takes sizes and counts as texts only."""
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else value


def _quantity(value: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?", value):
        raise ValueError("a size as Kubernetes writes it is needed, such as 2, 500m or 4Gi")
    return value


def _count(value: str) -> str:
    if not re.fullmatch(r"\d+", value):
        raise ValueError("a whole number is needed, 0 for none")
    return value


Quantity = Annotated[str, BeforeValidator(_text), AfterValidator(_quantity)]


def _whole_numbers(value: Any) -> Any:
    """A tree whose numbers came as doubles, with whole ones as integers again."""
    if isinstance(value, dict):
        return {name: _whole_numbers(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(entry) for entry in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


Tree = Annotated[dict[str, Any], AfterValidator(_whole_numbers)]


class Toleration(Frozen):
    """A taint of nodes that does not hinder, as Kubernetes writes it."""

    key: str = ""
    operator: Literal["Exists", "Equal"] = "Equal"
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    tolerationSeconds: int | None = None  # noqa: N815  # Kubernetes' own name


class Form(Frozen):
    """The fields of the run form. A field's docstring is what Kubeflow's user interface shows beside it."""

    teacher: str
    """Which model is compressed: hf://organisation/name@revision or s3://bucket/prefix."""
    registry: str
    """Where students that pass are kept: s3://bucket/prefix."""
    data: str = Run().evaluation.data
    """Texts that the student is evaluated on, with labels or without: a file s3://bucket/key, or hf://organisation/name. Empty predicts its fidelity."""
    name: str = Registry().name
    """Name of the model in the registry."""
    preset: str = DEFAULT_PRESET
    """Parameters to start from: default, quick (minutes), guessing, or paper."""
    settings: Tree = Field(default={})
    """What differs from the preset, in the form of params.yaml, for example {"distillation": {"steps": 4000}, "gate": {"largest_drop": 1}}."""
    seed: Seed = Run().seed
    """Seed of everything that is drawn."""
    fresh: bool = False
    """Do everything again, whatever Kubeflow's cache holds."""
    accelerator_type: str = "nvidia.com/gpu"
    """Kubernetes' name of the accelerator that synthesis, distillation and evaluation run on."""
    accelerator_count: Annotated[str, BeforeValidator(_text), AfterValidator(_count)] = "0"
    """Accelerators of each of these tasks; 0 runs them on a processor."""
    node_selector: dict[str, str] = Field(default={})
    """Labels of the nodes that these tasks may run on, for example {"pool": "gpu"}."""
    tolerations: list[dict[str, Any]] = Field(default=[])
    """Taints that these tasks tolerate, for example [{"key": "nvidia.com/gpu", "operator": "Exists"}]."""
    cpu: Quantity = "500m"
    """Processors that each of these tasks asks for; more are used where they are free. 0 asks for none."""
    memory: Quantity = "3Gi"
    """Memory that each of these tasks asks for and may use. 0 asks for none and sets no limit."""


CLUSTER_FIELDS = ("accelerator_type", "accelerator_count", "node_selector", "tolerations", "cpu", "memory")
"""Fields that say where tasks run and change nothing of the result."""


def read_form(values: Mapping[str, Any], source: str) -> Form:
    """The form that was filled in with `values`.

    Raises:
        InputError: an unknown field, one that is missing or of another form; the line names `source` and the field.
    """
    for name in values:
        if name not in Form.model_fields:
            raise InputError(
                f"{source}: {name} is not a field of the run form; {did_you_mean(name, Form.model_fields)}its fields are {', '.join(Form.model_fields)}"
            )
    try:
        form = Form.model_validate(dict(values))
    except ValidationError as error:
        raise InputError(f"{source}: {violation(error)}") from None
    for toleration in form.tolerations:
        try:
            Toleration.model_validate(_whole_numbers(toleration))
        except ValidationError as error:
            raise InputError(f"{source}: tolerations: {violation(error)}; write them as Kubernetes does, with key, operator, value and effect") from None
    return form


def run_of(form: Form, source: str) -> Run:
    """The run that a form describes: its preset, changed by its settings and by its own fields.

    Raises:
        InputError: an unknown preset or parameter, or a value out of its range; the line names `source` and the parameter.
    """
    tree = preset_values(form.preset)
    for field, path in OWN_FIELDS.items():
        if _at(form.settings, path) is not None:
            raise InputError(f"{source}: settings: {'.'.join(path)} is the field {field} of the form; name it there")
    named: dict[str, Any] = {}
    for field, path in OWN_FIELDS.items():
        _put(named, path, getattr(form, field))
    changes = [(f"{source}: settings", form.settings), (source, named)]
    for where, change in changes:
        merge(tree, change, where)
    return validate(tree, changes)


def filled_in(run: Run, preset: str = DEFAULT_PRESET) -> dict[str, Any]:
    """The fields that describe a run: its own ones, and in `settings` the least that makes it out of the preset.

    Raises:
        InputError: a whole number that Kubeflow would round.
    """
    tree = run.model_dump(mode="json")
    _check_numbers(tree, "")
    settings = _difference(tree, preset_values(preset))
    values: dict[str, Any] = {}
    for field, path in OWN_FIELDS.items():
        values[field] = _at(tree, path)
        _take_out(settings, path)
    return values | {"preset": preset, "settings": settings}


def _check_numbers(tree: Mapping[str, Any], prefix: str) -> None:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            _check_numbers(value, f"{prefix}{name}.")
        elif isinstance(value, int) and value > LARGEST_WHOLE_NUMBER:
            raise InputError(f"{prefix}{name}: {value} is above 2^53, and Kubeflow would round it; take a smaller one")


def _difference(tree: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """What of `tree` is not as in `base`, which has the same names."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            if inner := _difference(value, base[name]):
                found[name] = inner
        elif value != base[name]:
            found[name] = value
    return found


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    """The value at a path, or None where there is none."""
    for part in path:
        if not isinstance(tree, Mapping) or part not in tree:
            return None
        tree = tree[part]
    return tree


def _put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = value


def _take_out(tree: dict[str, Any], path: tuple[str, ...]) -> None:
    """Remove the value at a path, if it is there, and the section that it leaves empty."""
    if len(path) > 1 and path[0] in tree:
        _take_out(tree[path[0]], path[1:])
        if not tree[path[0]]:
            del tree[path[0]]
    elif len(path) == 1:
        tree.pop(path[0], None)
