"""Agreement, divergence and shift of the classes, with intervals that hold as often as they say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asdfd.base.evidence import INTERVAL
from asdfd.base.figures import FIGURES
from asdfd.evaluation.fidelity import Estimate, class_shift, fidelity, mean_estimate, share_estimate
from asdfd.evaluation.prediction import CALIBRATION, predicted_agreement
from asdfd.evaluation.scores import mean_kl


def test_the_class_that_shifts_most_is_found_whichever_way_it_shifts() -> None:
    teacher, fewer, more = np.array([0, 0, 0, 1, 2, 2]), np.array([0, 1, 2, 1, 2, 2]), np.array([0, 0, 0, 1, 1, 1])
    assert class_shift(teacher, fewer, 3) == (class_shift(teacher, fewer, 3)[0], 0)
    assert class_shift(teacher, fewer, 3)[0].value == pytest.approx(2 / 6)
    assert class_shift(teacher, more, 3)[0].value == pytest.approx(2 / 6)
    same, _ = class_shift(teacher, teacher, 3)
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_with_several_labels_a_shift_is_that_of_a_label() -> None:
    teacher, student = np.array([[True, True], [True, False]]), np.array([[True, True], [True, True]])
    shift, label = class_shift(teacher, student, 2)
    assert (shift.value, label) == (0.5, 1)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_intervals_of_a_share_hold_as_often_as_they_say(share: float) -> None:
    random, rows, held = np.random.default_rng(0), 300, 0
    for count in random.binomial(rows, share, size=2000).tolist():
        found = share_estimate(count, rows)
        held += found.low <= share <= found.high
    assert abs(held / 2000 - INTERVAL) < 0.05


def test_intervals_of_a_mean_hold_as_often_as_they_say() -> None:
    random = np.random.default_rng(0)
    found = [mean_estimate(random.exponential(0.3, size=400), lowest=0.0) for _ in range(2000)]
    assert abs(np.mean([one.low <= 0.3 <= one.high for one in found]) - INTERVAL) < 0.03


@given(st.integers(1, 5000), st.floats(0, 1))
def test_an_interval_of_a_share_holds_the_share_and_stays_between_0_and_1(rows: int, share: float) -> None:
    found = share_estimate(round(share * rows), rows)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_every_figure_on_texts_is_among_its_figures() -> None:
    random = np.random.default_rng(0)
    teacher, student = random.normal(size=(50, 4)), random.normal(size=(50, 4))
    found = fidelity(teacher, student)
    figures = found.figures("export")
    on_texts = [figure for figure in FIGURES if (figure.of, figure.on) == ("the pair", "texts")]
    assert set(figures) == {f"export_{figure.name}{end}" for figure in on_texts for end in ("", "_low", "_high")}
    assert figures["export_mean_kl"] == pytest.approx(mean_kl(teacher, student))


@given(st.floats(0, 20), st.floats(0, 20))
def test_a_prediction_falls_with_the_divergence_and_lies_in_its_interval(one: float, other: float) -> None:
    nearer, farther = (predicted_agreement(divergence) for divergence in (min(one, other), max(one, other)))
    assert nearer.value >= farther.value
    assert 0 < farther.low < farther.value < farther.high < 1


def test_the_constants_are_those_of_the_committed_measurement() -> None:
    found = json.loads((Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "predicted_fidelity.json").read_text())["calibration"]
    assert (CALIBRATION.constant, CALIBRATION.slope, CALIBRATION.reach) == (found["constant"], found["slope"], found["reach"])


def test_a_model_that_is_its_teacher_is_predicted_to_agree() -> None:
    found = predicted_agreement(0.0)
    assert isinstance(found, Estimate)
    assert found.value > 0.99
