"""Teacher forcing: every layer of the student reads what it is given, in every family, and only while it is asked to."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from asdfd.method.forcing import TeacherForcing
from asdfd.models.classifiers import load_teacher, signals
from asdfd.models.fetching import fetch
from asdfd.models.students import derive_student
from tests.tiny_models import FAMILIES, make_teacher
from tests.tolerance import assert_close, difference


@pytest.mark.parametrize("family", FAMILIES)
def test_each_layer_reads_what_it_is_given(family: str, tmp_path: Path) -> None:
    make_teacher(tmp_path / "source", family)
    fetch(str(tmp_path / "source"), tmp_path / "teacher")
    teacher = load_teacher(tmp_path / "teacher")
    one, other = (teacher.embedding_table[torch.randint(20, 60, (3, 6), generator=torch.Generator().manual_seed(seed))] for seed in (0, 1))
    student = derive_student(teacher, range(teacher.layers))  # the teacher itself, so that its layers are known to be right
    expected_first, expected = signals(teacher.model, one), signals(teacher.model, other)
    forcing = TeacherForcing(student)
    found = forcing.signals(one, expected.hidden[1:-1])
    assert len(found.hidden) == teacher.layers + 1
    for mine, theirs in zip(found.hidden, (*expected_first.hidden[:2], *expected.hidden[2:]), strict=True):
        assert_close(mine, theirs)
    assert_close(found.logits, expected.logits)
    assert difference(found.logits, expected_first.logits) > 1e-2
    assert_close(signals(student, one).logits, expected_first.logits, told="afterwards it computes what it did")
