"""The verb that begins a repository of one's own: `init`."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from asdfd.base.errors import InputError
from asdfd.base.interruption import StopRequest
from asdfd.cli.options import Verbs, add_data, add_reference, add_registry, read_parameters, tell

if TYPE_CHECKING:
    from asdfd.base.config import Run


def add_verbs(verbs: Verbs) -> None:
    """Describe the verb of this module."""
    verb = verbs.add(init, "asdfd init support-desk --teacher hf://organisation/name@revision --data data/test.csv")
    verb.add_argument("name", metavar="NAME", help="what the model is called in the registry")
    add_reference(verb)
    add_data(verb)
    add_registry(verb)
    verb.add_argument("--out", metavar="DIR", type=Path, default=Path(), help="folder of the repository (default: the one where you are)")


def init(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """Write what a repository of your own needs to compress a model: parameters, stages, promotion.

    params.yaml, dvc.yaml, models/NAME.yaml and README.md (models/README.md where there is a
    README.md) are written; nothing is overwritten. --data names the texts that judge the
    student, with labels or without; without it, its fidelity is predicted.
    """
    from asdfd.registry.records import checked_name

    del stop
    name = checked_name(arguments.name, "model")
    run = read_parameters(arguments)
    if not run.teacher.reference:
        raise InputError("init: name the teacher with --teacher")
    run = run.changed(registry=run.registry.changed(name=name))
    readme = "models/README.md" if (arguments.out / "README.md").exists() else "README.md"
    texts = project_files(run, arguments.out, readme)
    write_new(arguments.out, texts)
    line = f"{', '.join(texts)} written to {arguments.out}; {readme} tells the three commands that follow"
    tell(arguments, {"written": [str(arguments.out / path) for path in texts]}, line)


def project_files(run: Run, folder: Path, readme: str) -> dict[str, str]:
    """The files of a repository that compresses and promotes the model of `run`: their texts by path below `folder`, where references to files start."""
    from asdfd.base.loading import dump_yaml
    from asdfd.base.templating import environment

    name, data, reference = run.registry.name, run.evaluation.data, run.teacher.reference
    local = {path: path if path and "://" not in path and (folder / path).exists() else "" for path in (data, reference)}
    facts = {"name": name, "data": data, "data_path": local[data], "teacher_path": local[reference]}
    templates = {"dvc.yaml": "dvc.yaml.j2", f"models/{name}.yaml": "wanted.yaml.j2", readme: "project.md.j2"}
    return {"params.yaml": dump_yaml(run), **{path: environment().get_template(template).render(facts) for path, template in templates.items()}}


def write_new(folder: Path, texts: dict[str, str]) -> None:
    """Write files that are not there yet, all of them or none.

    Raises:
        InputError: one of them is there.
    """
    there = [path for path in texts if (folder / path).exists() or (folder / path).is_symlink()]
    if there:
        raise InputError(f"init: {', '.join(there)} in {folder} would be overwritten; name another folder with --out, or take it away")
    with contextlib.ExitStack() as undo:
        for path, text in texts.items():
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("x", encoding="utf-8") as stream:
                undo.callback(place.unlink)
                stream.write(text)
        undo.pop_all()
