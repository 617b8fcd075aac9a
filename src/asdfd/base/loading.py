"""A run's parameters from a preset, a params.yaml and --set, in that order; what is wrong with them is one line that names where it came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from asdfd.base.config import Run
from asdfd.base.errors import InputError

DEFAULT_PRESET = "default"
REMOVED = {
    "synthesis.shards": "one task makes the whole bank; leave it out, and divide a bank over machines with `asdfd synthesize --shard N/COUNT`",
}
"""Parameters of earlier versions that files of theirs may still name: what to do about each."""
PRESETS = (DEFAULT_PRESET, "guessing", "paper", "quick")


def load_run(preset: str = DEFAULT_PRESET, params: Path | None = None, settings: Sequence[str] = ()) -> Run:
    """The run's parameters: a preset, changed by a params file, changed by `section.name=value` settings.

    Raises:
        InputError: a file that cannot be read, an unknown name, a value out of its range; the line names the field and the remedy.
    """
    tree = preset_values(preset)
    changes = [] if params is None else [(str(params), _read_yaml(params))]
    changes += [(f"--set {setting}", _parse_setting(setting)) for setting in settings]
    for source, change in changes:
        merge(tree, change, source)
    return validate(tree, changes or [(f"preset {preset}", {})])


def preset_values(preset: str) -> dict[str, Any]:
    """A preset as a tree of plain values: the models' defaults changed by presets/<preset>.yaml.

    Raises:
        InputError: an unknown preset.
    """
    if preset not in PRESETS:
        raise InputError(f"preset {preset!r} is unknown; {did_you_mean(preset, PRESETS)}choose one of {', '.join(PRESETS)}")
    tree = Run().model_dump(mode="json")
    path = Path(__file__).parent / "presets" / f"{preset}.yaml"
    if preset != DEFAULT_PRESET:
        merge(tree, _read_yaml(path), str(path))
    return tree


def merge(tree: dict[str, Any], changes: Any, source: str) -> None:
    """Write `changes` into `tree` in place; a name that `tree` does not have is an InputError."""
    if not isinstance(changes, dict):
        raise InputError(f"{source}: a mapping of parameters is needed, found {type(changes).__name__}; `asdfd params` prints the form")
    _merge(tree, changes, source, "")


def _merge(tree: dict[str, Any], changes: dict[Any, Any], source: str, prefix: str) -> None:
    for name, value in changes.items():
        full = f"{prefix}{name}"
        if full in REMOVED:
            raise InputError(f"{source}: {full} is no parameter any more: {REMOVED[full]}")
        if name not in tree:
            elsewhere = [each for each in _leaves(Run().model_dump(mode="json")) if each.rpartition(".")[2] == name]
            meant = did_you_mean(str(name), tree, prefix) or "".join(f"did you mean {each}? " for each in elsewhere[:1])
            raise InputError(f"{source}: {full} is not a parameter; {meant}{'choose among' if prefix else 'sections are'} {', '.join(tree)}")
        if isinstance(tree[name], dict):
            if not isinstance(value, dict):
                raise InputError(f"{source}: {full} is a section, not a value; write {full}.NAME=value")
            _merge(tree[name], value, source, f"{full}.")
        elif isinstance(value, dict):
            raise InputError(f"{source}: {full} is a value, not a section")
        else:
            tree[name] = value


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """The full name of every parameter of a tree."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """A question that names the nearest of the known names; empty where none is near."""
    return "".join(f"did you mean {prefix}{each}? " for each in get_close_matches(name, list(known), n=1))


def validate(tree: dict[str, Any], changes: Sequence[tuple[str, Any]]) -> Run:
    """The run that a tree of plain values describes; the first violation becomes one InputError line.

    `changes` are what was merged into the tree, each with the name of its source: the line names the one that the wrong value came from.
    """
    try:
        return Run.model_validate(tree)
    except ValidationError as error:
        place = error.errors()[0]["loc"]
        source = next((source for source, change in reversed(changes) if _names(change, place)), changes[-1][0])
        raise InputError(f"{source}: {violation(error)}") from None


def violation(error: ValidationError) -> str:
    """The first violation in words: the parameter, what is wrong with it, and what was found there."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    got = "" if isinstance(first["input"], dict) else f", got {first['input']!r}"
    about = f"{name}: " if name else ""  # what sections say together names its parameters itself
    return f"{about}{message[:1].lower()}{message[1:]}{got}"


def with_settings(run: Run, changes: Mapping[str, Any], source: str) -> Run:
    """The run with what `changes`, a tree in the form of params.yaml, names replaced; `source` says in an error where that was asked for.

    Raises:
        InputError: an unknown name, or a value that does not fit; the line names the parameter.
    """
    tree = run.model_dump(mode="json")
    merge(tree, changes, source)
    return validate(tree, [(source, changes)])


def dump_yaml(run: Run) -> str:
    """The run as the text of a params.yaml."""
    return yaml.safe_dump(run.model_dump(mode="json"), sort_keys=False)  # escapes what is not ASCII: PyYAML loses some line breaks of Unicode as they are


def _names(change: Any, location: Sequence[int | str]) -> bool:
    """Whether a change names the parameter or section at a location."""
    for part in location:
        if not isinstance(change, dict) or part not in change:
            return False
        change = change[part]
    return True


def _parse_setting(setting: str) -> dict[str, Any]:
    """`section.name=value` as a tree with one leaf."""
    name, separator, text = setting.partition("=")
    if not separator or not name:
        raise InputError(f"--set {setting}: write it as section.name=value, for example --set distillation.steps=200")
    value = _parse_value(text, f"--set {setting}")
    for part in reversed(name.split(".")):
        value = {part: value}
    return value


def _parse_value(text: str, source: str) -> Any:
    """A setting's value: YAML, except that a list such as 1,3,5 and numbers such as 4e-4 mean what they look like."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise InputError(f"{source}: the value cannot be read as YAML; quote it") from None
    if isinstance(value, str):
        try:
            return float(value)  # YAML 1.1 reads 4e-4 as text
        except ValueError:
            return value
    return value


def _read_yaml(path: Path) -> Any:
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name a params file, or leave --params out for the preset") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise InputError(f"{path}: is not valid YAML{where}; compare it with what `asdfd params` prints") from None
    return {} if value is None else value
