"""A tiny teacher, and a bank that it made."""

from __future__ import annotations

from pathlib import Path

import pytest

from asdfd.base.config import Synthesis
from asdfd.method import synthesis
from asdfd.method.bank import Bank
from asdfd.models.classifiers import Classifier, load_teacher


@pytest.fixture(scope="module")
def teacher(teacher_artifact: Path) -> Classifier:
    return load_teacher(teacher_artifact)


@pytest.fixture(scope="module")
def bank(teacher: Classifier, tmp_path_factory: pytest.TempPathFactory) -> Bank:
    folder = tmp_path_factory.mktemp("bank")
    config = Synthesis(guessing="replacement", samples=256, minimum_length=3, maximum_length=5, pool=64, candidates=4)
    synthesis.synthesize_parts(teacher, config, 0, folder, [0])
    return Bank(folder)
