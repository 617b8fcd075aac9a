"""The whole way on real models: gate, push, promote, serve, roll back. Everything is done through the command line."""

from __future__ import annotations

import hashlib
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from asdfd.base.artifacts import read
from asdfd.cli.main import build_parser, main
from asdfd.registry.provenance import VARIABLES, surroundings
from asdfd.storage.objects import open_objects
from tests.cli.conftest import tiny_options
from tests.registry.conftest import LOOSE, Trained, push_both

ROOT = Path(__file__).resolve().parents[2]


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
    check, evidence = answer["checks"][1], answer["checks"][0]
    assert (check["check"], evidence["check"]) == ("champion_margin", "evidence")
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
