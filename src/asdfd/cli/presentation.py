"""What a command prints on stdout: a few lines for people, or one JSON object for machines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

from asdfd.base.artifacts import Artifact
from asdfd.base.config import Run
from asdfd.base.evidence import LABELLED, statement
from asdfd.base.figures import KEPT, PARAMETERS, SHARE, TEXTS_PER_SECOND, Figure, measured_roles, of_each_model, of_the_export, of_the_pair, read, role_title

Figures = list[tuple[str, str]]
"""What is worth knowing, by name, in the order it is shown."""


def result_json(step: str, made: Mapping[str, Artifact], out: Path, registered: Mapping[str, Any] | None = None, instead: str = "") -> str:
    """The result of a step as one line of JSON. `run` makes several artifacts: they are listed by their role, and the student counts as the result;
    `registered` tells where it is kept, `instead` is the command that registers the better choice, where there is one."""
    result = made["student"] if step == "run" else next(iter(made.values()))
    document: dict[str, Any] = {"step": step, **_described(result)}
    if step == "run":
        document |= {"out": str(out), "artifacts": {role: _described(artifact) for role, artifact in made.items()}, "registered": registered}
        document |= {"instead": instead or None}
    if measured := made.get("evaluation", made.get("export")):
        document["metrics"] = read_metrics(measured)
    return json.dumps(document)


def print_result(made: Mapping[str, Artifact]) -> None:
    """Show the artifacts of a step to people: path, digest and headline figures of each, and the table of an evaluation."""
    for artifact in made.values():
        rows = [(artifact.recipe.kind, str(artifact.path)), ("digest", artifact.digest), *figures(artifact)]
        print("\n".join(f"{name:<16}{value}" for name, value in rows), flush=True)
        if artifact.recipe.kind == "evaluation":
            print(rendered(metrics_table(read_metrics(artifact))), end="")
        elif len(made) > 1 and artifact.recipe.kind != "verdict":
            print()


def print_registered(registered: Mapping[str, Any] | None, instead: str) -> None:
    """Show people where a student that passed is registered, and the command that registers the better choice, where there is one."""
    if registered:
        print(f"{'registered':<16}{registered['name']} {registered['version']}, {registered['stage']}, in {registered['location']}")
    if instead:
        print(f"{'instead':<16}{instead}")


def figures(artifact: Artifact) -> Figures:
    """Headline figures of an artifact."""
    size = f"{sum(entry.bytes for entry in artifact.files.values()) / 1e6:,.2f} MB"
    config = artifact.recipe.config
    match artifact.recipe.kind:
        case "teacher":
            model = json.loads((artifact.path / "config.json").read_text(encoding="utf-8"))
            rows = [("model", f"{model['model_type']}, {len(model.get('id2label') or (0, 1))} classes"), ("size", size)]
            return [*rows, *_footprint(artifact)]
        case "student":
            rows = [("teacher layers", ", ".join(map(str, config["layer_map"]))), ("steps", f"{config['distillation']['steps']:,}"), ("size", size)]
            return [*rows, *_vocabulary(artifact)]
        case "bank":
            return [("samples", f"{config['samples']:,}"), ("size", size)]
        case "bank-shard":
            return [("shard", f"{config['shard']} of 0 to {config['shards'] - 1}"), ("size", size)]
        case "export":
            return _export_figures(artifact)
        case "verdict":
            verdict = json.loads((artifact.path / "verdict.json").read_text(encoding="utf-8"))
            return [
                ("gate", f"{'passes' if verdict['passed'] else 'rejects'} the {verdict['judged']}"),
                ("evidence", verdict["statement"]),
                *(("reason", reason) for reason in verdict["reasons"]),
                *(("warning", each) for each in verdict["warnings"]),
            ]
        case _:
            return _headline(artifact)


def _footprint(teacher: Artifact) -> Figures:
    """What a teacher reveals of its training texts, where its footprint was told."""
    from asdfd.steps.banks import footprint_facts

    facts = footprint_facts(teacher)
    if not facts:
        return []
    rows = [("reveals", f"which {facts['tokens_of_the_training_texts']:,} of {facts['tokens_of_the_vocabulary']:,} tokens its training texts held")]
    return rows + [("", f"that the longest were of {facts['positions_moved']} tokens, as far as it read them")] * bool(facts["positions_moved"])


def _vocabulary(student: Artifact) -> Figures:
    """How many of the teacher's tokens a student has, where it was to have fewer."""
    facts = json.loads((student.path / "distillation.json").read_text(encoding="utf-8")).get("vocabulary")
    return [("tokens", f"{facts['tokens']:,} of {facts['whole']:,}")] if facts else []


