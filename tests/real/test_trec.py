"""The whole method on real questions: a pretrained encoder fine-tuned on TREC, shrunk to half its layers without TREC, judged on TREC's test questions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from asdfd import steps
from asdfd.config import load_run

BUDGET = ["distillation.steps=80", "synthesis.samples=2560", "evaluation.latency_runs=5"]
RANDOM = ["synthesis.guessing=none", "synthesis.prior=uniform"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MiniLM-L6 teacher after one epoch."""
    import teachers
    import torch

    torch.set_num_threads(2)  # the one test whose matrices are large enough for two

    folder = tmp_path_factory.mktemp("trec")
    assert teachers.train_teacher("trec", folder / "source", epochs=1) > 0.85
    return steps.fetch(load_run(settings=[f"teacher.reference={folder / 'source'}"]), folder / "teacher").path


def compress(teacher: Path, folder: Path, settings: list[str]) -> dict[str, Any]:
    """Metrics of the student that these settings give."""
    import teachers

    run = load_run(settings=[*BUDGET, *settings])
    bank = steps.synthesize(run, teacher, folder / "bank").path
    student = steps.distill(run, teacher, bank, folder / "student").path
    evaluation = steps.evaluate(run, teacher, student, folder / "evaluation", str(teachers.DATA / "trec" / "test.parquet")).path
    return json.loads((evaluation / "metrics.json").read_text())


@pytest.mark.real
def test_the_method_beats_random_tokens_at_equal_steps(teacher: Path, tmp_path: Path) -> None:
    ours, random = (compress(teacher, tmp_path / name, settings) for name, settings in (("ours", []), ("random", RANDOM)))
    print({name: (ours[name], random[name]) for name in ("student_accuracy", "teacher_accuracy", "mean_kl", "agreement")})
    assert ours["data"]["rows"] == 500
    assert ours["student_accuracy"] > random["student_accuracy"]
    assert ours["mean_kl"] < random["mean_kl"]
    assert ours["compression"] > 1
