"""The parameters of a run as the flat form that the pipeline shows: `distillation.steps` is `distillation_steps` there, and means the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from asdfd.base.config import Run, validate
from asdfd.base.errors import InputError

LARGEST_WHOLE_NUMBER = 2**53
"""Kubeflow carries every number as a double, which counts one by one up to here."""


@dataclass(frozen=True)
class Field:
    """A parameter of the pipeline."""

    name: str
    """Its name in the form."""
    path: tuple[str, ...]
    """Where it stands in a params.yaml."""
    type: type
    """str, int, float or bool."""
    default: Any
    description: str


@cache
def fields() -> tuple[Field, ...]:
    """Every parameter of a run, in the order of params.yaml."""
    return tuple(_fields(Run(), ()))


def _fields(model: BaseModel, path: tuple[str, ...]) -> Iterator[Field]:
    for name, info in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _fields(value, (*path, name))
            continue
        choices = f" One of {', '.join(get_args(info.annotation))}." if isinstance(value, str) and get_origin(info.annotation) is not None else ""
        yield Field("_".join((*path, name)), (*path, name), type(value), value, f"{info.description}{choices}")


def arguments(run: Run) -> dict[str, Any]:
    """The values of a run by their names in the form.

    Raises:
        InputError: a whole number that Kubeflow would round.
    """
    values = {}
    for field in fields():
        value: Any = run
        for part in field.path:
            value = getattr(value, part)
        if field.type is int and value > LARGEST_WHOLE_NUMBER:
            raise InputError(f"{'.'.join(field.path)}: {value} is above 2^53, and Kubeflow would round it; take a smaller one")
        values[field.name] = value
    return values


def run_of(values: Mapping[str, Any]) -> Run:
    """The run that a filled-in form describes; `values` holds every field.

    Raises:
        InputError: a value that is out of its range; the line names the parameter.
    """
    tree: dict[str, Any] = {}
    for field in fields():
        section = tree
        for part in field.path[:-1]:
            section = section.setdefault(part, {})
        section[field.path[-1]] = values[field.name]
    return validate(tree, [("the run's parameters", tree)])