def _export_figures(artifact: Artifact) -> Figures:
    """Format and size of an export, and how it answers against its student."""
    export = read_metrics(artifact)
    if export["format"] == "none":
        return [("format", f"none: {export['reason']}")]
    size = f"{export['export_bytes'] / 1e6:,.2f} MB, {export['compression']:.2f} times smaller than the {export['source']}"
    rows = [("format", f"{export['format']}, opset {export['opset']}"), ("size", size)]
    for where, parity in export["parity"].items():
        on = f"on {parity['rows']:,} {where.replace('_text', ' texts').replace('_', ' ')}"
        rows.append(("parity", f"{parity['agreement']:.4f} {on}, largest difference of a probability {parity['largest_probability_difference']:.3g}"))
        if where == LABELLED:
            rows.append(("accuracy", f"{parity['export_accuracy']:.4f}, the student's is {parity['student_accuracy']:.4f}"))
    return rows


def _headline(artifact: Artifact) -> Figures:
    """The headline of an evaluation, and what it was measured on."""
    metrics = read_metrics(artifact)
    data = [("data", metrics["data"]["name"])] if "name" in metrics["data"] else []
    return [*data, ("evidence", statement(metrics)), ("report", str(artifact.path / "report.html"))]


def read_metrics(artifact: Artifact) -> dict[str, Any]:
    """The figures of an evaluation or an export."""
    name = "export.json" if artifact.recipe.kind == "export" else "metrics.json"
    return json.loads((artifact.path / name).read_text(encoding="utf-8"))


def metrics_table(metrics: Mapping[str, Any]) -> Table:
    """Teacher, its int8, student and export side by side, those that there are, and what is measured of the pair."""
    roles = measured_roles(metrics)
    table = Table("", *(Column(role_title(role, metrics), justify="right") for role in roles), box=SIMPLE_HEAD)
    for figure in of_each_model(metrics):
        values = [figure.unit.exact.format(metrics[name]) if name in metrics else "" for name in map(figure.of_role, roles)]
        table.add_row(_row(figure, metrics), *values)
    for figure in of_the_export(metrics):
        table.add_row(_row(figure, metrics), *("" for _ in roles[1:]), figure.unit.exact.format(metrics[figure.name]))
    for figure in of_the_pair(metrics):
        missing, write = metrics.get(f"{figure.name}_missing", ""), figure.unit.exact.format
        has = {role: metrics.get(figure.of_role(role)) is not None for role in roles[1:]}
        table.add_row(_row(figure, metrics), "", *(read(figure, metrics, role, write) if there else missing for role, there in has.items()))
    return table


def _row(figure: Figure, metrics: Mapping[str, Any]) -> str:
    """How a row of a figure is called; the unit is named where it cannot be seen."""
    title = figure.titled(metrics)
    return title if figure.unit in (SHARE, KEPT, PARAMETERS, TEXTS_PER_SECOND) else f"{title}, {figure.unit.name}"


def parameter_descriptions(run: Run) -> Iterator[dict[str, Any]]:
    """Name, value in `run`, choices (None where any value of the type will do) and description of every parameter."""
    return _descriptions(run, "")


def _descriptions(model: BaseModel, prefix: str) -> Iterator[dict[str, Any]]:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _descriptions(value, f"{prefix}{name}.")
            continue
        choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else None
        yield {"name": f"{prefix}{name}", "value": value, "choices": choices, "description": field.description}


def print_descriptions(run: Run) -> None:
    """Show every parameter to people: name, value in `run` and description."""
    described = list(parameter_descriptions(run))
    table = Table(box=SIMPLE_HEAD)
    table.add_column("parameter", min_width=max(len(parameter["name"]) for parameter in described))  # a name that is cut off can be given to nobody
    table.add_column("value", overflow="fold")
    table.add_column("description", overflow="fold")
    for parameter in described:
        choices = f" One of {', '.join(parameter['choices'])}." if parameter["choices"] else ""
        value = parameter["value"]
        table.add_row(parameter["name"], repr(value) if value == "" else str(value), f"{parameter['description']}{choices}")
    print(rendered(table), end="")


def rendered(table: Table) -> str:
    """A table as text for the terminal at hand. It is printed by ourselves, since rich would end the process where the reader of a pipe has gone."""
    console = Console(highlight=False, markup=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def _described(artifact: Artifact) -> dict[str, str]:
    return {"path": str(artifact.path), "kind": artifact.recipe.kind, "digest": artifact.digest}
