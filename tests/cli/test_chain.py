"""The whole way from a model folder to an evaluation, verb by verb, through the real command; tests/pipelines has the verb that does all of it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from asdfd.base import artifacts
from asdfd.cli.main import main
from tests.cli.conftest import Made, tiny_options

pytestmark = pytest.mark.slow

SCRIPT = str(Path(sys.executable).with_name("asdfd"))


def command(*words: object) -> subprocess.CompletedProcess[str]:
    """Run the console script; it must succeed and say nothing but progress, and what data it read, on stderr."""
    done = subprocess.run([SCRIPT, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = ("asdfd: teacher.base is empty", "synthesize, parts ", "distill, steps ", "asdfd: data.csv: 5 rows and 2 columns (text, label) were read")
    assert all(line.startswith(told) for line in done.stderr.splitlines()), done.stderr
    return done


def result(*words: object) -> dict[str, Any]:
    """The JSON object of a command."""
    return json.loads(command(*words, "--json").stdout)


def test_the_chain_through_the_console_script(made: Made, data: Path, tmp_path: Path) -> None:
    """fetch, synthesize, distill and evaluate, as people and as machines see them; what was made in-process before is the same, bit for bit."""
    teacher, bank, student, evaluation = (tmp_path / "runs" / name for name in ("teacher", "bank", "student", "evaluation"))
    text = command("fetch", "--teacher", made.source, "--out", teacher).stdout
    digest = artifacts.read(made.teacher, "teacher").digest
    assert text.splitlines()[:3] == [f"teacher         {teacher}", f"digest          {digest}", "model           bert, 3 classes"]
    found = result("synthesize", "--teacher", teacher, "--out", bank, *tiny_options())
    assert found == {"step": "synthesize", "path": str(bank), "kind": "bank", "digest": artifacts.read(made.bank, "bank").digest}
    found = result("distill", "--teacher", teacher, "--bank", bank, "--out", student, *tiny_options())
    assert found == {"step": "distill", "path": str(student), "kind": "student", "digest": artifacts.read(made.student, "student").digest}
    found = result("evaluate", "--teacher", teacher, "--student", student, "--data", data, "--out", evaluation, *tiny_options())
    assert (found["step"], found["path"], found["kind"]) == ("evaluate", str(evaluation), "evaluation")
    assert found["digest"] == artifacts.read(evaluation, "evaluation").digest
    assert found["metrics"] == json.loads((evaluation / "metrics.json").read_text())
    assert found["metrics"]["data"]["rows"] == 5
    with (evaluation / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert found["metrics"]["student_accuracy"] == sum(row["student"] == row["label"] for row in rows) / 5
    assert found["metrics"]["agreement"] == sum(row["student"] == row["teacher"] for row in rows) / 5
    assert "<html" in (evaluation / "report.html").read_text()
    beside = {"bank.metrics.prom", "evaluation.metrics.prom", "student.metrics.jsonl", "student.metrics.prom"}
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"bank", "evaluation", "student", "teacher", *beside}


def test_without_data_the_verdict_is_agreement_and_says_that_it_is_no_accuracy(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # so that no title is broken
    words = ["evaluate", "--teacher", str(made.teacher), "--student", str(made.student), "--out", str(tmp_path / "evaluation"), *tiny_options()]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert "Judged without texts" in text
    assert "32 held-out pseudo samples" in text
    assert f"Fidelity: agreement with the teacher on pseudo samples {metrics['agreement_on_pseudo_samples']:.4f}" in " ".join(text.split())
    assert not [line for line in text.splitlines() if line.strip().lower().startswith("accuracy")]


def test_shards_made_one_by_one_merge_into_the_same_bank(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """96 samples are one part, so the second of the two shards is empty; that is no error."""
    for number in range(2):
        words = ["synthesize", "--teacher", str(made.teacher), "--out", str(tmp_path / f"shard-{number}"), "--shard", f"{number}/2", *tiny_options()]
        assert main(words) == 0
        assert f"shard           {number} of 0 to 1" in capsys.readouterr().out
    assert main(["merge", "--out", str(tmp_path / "bank"), str(tmp_path / "shard-1"), str(tmp_path / "shard-0"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["digest"] == artifacts.read(made.bank, "bank").digest


def test_parameters_decide_the_content_and_technical_ones_do_not(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def bank(name: str, *options: str) -> str:
        assert main(["synthesize", "--teacher", str(made.teacher), "--out", str(tmp_path / name), "--json", *tiny_options(), *options]) == 0
        return json.loads(capsys.readouterr().out)["digest"]

    first = bank("a")
    assert bank("b", "--set", "distillation.steps=9", "--set", "device=cpu") == first
    assert bank("c", "--set", "seed=1") != first
    assert bank("d", "--set", "synthesis.prior=uniform") != first
