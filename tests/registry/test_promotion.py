"""The whole way on real models: gate, push, promote by hand and by CI's script, serve, roll back. Everything is done through the command line."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from asdfd.base.artifacts import read
from asdfd.cli.main import build_parser, main
from asdfd.registry.provenance import VARIABLES, surroundings
from asdfd.storage.objects import open_objects
from tests.cli.conftest import TINY, tiny_options

ROOT = Path(__file__).resolve().parents[2]
LOOSE = ["--set", "gate.largest_drop=1", "--set", "gate.minimum_agreement=0", "--set", "gate.champion_margin=1"]
"""A gate that lets a student of random weights through."""


@dataclass(frozen=True)
class Trained:
    """A teacher and two students of it with their evaluations. Read only."""

    teacher: Path
    students: tuple[Path, Path]
    evaluations: tuple[Path, Path]
    data: Path
    holdout: Path


@pytest.fixture(scope="module")
def trained(teacher_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    from asdfd import steps
    from asdfd.base.loading import load_run

    folder = tmp_path_factory.mktemp("trained")
    data, holdout = folder / "data.csv", folder / "holdout.csv"
    rows = ["wonderful movie,praise", "delivery late again,complaint", "where is my order,question", "boring plot,complaint", "i like this phone,praise"]
    data.write_text("text,label\n" + "\n".join(rows) + "\n")
    holdout.write_text("text,label\n" + "\n".join(f"{row.split(',')[0]} {number},{row.split(',')[1]}" for number, row in enumerate(rows * 4)) + "\n")
    students, evaluations = [], []
    for seed in (0, 1):
        run = load_run(settings=[*(f"{name}={value}" for name, value in TINY.items()), f"seed={seed}", f"evaluation.data={data}"])
        bank = steps.synthesize(run, teacher_artifact, folder / f"bank-{seed}").path
        students.append(steps.distill(run, teacher_artifact, bank, folder / f"student-{seed}").path)
        evaluations.append(steps.evaluate(run, teacher_artifact, students[-1], folder / f"evaluation-{seed}").path)
    return Trained(teacher_artifact, (students[0], students[1]), (evaluations[0], evaluations[1]), data, holdout)


@pytest.fixture
def ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command on the registry of this test; its exit code and its JSON object."""

    def run(*words: object, options: list[str] | None = None) -> tuple[int, dict[str, Any]]:
        more = LOOSE if options is None else options
        code = main([*map(str, words), *tiny_options(registry__name="desk"), *more, "--registry", str(tmp_path / "registry"), "--json"])
        captured = capsys.readouterr()
        return code, json.loads(captured.out)

    return run


def push_both(ask: Any, trained: Trained, tmp_path: Path) -> list[str]:
    """Judge and push both students; their versions."""
    versions = []
    for number, (student, evaluation) in enumerate(zip(trained.students, trained.evaluations, strict=True)):
        verdict = tmp_path / f"verdict-{number}"
        assert ask("gate", "--evaluation", evaluation, "--out", verdict)[0] == 0
        code, pushed = ask("push", "--teacher", trained.teacher, "--student", student, "--evaluation", evaluation, "--verdict", verdict)
        assert code == 0
        versions.append(pushed["version"])
    return versions


