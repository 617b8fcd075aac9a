"""What the command line says about itself, how fast, and what `params` prints."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import yaml

from asdfd import __version__
from asdfd.base.config import Run
from asdfd.base.loading import PRESETS, dump_yaml, load_run
from asdfd.cli.main import build_parser, main
from asdfd.cli.presentation import parameter_descriptions

VERBS = ("fetch", "synthesize", "merge", "distill", "evaluate", "export", "run", "params")
HEAVY = ("torch", "transformers", "datasets", "pydantic", "pydantic_core", "rich", "yaml", "numpy", "safetensors")


@pytest.mark.parametrize("words", [["--help"], ["distill", "--help"], ["--version"], ["distill"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    code = f"import sys; from asdfd.cli.main import main; main({words}); print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


def test_the_console_script_and_the_module_are_the_same_command() -> None:
    (script,) = entry_points(group="console_scripts", name="asdfd")
    assert script.load() is main
    command = [str(Path(sys.executable).with_name("asdfd"))], [sys.executable, "-m", "asdfd.cli"]
    outputs = [subprocess.run([*start, "--version"], capture_output=True, text=True, check=True).stdout for start in command]
    assert outputs == [f"asdfd {__version__}\n"] * 2


def test_help_lists_every_verb_and_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for verb in VERBS:
        assert re.search(rf"^    {verb}\b", text, re.MULTILINE)
    for code in (0, 1, 2, 3, 130, 143):
        assert re.search(rf"^  {code} ", text, re.MULTILINE)


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_has_an_example_that_parses_and_says_where_parameters_are_described(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    text = capsys.readouterr().out
    example = re.search(r"^example:\n  asdfd (.*)$", text, re.MULTILINE)
    assert example is not None
    words = shlex.split(example.group(1).partition(" > ")[0])
    assert build_parser().parse_args(words).verb == verb
    assert "asdfd params --describe" in text
    assert f"{', '.join(PRESETS[:-1])} or {PRESETS[-1]}" in " ".join(text.split())
    for option in ("--preset", "--params", "--set", "--json"):
        assert option in text


def test_every_example_of_the_help_parses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    examples = re.findall(r"asdfd ((?:run|fetch|synthesize|distill|evaluate) --.*)", capsys.readouterr().out)
    assert len(examples) == 5
    for example in examples:
        build_parser().parse_args(shlex.split(example))


def test_params_prints_the_effective_parameters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["params"]) == 0
    assert capsys.readouterr().out == dump_yaml(Run())
    (tmp_path / "p.yaml").write_text("seed: 4\n")
    assert main(["params", "--preset", "paper", "--params", str(tmp_path / "p.yaml"), "--set", "synthesis.rounds=7"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed == load_run("paper", settings=["seed=4", "synthesis.rounds=7"]).model_dump(mode="json")


def test_params_as_json_is_the_same_tree(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["params", "--json", "--preset", "quick"]) == 0
    assert json.loads(capsys.readouterr().out) == load_run("quick").model_dump(mode="json")


def test_params_describe_tells_name_value_choices_and_meaning_of_each(capsys: pytest.CaptureFixture[str]) -> None:
    described = list(parameter_descriptions(Run()))
    assert main(["params", "--describe"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for parameter in described:
        assert f"{parameter['name']} " in text
    assert f"distillation.adversary {Run().distillation.adversary} Whether entries" in text
    assert main(["params", "--describe", "--json", "--set", "seed=12"]) == 0
    listed = json.loads(capsys.readouterr().out)["parameters"]
    assert [entry["name"] for entry in listed] == [parameter["name"] for parameter in described]
    assert listed[0] == {"name": "seed", "value": 12, "choices": None, "description": "Seed of everything that is drawn."}
    (prior,) = (entry for entry in listed if entry["name"] == "synthesis.prior")
    assert prior["choices"] == ["uniform", "zipf"]


@pytest.mark.parametrize("words", [["params", "--describe"], ["params"]])
def test_a_reader_that_leaves_early_is_no_defect(words: list[str]) -> None:
    with subprocess.Popen([sys.executable, "-m", "asdfd.cli", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
