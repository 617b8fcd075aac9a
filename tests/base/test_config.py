"""Parameters: presets, what goes before what, and one line for every mistake."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import annotated_types
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from asdfd.base import config
from asdfd.base.config import Run
from asdfd.base.errors import InputError
from asdfd.base.loading import PRESETS, dump_yaml, load_run, preset_values, with_settings
from asdfd.base.parts import part_of_run

ROOT = Path(__file__).parents[2]


def fields(model: type[BaseModel], prefix: str = "") -> dict[str, FieldInfo]:
    """Every parameter of a model by its full name, sections left out."""
    found: dict[str, FieldInfo] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= fields(field.annotation, f"{prefix}{name}.")
        else:
            found[prefix + name] = field
    return found


def values_of(field: FieldInfo) -> st.SearchStrategy[Any]:
    """Values that a field allows."""
    bounds = [bound for bound in field.metadata if isinstance(bound, annotated_types.BaseMetadata)]
    low = next((bound.ge for bound in bounds if isinstance(bound, annotated_types.Ge)), 0)
    if get_origin(field.annotation) is Literal:
        return st.sampled_from(get_args(field.annotation))
    if field.annotation is bool:
        return st.booleans()
    if field.annotation is int:
        return st.integers(int(str(low)), 2**40)
    if field.annotation is float:
        high = 1.0 if any(isinstance(bound, annotated_types.Le) for bound in bounds) else 1e30
        return st.floats(float(str(low)), high, exclude_min=any(isinstance(bound, annotated_types.Gt) for bound in bounds))
    assert field.annotation is str, field
    return st.text(max_size=40)


PARAMETERS = fields(Run)
RUNS = st.fixed_dictionaries({}, optional={name: values_of(field) for name, field in PARAMETERS.items()})


def tree_of(values: dict[str, Any]) -> dict[str, Any]:
    """Full names and their values as a tree."""
    tree: dict[str, Any] = {}
    for name, value in values.items():
        section, _, last = name.rpartition(".")
        (tree.setdefault(section, {}) if section else tree)[last] = value
    return tree


def error_of(*arguments: Any, **keywords: Any) -> str:
    """The line of a load that fails."""
    with pytest.raises(InputError) as caught:
        load_run(*arguments, **keywords)
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_load(preset: str) -> None:
    run = load_run(preset)
    assert run.model_dump(mode="json") == preset_values(preset)
    assert (run == Run()) == (preset == "default")


def test_presets_are_what_their_names_say() -> None:
    default, paper, quick = load_run(), load_run("paper"), load_run("quick")
    assert (paper.synthesis.guessing, paper.distillation.adversary) == ("embedding", "embedding"), "what the paper's abstract fixes"
    assert not paper.synthesis.holds_tokens
    assert quick.distillation.steps < default.distillation.steps
    assert quick.synthesis.samples < default.synthesis.samples


def test_every_preset_file_is_a_preset() -> None:
    folder = ROOT / "src" / "asdfd" / "base" / "presets"
    assert {path.stem for path in folder.glob("*.yaml")} == set(PRESETS) - {"default"}


def test_params_yaml_is_the_default_preset() -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    assert text == dump_yaml(load_run()), "write it again: asdfd params > params.yaml"
    assert load_run("quick", ROOT / "params.yaml") == Run(), "a complete file replaces every value of the preset"


def test_settings_go_before_the_file_and_the_file_before_the_preset(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("seed: 1\ndistillation: {steps: 11, batch_size: 12}\n")
    run = load_run("quick", file, ["distillation.steps=21", "distillation.steps=22"])
    assert run.distillation.steps == 22, "the last setting"
    assert run.distillation.batch_size == 12, "the file"
    assert run.seed == 1
    assert run.synthesis.samples == preset_values("quick")["synthesis"]["samples"] != Run().synthesis.samples, "the preset"
    assert run.distillation.temperature == Run().distillation.temperature, "the default"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("student.layers=1,3,5", "1,3,5"),
        ("student.layers=3", "3"),
        ("distillation.learning_rate=4e-4", 4e-4),
        ("distillation.learning_rate=1", 1.0),
        ("synthesis.samples=1e3", 1000),
        ("distillation.compile=true", True),
        ("evaluation.text_column=question", "question"),
        ("evaluation.text_column=a=b", "a=b"),
        ("teacher.reference=hf://organisation/name@1234", "hf://organisation/name@1234"),
    ],
)
def test_values_of_settings_mean_what_they_look_like(setting: str, value: Any) -> None:
    section, _, name = setting.partition("=")[0].partition(".")
    found = getattr(getattr(load_run(settings=[setting]), section), name)
    assert found == value
    assert type(found) is type(value)


def test_numbers_such_as_4e_4_are_numbers_in_a_file_too(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("distillation:\n  learning_rate: 4e-4\n")
    assert load_run(params=tmp_path / "p.yaml").distillation.learning_rate == 4e-4


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("# nothing here\n")
    assert load_run(params=tmp_path / "p.yaml") == Run()


@settings(deadline=None, max_examples=50)
@given(RUNS)
@example({"student.layers": "\x85X", "evaluation.text_column": "\u2028 größe: #1"})
def test_a_dumped_run_loads_as_the_same_run(values: dict[str, Any]) -> None:
    try:
        run = Run.model_validate(tree_of(values))
    except ValidationError as error:
        wrong = {entry["loc"] for entry in error.errors()}
        assert wrong <= {("synthesis",), ()}, "only what two parameters say together may be wrong"  # and that is no failure
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        path.write_text(dump_yaml(run), encoding="utf-8")
        assert load_run("paper", path) == run


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_parameter_is_described_in_a_sentence(name: str) -> None:
    description = PARAMETERS[name].description
    assert description
    assert description[0].isupper()
    assert description.endswith(".")
    assert "\n" not in description


def test_parameters_cannot_be_changed_after_loading() -> None:
    with pytest.raises(ValidationError):
        load_run().seed = 3  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("name", [name for name, field in PARAMETERS.items() if field.annotation in (int, float)])
@pytest.mark.parametrize("value", ["-1", ".nan", ".inf", "yes", "text", "[1]", "null", "", "'1 '''"])
def test_no_number_takes_nonsense(name: str, value: str) -> None:
    line = error_of(settings=[f"{name}={value}"])
    assert line.startswith(f"--set {name}={value}: {name}: ")


def test_sections_and_values_are_told_apart() -> None:
    assert error_of(settings=["distillation=3"]).endswith("distillation is a section, not a value; write distillation.NAME=value")
    assert error_of(settings=["seed.a=3"]).endswith("seed is a value, not a section")
    assert error_of(settings=["synthesis.samples={a: 1}"]).endswith("synthesis.samples is a value, not a section")


def test_unknown_names_come_with_the_known_ones() -> None:
    assert "distillation.step is not a parameter; did you mean distillation.steps? choose among steps, batch_size, " in error_of(
        settings=["distillation.step=3"]
    )
    assert "distil is not a parameter; did you mean distillation? sections are seed, device, export, teacher, " in error_of(settings=["distil.steps=3"])
    assert error_of("fast") == "preset 'fast' is unknown; choose one of default, guessing, paper, quick"


def test_the_line_names_the_source_of_the_wrong_value(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("distillation: {steps: -5}\n")
    assert error_of(params=file, settings=["seed=1"]).startswith(f"{file}: distillation.steps: ")
    assert load_run(params=file, settings=["distillation.steps=5"]).distillation.steps == 5, "a later setting repairs it"
    assert error_of(settings=["synthesis.minimum_length=40", "seed=1"]).startswith("--set synthesis.minimum_length=40: synthesis: minimum_length 40 is above")


def test_values_that_do_not_fit_together_are_refused() -> None:
    assert "set initial to 'tokens' or guessing to 'embedding'" in error_of(settings=["synthesis.initial=gaussian", "synthesis.guessing=replacement"])
    assert load_run(settings=["synthesis.initial=gaussian"]).synthesis.initial == "gaussian"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a: b: c", "is not valid YAML at line 1; compare it with what `asdfd params` prints"),
        (b"seed: 1\n\tsteps: 2", "is not valid YAML at line 2"),
        (b"\xff\xfe\x00", "is not valid YAML"),
        (b"- 1", "a mapping of parameters is needed, found list"),
        (b"12", "a mapping of parameters is needed, found int"),
        (b"1: 2", "1 is not a parameter"),
        (b"distillation:\n", "distillation is a section, not a value"),
        (b"distillation: {steps: [1, 2]}", "distillation.steps: input should be a valid integer, got [1, 2]"),
        (b"!!python/object/apply:os.system ['true']", "is not valid YAML"),
    ],
)
def test_wrong_files_are_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "p.yaml").write_bytes(content)
    assert words in error_of(params=tmp_path / "p.yaml")


def test_missing_files_and_folders_are_one_line(tmp_path: Path) -> None:
    assert error_of(params=tmp_path / "no.yaml").startswith(f"{tmp_path}/no.yaml: cannot be read (No such file or directory); ")
    assert error_of(params=tmp_path).startswith(f"{tmp_path}: cannot be read (Is a directory); ")


@pytest.mark.parametrize("setting", ["distillation.steps", "=3", ""])
def test_a_setting_without_a_name_or_a_value_shows_the_form(setting: str) -> None:
    assert error_of(settings=[setting]) == f"--set {setting}: write it as section.name=value, for example --set distillation.steps=200"


def test_the_yaml_keeps_the_order_of_the_models() -> None:
    tree = yaml.safe_load(dump_yaml(Run()))
    assert list(tree) == list(Run.model_fields)


def test_changed_values_are_checked_as_new_ones_are() -> None:
    run = load_run()
    assert run.changed(seed=3, registry=run.registry.changed(location="elsewhere")) == load_run(settings=["seed=3", "registry.location=elsewhere"])
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        run.synthesis.changed(samples=0)
    with pytest.raises(ValidationError, match="minimum_length 30 is above maximum_length"):
        run.synthesis.changed(minimum_length=30)
    with pytest.raises(ValidationError, match="no_such_name"):
        run.registry.changed(no_such_name=1)
    with pytest.raises(InputError, match=r"^here: student\.width 8: a narrower student"):
        with_settings(run, {"student": {"width": 8}, "synthesis": {"initial": "gaussian"}}, "here")
    sources = Path(config.__file__).parents[1].rglob("*.py")
    assert [path for path in sources if "model_copy(" in path.read_text(encoding="utf-8")] == [], "pydantic's own way checks nothing"


def test_a_part_of_a_run_has_what_it_was_given_and_no_default() -> None:
    whole = load_run(settings=["student.width=8", "seed=3", "registry.name=desk"])
    tree = whole.model_dump(mode="json", include={"seed": True, "student": True, "registry": {"name"}})
    part = part_of_run(tree)
    assert (part.seed, part.student, part.registry.name) == (3, whole.student, "desk")
    for read in (lambda: part.gate, lambda: part.device, lambda: part.registry.location):
        with pytest.raises(AttributeError):
            read()
    assert part.model_dump(mode="json") == tree, "what it is passed on as is the same part"
    for copied in (part, part.registry):
        with pytest.raises(AttributeError):
            copied.changed()  # would have defaults in it
    assert part.student.changed(width=16).width == 16
    embedding = part_of_run({"student": {"width": 8}, "synthesis": {"initial": "gaussian"}})
    assert embedding.student.width == 8, "what sections say together is said of whole runs"
    for wrong, line in (({"gates": {}}, "gates is not a section"), ({"seed": -1}, "greater than or equal to 0"), ({"student": {"widht": 8}}, "not permitted")):
        with pytest.raises(InputError, match=line):
            part_of_run(wrong)