@pytest.mark.slow
def test_from_a_student_to_production_and_back(trained: Trained, teacher_folder: Path, ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    monkeypatch.setenv("ASDFD_ACTOR", "somebody")
    one, two = push_both(ask, trained, tmp_path)
    promotion = ["--to", "production", "--data", trained.holdout, "--teacher", teacher_folder, "--reason", "it is better"]
    code, refused = ask("promote", f"desk@{one}", *promotion, options=["--set", "gate.minimum_accuracy=1"])
    assert (code, refused["passed"], refused["move"], refused["exit_code"]) == (3, False, None, 3)
    assert ask("registry", "history", "desk", "--stage", "production")[0] == 2
    before = open_objects(str(tmp_path / "registry")).list("")
    code, checked = ask("promote", f"desk@{one}", *promotion, "--check", "--report", tmp_path / "table.md")
    assert (code, checked["passed"], checked["move"]) == (0, True, None)
    assert (
        (tmp_path / "table.md")
        .read_text()
        .startswith(f"### `desk@{one}` to `production`\n\n**Passed**: student `{read(trained.students[0], 'student').digest[:12]}`")
    )
    assert open_objects(str(tmp_path / "registry")).list("") == before, "a check writes nothing"
    assert ask("promote", f"desk@{one}", *promotion)[1]["move"] == {"number": 1, "previous": None}
    assert ask("promote", "desk@staging", *promotion)[1]["move"] == {"number": 2, "previous": one}
    assert ask("promote", "desk@staging", *promotion)[1]["move"] == {"number": 2, "previous": one}, "again is the same"
    listed = ask("registry", "list")[1]["versions"]
    assert {row["version"]: row["stages"] for row in listed} == {one: [], two: ["production", "staging"]}

    code, pulled = ask("registry", "pull", "desk@production", "--out", tmp_path / "served")
    assert (code, pulled["version"]) == (0, two)
    served = AutoModelForSequenceClassification.from_pretrained(pulled["student"])
    original = AutoModelForSequenceClassification.from_pretrained(trained.students[1])
    batch = AutoTokenizer.from_pretrained(pulled["student"])("where is my order", return_tensors="pt")
    assert served(**batch).logits.tolist() == original(**batch).logits.tolist()

    code, back = ask("rollback", "desk", "--stage", "production", "--reason", "wrong on refunds")
    assert (code, back["version"], back["previous"]) == (0, one, two)
    moves = ask("registry", "history", "desk", "--stage", "production")[1]["moves"]
    assert [(move["action"], move["version"], move["actor"], move["reason"]) for move in moves] == [
        ("promote", one, "somebody", "it is better"),
        ("promote", two, "somebody", "it is better"),
        ("rollback", one, "somebody", "wrong on refunds"),
    ]
    assert ask("registry", "verify")[1] == {"verified": 2, "problems": []}
    shown = ask("registry", "show", "desk@production")[1]
    assert (shown["version"], shown["stages"]) == (one, ["production"])
    assert shown["digests"]["teacher"] == read(trained.teacher, "teacher").digest
    assert shown["parameters"]["registry"]["name"] == "desk"
    assert len(shown["provenance"]["git_commit"].split()[0]) == 40


@pytest.mark.slow
def test_a_champion_that_was_never_on_this_data_is_evaluated_on_it(trained: Trained, teacher_folder: Path, ask: Any, tmp_path: Path) -> None:
    one, two = push_both(ask, trained, tmp_path)
    strict = ["--set", "gate.largest_drop=1", "--set", "gate.minimum_agreement=0", "--set", "gate.champion_margin=0.99"]
    more = ["--to", "staging", "--teacher", teacher_folder, "--reason", "compare"]
    code, answer = ask("promote", f"desk@{one}", "--data", trained.holdout, *more, options=strict)
    assert (code, answer["champion"], answer["passed"]) == (0, two, True)
    (check,) = answer["checks"]
    assert check["check"] == "champion_margin"
    assert f"from version {two}" in check["reason"]
    kept = {info.key.split("/")[2] for info in open_objects(str(tmp_path / "registry")).list("evaluations/")}
    assert kept == {one, two}


def test_what_the_command_line_says_about_mistakes(trained: Trained, teacher_folder: Path, ask: Any, tmp_path: Path) -> None:
    one, _ = push_both(ask, trained, tmp_path)
    lines = {
        ("promote", f"desk@{one}", "--to", "production"): "name NAME@VERSION, --to, --data and --reason",
        ("promote", f"desk@{one}", "--wanted", "x.yaml"): "leave the other options out",
        ("promote", "--wanted", tmp_path / "no.yaml"): "cannot be read",
        ("promote", "desk@0000000000000000", "--to", "production", "--data", trained.holdout, "--reason", "x"): "is not in",
        ("rollback", "desk", "--stage", "staging", "--reason", " "): "say why with --reason",
        ("registry", "list", "other"): "is not a model of",
        ("registry", "gc", "--keep", "0"): "--keep is 1 or more",
        ("gate", "--evaluation", trained.data, "--out", tmp_path / "v"): "no such folder",
    }
    for words, line in lines.items():
        code, answer = ask(*words)
        assert (code, line in answer["error"]) == (2, True), answer
    promotion = ["--to", "production", "--data", trained.holdout, "--reason", "x"]
    code, answer = ask("promote", f"desk@{one}", *promotion, "--teacher", trained.students[0])
    assert code != 0, "another teacher than the one that it was distilled from"
    assert "digest" in answer["error"]
    assert teacher_folder.exists()


def test_gc_says_what_it_would_do_and_does_it_when_told(trained: Trained, ask: Any, tmp_path: Path) -> None:
    one, two = push_both(ask, trained, tmp_path)
    limits = ["--keep", "1", "--older-than", "0"]
    code, said = ask("registry", "gc", *limits)
    assert (code, [found["version"] for found in said["found"]], said["removed"]) == (0, [one], 0)
    assert len(ask("registry", "list")[1]["versions"]) == 2
    assert ask("registry", "gc", *limits, "--yes")[1]["removed"] == 1
    assert [row["version"] for row in ask("registry", "list")[1]["versions"]] == [two]


def test_people_see_tables(trained: Trained, ask: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    one, two = push_both(ask, trained, tmp_path)
    options = [*tiny_options(registry__name="desk"), *LOOSE, "--registry", str(tmp_path / "registry")]
    seen = {}
    for words in (["list"], ["show", "desk@staging"], ["history", "desk"], ["verify"], ["gc", "--keep", "1", "--older-than", "0"]):
        assert main(["registry", *words, *options]) == 0
        seen[words[0]] = capsys.readouterr().out
    assert one in seen["list"]
    assert "staging" in next(line for line in seen["list"].splitlines() if two in line)
    assert "student/model.safetensors" in seen["show"]
    assert [line.split()[0] for line in seen["history"].splitlines() if "push" in line] == ["1", "2"]
    assert seen["verify"] == "2 versions verified, every byte\n"
    assert "nothing was removed, --yes does it" in seen["gc"]
    code = main(["gate", "--evaluation", str(trained.evaluations[0]), "--out", str(tmp_path / "strict"), *options, "--set", "gate.minimum_accuracy=1"])
    captured = capsys.readouterr()
    assert (code, "NO" in captured.out, captured.err.startswith("asdfd: minimum_accuracy: student_accuracy is")) == (3, True, True)


@pytest.mark.slow
def test_the_script_of_any_ci_checks_then_moves(trained: Trained, teacher_folder: Path, ask: Any, tmp_path: Path) -> None:
    one, two = push_both(ask, trained, tmp_path)
    wanted = {"version": one, "stage": "production", "data": str(trained.holdout), "reason": "by pull request", "location": str(tmp_path / "registry")}
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "desk.yaml").write_text(yaml.safe_dump({**wanted, "teacher": str(teacher_folder)}))
    (tmp_path / "models" / "broken.yaml").write_text(yaml.safe_dump({**wanted, "version": "0" * 16, "unknown": 1}))
    settings = {name.partition("=")[0]: name.partition("=")[2] for name in [*tiny_options(), *LOOSE] if name != "--set"}
    params: dict[str, Any] = {}
    for name, value in settings.items():
        section, _, field = name.partition(".")
        params.setdefault(section, {})[field] = yaml.safe_load(value)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PARAMS": "params.yaml", "REPORT": "table.md"}

    def script(*words: str) -> int:
        done = subprocess.run([str(ROOT / "ci" / "promote.sh"), *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        return done.returncode

    assert script("check", "models/desk.yaml") == 0
    assert (tmp_path / "table.md").read_text().startswith(f"### `desk@{one}` to `production`\n\n**Passed**")
    assert ask("registry", "history", "desk", "--stage", "production")[0] == 2
    assert script("move", "models/desk.yaml", "models/broken.yaml") == 2
    table = (tmp_path / "table.md").read_text()
    assert "**Passed**" in table
    assert "### `models/broken.yaml`\n\n**Not judged**: asdfd: models/broken.yaml: unknown: extra inputs are not permitted" in table
    (move,) = ask("registry", "history", "desk", "--stage", "production")[1]["moves"]
    assert (move["version"], move["reason"]) == (one, "by pull request")
    assert two != one
    assert script("check") == 2
    assert script("sell", "models/desk.yaml") == 2


@pytest.mark.parametrize(
    "words", ["gate", "push", "promote", "rollback", *(f"registry {verb}" for verb in ("list", "show", "history", "pull", "verify", "gc"))]
)
def test_the_help_of_every_verb_has_an_example_that_parses(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words.split(), "--help"]) == 0
    example = re.search(r"^example:\n  asdfd (.*)$", capsys.readouterr().out, re.MULTILINE)
    assert example is not None
    parsed = build_parser().parse_args(shlex.split(example.group(1)))
    assert example.group(1).startswith(words)
    assert parsed.verb == words.split()[-1]


def test_the_manifest_tells_its_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (name for names in VARIABLES.values() for name in names):
        monkeypatch.delenv(name, raising=False)
    assert surroundings(tmp_path) == {}
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "dvc.lock").write_text("schema: '2.0'\n")
    author = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", "-C", str(tmp_path), "add", "."], check=True)
    subprocess.run(["git", "-C", str(tmp_path), *author, "commit", "-q", "-m", "x"], check=True)
    commit = subprocess.run(["git", "-C", str(tmp_path), "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    lock = hashlib.sha256(b"schema: '2.0'\n").hexdigest()
    assert surroundings(tmp_path) == {"git_commit": commit, "dvc_lock": lock}
    (tmp_path / "dvc.lock").write_text("changed")
    assert surroundings(tmp_path)["git_commit"] == f"{commit} with changes"
    monkeypatch.setenv("GITHUB_SHA", "abc")
    monkeypatch.setenv("ASDFD_IMAGE", "images.example.org/asdfd@sha256:0")
    monkeypatch.setenv("GITHUB_RUN_ID", "7")
    told = surroundings(tmp_path)
    assert (told["git_commit"], told["image"], told["pipeline_run"]) == ("abc", "images.example.org/asdfd@sha256:0", "7")


def test_the_workflow_and_the_example_are_what_the_script_takes() -> None:
    from asdfd.steps.promotion import Wanted

    example = yaml.safe_load((ROOT / "models" / "example.yaml").read_text(encoding="utf-8"))
    assert set(example) == set(Wanted.model_fields)
    Wanted.model_validate(example)
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "promote.yaml").read_text(encoding="utf-8"))
    assert set(workflow["jobs"]) == {"check", "move"}
    steps = {name: " ".join(step.get("run", "") for step in job["steps"]) for name, job in workflow["jobs"].items()}
    assert "ci/promote.sh check" in steps["check"]
    assert "ci/promote.sh move" in steps["move"]
    assert workflow["jobs"]["move"]["environment"] == "production"
    assert workflow["permissions"] == {"contents": "read"}
    assert all("${{" not in text for text in steps.values()), "what comes from outside reaches a shell through the environment only"
