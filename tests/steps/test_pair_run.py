"""A teacher of pairs from its folder to a student that people can use: made, judged, exported, and loaded as its card says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import pipeline

from asdfd import steps
from asdfd.base.errors import InputError
from tests.tiny_tasks import PAIR_CLASSES, Compression, compressed, make_pair_teacher, word_pairs, write_rows

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Compression:
    folder = tmp_path_factory.mktemp("pairs")
    rows = [{"premise": first, "hypothesis": second, "label": PAIR_CLASSES[kind]} for first, second, kind in word_pairs(200, seed=7)]
    settings = {
        "teacher.reference": make_pair_teacher(folder / "source"),
        "synthesis.pairs": "true",
        "synthesis.samples": 2048,
        "distillation.steps": 600,
        "evaluation.data": write_rows(folder / "pairs.jsonl", rows),
        "evaluation.text_column": "premise",
        "evaluation.pair_column": "hypothesis",
        "evaluation.latency_runs": 2,
        "evaluation.pseudo_samples": 64,
    }
    return compressed(folder / "run", settings)


def test_the_student_learns_what_its_teacher_makes_of_pairs(made: Compression) -> None:
    """One class of four is right by chance; a student that took no notice of one of the two texts would be right on half of them."""
    assert made.metrics["teacher_accuracy"] > 0.95  # 1 or a little less: it was trained by sums whose order depends on machine and threads
    assert made.metrics["agreement"] > 0.6
    assert made.metrics["data"]["remarks"] == ["200 rows and 3 columns (premise, hypothesis, label) were read"]


def test_the_card_s_lines_classify_pairs(made: Compression, capsys: pytest.CaptureFixture[str]) -> None:
    student = made.folder / "student"
    code = re.findall(r"^```python\n(.*?)^```$", (student / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    first, second, _ = word_pairs(1, seed=9)[0]
    found = []
    for lines in code:
        given = lines.replace("FOLDER_OR_NAME_OF_THIS_MODEL", str(student)).replace("The first text of a pair.", first).replace("The second text.", second)
        names: dict[str, Any] = {}
        exec(given.replace("classify({", "found = classify({"), names)  # the card's own code
        found.append(names["found"]["label"] if "found" in names else capsys.readouterr().out.strip())
    direct: Any = pipeline("text-classification", model=str(student))({"text": first, "text_pair": second})
    assert found == [direct["label"]] * 2


def test_an_export_answers_on_pairs_as_the_student_does(made: Compression, tmp_path: Path) -> None:
    found = steps.export(made.run, made.folder / "student", tmp_path / "onnx", "onnx")
    parity = json.loads((found.path / "export.json").read_text(encoding="utf-8"))["parity"]
    assert parity["labelled_text"]["largest_logit_difference"] < 1e-4
    assert parity["labelled_text"]["export_accuracy"] == pytest.approx(made.metrics["student_accuracy"])
    assert '(["The first text of a pair."], ["The second text."], padding=True' in (found.path / "README.md").read_text(encoding="utf-8")
    measured = steps.evaluate(made.run, made.folder / "teacher", made.folder / "student", tmp_path / "evaluation", beside=steps.Beside(found.path))
    again = json.loads((measured.path / "metrics.json").read_text(encoding="utf-8"))
    assert np.isclose(again["export_accuracy"], made.metrics["student_accuracy"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"evaluation.pair_column": ""}, "evaluation.pair_column: is empty, and the student learns from pairs of texts"),
        ({"evaluation.pair_column": "second"}, "has no column 'second'; it has 'premise', 'hypothesis', 'label'"),
        ({"evaluation.pair_column": "premise"}, "evaluation.text_column, pair_column and label_column name 'premise', 'premise', 'label'"),
        ({"synthesis.pairs": "false"}, "evaluation.pair_column: is 'hypothesis', and the student learns from single texts; make bank and student again, with"),
    ],
)
def test_columns_that_do_not_fit_the_samples_are_told_ahead(made: Compression, settings: dict[str, str], message: str) -> None:
    run = made.run
    for name, value in settings.items():
        section, _, field = name.partition(".")
        run = run.changed(**{section: getattr(run, section).changed(**{field: value})})
    with pytest.raises(InputError, match=re.escape(message)):
        steps.check_ahead(run)


def test_the_student_itself_says_that_it_reads_pairs(made: Compression, tmp_path: Path) -> None:
    """Whoever evaluates it need not know how its samples were made."""
    run = made.run.changed(synthesis=made.run.synthesis.changed(pairs=False))
    found = steps.evaluate(run, made.folder / "teacher", made.folder / "student", tmp_path / "evaluation")
    assert json.loads((found.path / "metrics.json").read_text(encoding="utf-8"))["agreement"] == made.metrics["agreement"]
    single = made.run.changed(evaluation=made.run.evaluation.changed(pair_column=""))
    with pytest.raises(InputError, match=re.escape("evaluation.pair_column: is empty, and the student learns from pairs")):
        steps.evaluate(single, made.folder / "teacher", made.folder / "student", tmp_path / "other")
