"""A teacher's bank of uneven batches, and one without enough entries for a batch."""

from __future__ import annotations

from pathlib import Path

import pytest

from asdfd import steps
from asdfd.base.loading import load_run
from tests.cli.conftest import TINY


@pytest.fixture(scope="session")
def bank_artifact(teacher_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 entries of 3 to 6 tokens, driven to classes, so that the adversary finds entries that the student has right."""
    run = load_run(settings=[f"{name}={value}" for name, value in (TINY | {"synthesis.guessing": "replacement"}).items()])
    return steps.synthesize(run, teacher_artifact, tmp_path_factory.mktemp("bank") / "bank").path


@pytest.fixture(scope="session")
def small_bank_artifact(teacher_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two entries."""
    run = load_run(settings=[f"{name}={value}" for name, value in (TINY | {"synthesis.samples": "2"}).items()])
    return steps.synthesize(run, teacher_artifact, tmp_path_factory.mktemp("bank") / "bank").path
