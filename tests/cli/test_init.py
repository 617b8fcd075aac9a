"""`asdfd init`: the files of a repository of one's own, and that the commands of its README work."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from asdfd.base.loading import load_run
from asdfd.cli.main import main
from asdfd.steps.promotion import read_wanted
from tests.cli.conftest import tiny_options

FILES = ("params.yaml", "dvc.yaml", "models/desk.yaml", "README.md")
LOOSE = {"gate__largest_drop": 1, "gate__minimum_agreement": 0, "gate__champion_margin": 1}
"""A gate that lets a student of random weights through."""


def commands(readme: Path) -> list[str]:
    """The lines of a README's block of commands."""
    (block,) = re.findall(r"^```console\n(.*?)^```$", readme.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return block.splitlines()


def test_the_files_are_written_and_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    teacher = "hf://organisation/name@0123456789abcdef0123456789abcdef01234567"
    assert main(["init", "desk", "--teacher", teacher, "--data", "a 'b'.csv", "--preset", "quick", "--out", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"written": [str(tmp_path / name) for name in FILES]}
    run = load_run(params=tmp_path / "params.yaml")
    assert run == load_run("quick", settings=[f"teacher.reference={teacher}", "evaluation.data=\"a 'b'.csv\"", "registry.name=desk"])
    name, wanted = read_wanted(tmp_path / "models" / "desk.yaml")
    assert (name, wanted.data, wanted.teacher, wanted.stage) == ("desk", "a 'b'.csv", "", "production")
    stages = yaml.safe_load((tmp_path / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert "deps" not in stages["fetch"], "there is no file here that the teacher depends on"
    assert len(commands(tmp_path / "README.md")) == 3


def test_every_stage_is_that_of_this_repository_but_for_its_sources() -> None:
    from tests.dvc.test_dvc import ROOT

    (text,) = [path.read_text(encoding="utf-8") for path in (ROOT / "src/asdfd/base/templates").glob("dvc.yaml.j2")]
    ours = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    theirs = yaml.safe_load(re.sub(r"\{%.*?%\}\n|.*\{\{.*\}\}.*\n", "", text))["stages"]
    assert list(theirs) == [name for name in ours if name != "train-teacher"]
    for name, stage in theirs.items():
        assert stage["params"] == ours[name]["params"]


@pytest.mark.parametrize("there", FILES[:3])
def test_nothing_is_overwritten_and_nothing_is_half_written(there: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / there).parent.mkdir(exist_ok=True)
    (tmp_path / there).write_text("mine\n")
    assert main(["init", "desk", "--teacher", "x", "--data", "y", "--out", str(tmp_path)]) == 2
    line = f"asdfd: init: {there} in {tmp_path} would be overwritten; name another folder with --out, or take it away\n"
    assert capsys.readouterr().err == line
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / there]
    assert (tmp_path / there).read_text() == "mine\n"


def test_a_readme_stays_and_ours_goes_beside_the_model(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine\n")
    assert main(["init", "desk", "--teacher", "x", "--data", "y", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "README.md").read_text() == "mine\n"
    assert len(commands(tmp_path / "models" / "README.md")) == 3


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["a b", "--teacher", "x", "--data", "y"], "model 'a b'"),
        (["desk", "--data", "y"], "--teacher"),
        (["desk", "--teacher", "x", "--data", "y", "--set", "no.such=1"], "no.such"),
    ],
)
def test_wrong_input_is_one_line(words: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", *words, "--out", str(tmp_path)]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert line in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("judged", [True, False], ids=["on texts", "by prediction"])
def test_the_three_commands_of_the_readme_bring_a_version_to_production(judged: bool, teacher_folder: Path, data: Path, tmp_path: Path) -> None:
    """In a new Git repository, with the teacher beside it, the texts as well or none, and parameters that take seconds."""
    folder, home = tmp_path / "project", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    names = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in (("NAME", "tests"), ("EMAIL", "tests@example.org"))}
    folders = {f"DVC_{what}_DIR": str(home / what) for what in ("SITE_CACHE", "GLOBAL_CONFIG", "SYSTEM_CONFIG")}
    path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(home), "DVC_NO_ANALYTICS": "1"}

    def do(line: str) -> str:
        done = subprocess.run(shlex.split(line), cwd=folder, env=os.environ | names | folders | path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    do("git init --quiet")
    do("dvc init --quiet")
    texts = ["--data", str(data)] if judged else []
    begun = ["asdfd", "init", "desk", "--teacher", str(teacher_folder), *texts, *tiny_options(**LOOSE)]
    do(shlex.join(begun))
    reproduce, push, promote = commands(folder / "README.md")
    do(reproduce)
    assert (folder / "tracked" / "evaluation" / "report.html").is_file()
    assert do(reproduce).count("didn't change, skipping") == 7
    (version,) = re.findall(r"desk@([0-9a-f]{16}) holds staging", do(push))
    wanted = folder / "models" / "desk.yaml"
    text = wanted.read_text().replace("0" * 16, version)
    wanted.write_text(text if judged else text.replace("evidence: texts", "evidence: none"))
    assert f"desk@{version} holds production" in do(promote)
