"""What a task is given of a run's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from asdfd.base.config import Frozen, Run
from asdfd.base.errors import InputError


def part_of_run(tree: Mapping[str, Any]) -> Run:
    """The parameters of a task that is given some of a run's only. What the tree does not name is not there: a step that reads it fails with an AttributeError,
    and does not go by a default that nobody chose. What sections say together was checked when they were one run.

    Raises:
        InputError: an unknown name, or a value that does not fit.
    """
    unknown = [name for name in tree if name not in Run.model_fields]
    if unknown:
        raise InputError(f"the parameters of the task: {unknown[0]} is not a section of a run")
    try:
        given = {name: _field(name).validate_python(value) for name, value in tree.items()}
    except ValidationError as error:
        raise InputError(f"the parameters of the task: {error.errors()[0]['msg']}") from None
    run = Run.model_construct(**given)
    for part in (run, *(value for value in given.values() if isinstance(value, Frozen))):
        for name in type(part).model_fields.keys() - part.model_fields_set:
            vars(part).pop(name)
    return run


def _field(name: str) -> TypeAdapter[Any]:
    """What a field of a run may hold."""
    field = Run.model_fields[name]
    allowed: Any = Annotated[field.annotation, Field(), *field.metadata]  # pyright: ignore[reportInvalidTypeForm]  # known when it runs only
    return TypeAdapter(allowed)
