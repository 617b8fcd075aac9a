"""What a shell completes: verbs and options, which the parser knows, and values such as presets, parameters and what a registry in a folder holds.

The shell runs `asdfd` itself with `_ARGCOMPLETE` set whenever somebody presses the tabulator, so nothing is imported before it is needed.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from asdfd.base.errors import InputError
from asdfd.base.interruption import StopRequest
from asdfd.cli.options import Verbs, opened, read_parameters

SHELLS = ("bash", "zsh", "fish")
Complete = Callable[..., Iterable[str]]
"""Called with `parsed_args`, as far as the line was read, and more: every value that the shell may choose from."""
BEFORE = {"zsh": "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }\n"}
"""What a shell needs before the code: a new zsh has its completion not loaded yet."""


def add_verbs(verbs: Verbs) -> None:
    """Describe the verb of this module."""
    verb = verbs.add(completion, 'eval "$(asdfd completion bash)"', parameters=False)
    verb.add_argument("shell", metavar="SHELL", choices=SHELLS, help=f"{', '.join(SHELLS[:-1])} or {SHELLS[-1]}")


def completion(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """Print what makes a shell complete what is typed.

    Verbs, options, presets, parameters, and NAME@STAGE of a registry in a folder.

    bash, zsh   eval "$(asdfd completion bash)" in ~/.bashrc, or zsh in ~/.zshrc
    fish        asdfd completion fish | source, in ~/.config/fish/config.fish
    """
    del stop
    from argcomplete.shell_integration import shellcode

    code = BEFORE.get(arguments.shell, "") + shellcode(["asdfd"], shell=arguments.shell)
    if arguments.json:
        import json

        print(json.dumps({"shell": arguments.shell, "code": code}))
    else:
        print(code)


def is_asked() -> bool:
    """Whether this process is to complete a line for a shell, and not to do what it says."""
    return "_ARGCOMPLETE" in os.environ


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell and end the process."""
    import argcomplete

    _attach(parser)
    argcomplete.autocomplete(parser, always_complete_options="long")


def _attach(parser: argparse.ArgumentParser) -> None:
    """Tell argcomplete how the values of each argument are completed; where nothing is told, files are."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                if name != "init":  # its name is a new one
                    _attach(below)
        elif action.dest in VALUES:
            setattr(action, "completer", VALUES[action.dest])  # noqa: B010  # argcomplete reads an attribute that argparse does not know


def presets(**_: Any) -> Iterable[str]:
    """The presets."""
    from asdfd.base.loading import PRESETS

    return PRESETS


def settings(**_: Any) -> Iterable[str]:
    """The parameters, for --set, with the values of those that have a choice."""
    from asdfd.base.config import Run
    from asdfd.cli.presentation import parameter_descriptions

    for parameter in parameter_descriptions(Run()):
        yield from (f"{parameter['name']}={value}" for value in parameter["choices"] or ("",))


def formats(**_: Any) -> Iterable[str]:
    """The formats of an export."""
    return ("onnx", "int8")


def models(*, parsed_args: argparse.Namespace, **_: Any) -> Iterable[str]:
    """The models of a registry in a folder."""
    return [name for name, _ in _held(parsed_args)]


def stages(*, parsed_args: argparse.Namespace, **_: Any) -> Iterable[str]:
    """The stages that any model has, or the one that was named before."""
    wanted = getattr(parsed_args, "name", None) or (getattr(parsed_args, "which", None) or "").partition("@")[0]
    return sorted({stage for name, held in _held(parsed_args) for stage in held if wanted in ("", name)})


def versions(*, parsed_args: argparse.Namespace, **_: Any) -> Iterable[str]:
    """NAME@STAGE of a registry in a folder, and NAME@VERSION."""
    from asdfd.registry.versions import versions as versions_of

    found: list[str] = []
    with suppress(InputError):
        store = opened(read_parameters(parsed_args))
        for name, held in _held(parsed_args):
            found += [f"{name}@{each}" for each in (*held, *versions_of(store, name))]
    return found


def _held(arguments: argparse.Namespace) -> list[tuple[str, list[str]]]:
    """The models of the registry and their stages, where it is a folder: a server would be asked at every press of the key."""
    from asdfd.registry.listing import stages as stages_of
    from asdfd.registry.versions import names

    with suppress(InputError):
        run = read_parameters(arguments)
        if "://" not in run.registry.location:
            store = opened(run)
            return [(name, stages_of(store, name)) for name in names(store)]
    return []


VALUES: dict[str, Complete] = {
    "preset": presets,
    "set": settings,
    "format": formats,
    "name": models,
    "which": versions,
    "stage": stages,
    "to": stages,
}
"""How the values of an argument are completed, by the name that it has in the parsed line."""
