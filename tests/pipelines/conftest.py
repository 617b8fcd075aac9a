"""What the tests of the pipeline share: a teacher of two layers, texts, and the parameters of a run that spends its time on starting Python."""

from __future__ import annotations

from pathlib import Path

import pytest

SETTINGS = {
    "synthesis.samples": "1700",
    "synthesis.minimum_length": "3",
    "synthesis.maximum_length": "5",
    "synthesis.guessing": "none",
    "distillation.steps": "400",
    "distillation.batch_size": "8",
    "distillation.log_every": "1",
    "distillation.checkpoint_seconds": "1000",
    "evaluation.latency_runs": "2",
    "gate.largest_drop": "1",
    "gate.minimum_agreement": "0",
    "gate.worth_speedup": "1000",
    "gate.worth_compression": "1000",
}
"""1700 samples are two parts. The gate lets everything through, and finds the teacher's own int8 the better choice."""


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder of a random classifier of two layers and three classes, and data.csv with texts beside it."""
    from tests.tiny_models import make_teacher

    folder = tmp_path_factory.mktemp("a python3 source")  # Kubeflow's runner looks for that word
    texts = ["wonderful movie,praise", "delivery late again,complaint", "where is my order,question", "boring plot,complaint", "i like this phone,praise"]
    (folder / "data.csv").write_text("\n".join(["text,label", *texts, ""]), encoding="utf-8")
    return make_teacher(folder / "teacher", layers=2)


@pytest.fixture(scope="session")
def settings(source: Path) -> list[str]:
    """The run's parameters as settings."""
    named = SETTINGS | {"teacher.reference": str(source), "evaluation.data": str(source.parent / "data.csv")}
    return [f"{name}={value}" for name, value in named.items()]
