"""What the tests of promotions share: two students of one teacher, and the command line on a registry of the test."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from asdfd.cli.main import main
from tests.cli.conftest import TINY, tiny_options

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
