"""The form of the pipeline is the parameters of a run, and the plan gives each task the ones that concern it."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from asdfd.base.config import PRESETS, Run, load_run
from asdfd.base.errors import InputError
from asdfd.base.run_form import arguments, fields, run_of
from asdfd.cli.presentation import parameter_descriptions
from asdfd.steps.planning import Plan, plan, source_state

ROOT = Path(__file__).resolve().parents[2]
TYPES = {"NUMBER_INTEGER": int, "NUMBER_DOUBLE": float, "BOOLEAN": bool, "STRING": str}


def test_form_file_command_line_and_compiled_pipeline_have_the_same_parameters() -> None:
    """Names, types, defaults and descriptions; params.yaml, `asdfd params --describe` and the form that Kubeflow shows."""
    compiled = next(yaml.safe_load_all((ROOT / "pipelines" / "compress.yaml").read_text(encoding="utf-8")))["root"]["inputDefinitions"]["parameters"]
    in_file = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    described = {each["name"]: each for each in parameter_descriptions(Run())}
    assert len(fields()) > 50
    assert [".".join(field.path) for field in fields()] == list(described)
    for field in fields():
        value = in_file
        for part in field.path:
            value = value[part]
        shown = compiled.pop(field.name)
        told = described[".".join(field.path)]
        assert (field.default, TYPES[shown["parameterType"]]) == (value, field.type)
        assert shown.get("defaultValue", "") == value == told["value"]
        assert field.description.startswith(told["description"])
        assert all(choice in field.description for choice in told["choices"] or ())
        assert shown["description"] == field.description
        assert shown["isOptional"]
    assert set(compiled) == {"accelerator_type", "accelerator_count", "node_selector", "tolerations"}
    assert all(len(parameter["description"]) > 20 for parameter in compiled.values())


@pytest.mark.parametrize("preset", PRESETS)
def test_a_filled_in_form_is_the_run_it_came_from(preset: str) -> None:
    run = load_run(preset, settings=["teacher.reference=models/a b", "seed=9007199254740992", "student.layers=1,3"])
    assert run_of(arguments(run)) == run


def test_a_whole_number_that_kubeflow_would_round_is_refused() -> None:
    with pytest.raises(InputError, match=r"^seed: 9007199254740993 is above 2\^53"):
        arguments(load_run(settings=["seed=9007199254740993"]))


def planned(*settings: str) -> Plan:
    """The plan of a run."""
    return plan("run-1", arguments(load_run(settings=["teacher.reference=hf://a/b@main", *settings])))


def test_a_wrong_value_of_the_form_is_told_with_its_name() -> None:
    with pytest.raises(InputError, match=r"distillation\.temperature: input should be greater than 0, got -1"):
        plan("run-1", arguments(load_run()) | {"distillation_temperature": -1.0})
    with pytest.raises(InputError, match=r"teacher\.reference"):
        planned("teacher.reference=")


@pytest.mark.parametrize(
    ("setting", "changed"),
    [
        ("gate.minimum_accuracy=0.5", set()),
        ("registry.stage=canary", set()),
        ("registry.name=other", {"synthesis", "distillation", "evaluation"}),
        ("registry.location=s3://other/place", {"fetching", "checks", "synthesis", "distillation", "evaluation"}),
        ("evaluation.batch_size=7", {"checks", "evaluation"}),
        ("distillation.steps=7", {"distillation"}),
        ("student.count=1", {"checks", "distillation"}),
        ("synthesis.samples=7", {"synthesis", "evaluation"}),
        ("seed=1", {"synthesis", "distillation", "evaluation"}),
        ("teacher.reference=hf://a/c@main", {"fetching"}),
    ],
)
def test_a_parameter_changes_the_inputs_of_the_tasks_that_it_concerns_and_no_others(setting: str, changed: set[str]) -> None:
    """So that every other task is taken from the cache."""
    before, after = planned()._asdict(), planned(setting)._asdict()
    assert {name for name in before if before[name] != after[name]} == changed | {"run"}


def test_each_part_is_a_run_of_its_own() -> None:
    made = planned("synthesis.shards=3", "synthesis.samples=7")
    assert made.shards == [0, 1, 2]
    assert Run.model_validate_json(made.synthesis).synthesis.samples == 7
    assert Run.model_validate_json(made.run).synthesis.samples == 7
    assert Run.model_validate_json(made.distillation).synthesis == Run().synthesis


def test_the_state_of_a_source_changes_when_its_content_can_have_changed(tmp_path: Path) -> None:
    commit = f"hf://a/b@{'0' * 40}"
    assert source_state(commit, "run-1") == source_state("", "run-1") == ""
    for moving in ("hf://a/b@main", "s3://bucket/teacher", str(tmp_path / "not-there")):
        assert source_state(moving, "run-1") != source_state(moving, "run-2")
    file = tmp_path / "model" / "weights"
    file.parent.mkdir()
    file.write_text("a", encoding="utf-8")
    before = source_state(str(file.parent), "run-1")
    assert before == source_state(str(file.parent), "run-2")
    os.utime(file, ns=(0, 0))
    assert source_state(str(file.parent), "run-1") != before
    assert planned(f"teacher.digest={'f' * 64}").teacher_state == "", "a digest pins any teacher"
    assert planned().teacher_state == "run-1"


def test_the_plan_component_takes_every_field_with_its_type_and_description() -> None:
    from asdfd.components.plan.component import plan as component

    taken: dict[str, Any] = {name: parameter.annotation for name, parameter in inspect.signature(component.python_func).parameters.items()}
    assert taken == {"pipeline_run": str, **{field.name: field.type for field in fields()}}
    inputs = component.component_spec.inputs or {}
    assert all(inputs[field.name].description == field.description for field in fields())
