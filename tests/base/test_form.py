"""The run form: which fields it has, what it refuses, and that a run and a form tell the same in both directions."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from pydantic import ValidationError

from asdfd.base.config import Run
from asdfd.base.errors import InputError
from asdfd.base.form import OWN_FIELDS, Form, filled_in, read_form, run_of
from asdfd.base.loading import PRESETS, load_run, preset_values
from tests.base.test_config import RUNS, tree_of

FILLED = {"teacher": "hf://organisation/name@main", "registry": "s3://models/asdfd"}


def as_kubeflow_hands_it_on(values: dict[str, Any]) -> dict[str, Any]:
    """What a task gets of a form: every number inside of a mapping is a double."""
    return json.loads(json.dumps(values), parse_int=float) | {"seed": values.get("seed", 0)}


def error_of(**values: Any) -> str:
    """What is said of a form that is filled in so."""
    with pytest.raises(InputError) as caught:
        run_of(read_form(FILLED | values, "the run form"), "the run form")
    return str(caught.value)


def test_a_person_can_fill_it_in() -> None:
    assert len(Form.model_fields) <= 14
    assert [name for name, field in Form.model_fields.items() if field.is_required()] == ["teacher", "registry"]
    assert all(len(field.description or "") > 20 for field in Form.model_fields.values())
    assert run_of(read_form(FILLED, "x"), "x") == load_run(settings=["teacher.reference=hf://organisation/name@main", "registry.location=s3://models/asdfd"])


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("base", PRESETS)
def test_a_run_is_the_same_run_after_its_form(preset: str, base: str) -> None:
    run = load_run(preset, settings=["teacher.reference=s3://models/a b", "seed=9007199254740992", "student.layers=3", "evaluation.data=s3://a/b.csv"])
    values = filled_in(run, base)
    assert values["preset"] == base
    assert run_of(read_form(as_kubeflow_hands_it_on(values), "x"), "x") == run
    assert values["settings"].keys() <= {"student", "synthesis", "distillation"}
    assert (values["settings"] == {"student": {"layers": "3"}}) == (preset == base), "as little as that"


@settings(deadline=None, max_examples=50)
@given(RUNS)
def test_any_run_is_the_same_run_after_its_form(values: dict[str, Any]) -> None:
    try:
        run = Run.model_validate(tree_of(values))
    except ValidationError:
        return  # what two parameters say together may be wrong, and is no run then
    try:
        filled = filled_in(run, "paper")
    except InputError as error:
        assert "above 2^53" in str(error)  # noqa: PT017  # the one thing that a form cannot carry
        return
    assert run_of(read_form(as_kubeflow_hands_it_on(filled), "x"), "x") == run


def test_a_whole_number_that_kubeflow_would_round_is_refused() -> None:
    with pytest.raises(InputError, match=r"^seed: 9007199254740993 is above 2\^53"):
        filled_in(load_run(settings=["seed=9007199254740993"]))
    with pytest.raises(InputError, match=r"^distillation\.steps: 9007199254740993 is above 2\^53"):
        filled_in(load_run(settings=["distillation.steps=9007199254740993"]))


def test_own_fields_are_parameters_and_settings_may_not_name_them() -> None:
    for field, path in OWN_FIELDS.items():
        value: Any = preset_values("default")
        tree: dict[str, Any] = {}
        inner = tree
        for part in path:
            value = value[part]
            inner = inner.setdefault(part, {}) if part != path[-1] else inner
        inner[path[-1]] = value
        assert error_of(settings=tree) == f"the run form: settings: {'.'.join(path)} is the field {field} of the form; name it there"


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"acelerator_count": "1"}, "the run form: acelerator_count is not a field of the run form; did you mean accelerator_count? its fields are teacher, "),
        ({"settings": {"distillation": {"stpes": 1}}}, "the run form: settings: distillation.stpes is not a parameter; did you mean distillation.steps? "),
        ({"settings": {"steps": 1}}, "the run form: settings: steps is not a parameter; did you mean distillation.steps? "),
        ({"settings": {"distillation": 3}}, "the run form: settings: distillation is a section, not a value"),
        ({"settings": {"distillation": {"steps": 1.5}}}, "the run form: settings: distillation.steps: input should be a valid integer"),
        ({"settings": {"distillation": {"steps": "many"}}}, "the run form: settings: distillation.steps: input should be a valid integer"),
        ({"settings": {"distillation": {"temperature": -1.0}}}, "the run form: settings: distillation.temperature: input should be greater than 0, got -1"),
        ({"settings": {"synthesis": {"minimum_length": 30.0}}}, "the run form: settings: synthesis: minimum_length 30 is above maximum_length 20"),
        ({"settings": [1]}, "the run form: settings: input should be a valid dictionary"),
        ({"preset": "quik"}, "preset 'quik' is unknown; did you mean quick? "),
        ({"seed": -1}, "the run form: seed: input should be greater than or equal to 0, got -1"),
        ({"seed": 1.5}, "the run form: seed: input should be a valid integer"),
        ({"teacher": 3}, "the run form: teacher: input should be a valid string, got 3"),
        ({"cpu": "two"}, "the run form: cpu: a size as Kubernetes writes it is needed, such as 2, 500m or 4Gi, got 'two'"),
        ({"memory": ""}, "the run form: memory: a size as Kubernetes writes it is needed"),
        ({"memory": "4 GB"}, "the run form: memory: a size as Kubernetes writes it is needed"),
        ({"accelerator_count": "-1"}, "the run form: accelerator_count: a whole number is needed, 0 for none, got '-1'"),
        ({"accelerator_count": "0.5"}, "the run form: accelerator_count: a whole number is needed"),
        ({"node_selector": {"gpu": True}}, "the run form: node_selector.gpu: input should be a valid string, got True"),
        ({"tolerations": [{"key": "gpu", "operator": "exists"}]}, "the run form: tolerations: operator: input should be 'Exists' or 'Equal', got 'exists'"),
        ({"tolerations": [{"kee": "gpu"}]}, "the run form: tolerations: kee: extra inputs are not permitted"),
        ({"fresh": "perhaps"}, "the run form: fresh: input should be a valid boolean"),
    ],
)
def test_what_is_wrong_is_one_line(values: dict[str, Any], line: str) -> None:
    assert error_of(**values).startswith(line)
    assert "\n" not in error_of(**values)


def test_numbers_of_sizes_become_the_texts_that_kubernetes_reads() -> None:
    form = read_form(FILLED | {"cpu": 2, "memory": 0, "accelerator_count": 1, "tolerations": [{"key": "a", "tolerationSeconds": 60.0}]}, "x")
    assert (form.cpu, form.memory, form.accelerator_count) == ("2", "0", "1")
    assert read_form(FILLED | {"cpu": 0.5, "memory": "1.5Gi"}, "x").cpu == "0.5"
