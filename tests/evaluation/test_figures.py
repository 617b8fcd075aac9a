"""A figure is defined once: what is in the table is shown wherever figures are."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from asdfd.base.config import Gate
from asdfd.base.figures import FIGURES, columns, limited_by, recorded

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def shown() -> dict[str, str]:
    """What every place shows when the table has two more figures."""
    done = subprocess.run([sys.executable, "-m", "tests.evaluation.made_up_figures"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "patterns"),
    [
        ("metrics.json", ['"teacher_kappa": 0.8125', '"student_kappa": 0.4375', '"sway": 0.375']),
        ("report", [r"Made-up kappa</th>\s*<td[^>]*>81.2 %</td>\s*<td[^>]*>43.8 %", r"Made-up sway</th>\s*<td[^>]*>0.375 nats"]),
        (
            "card",
            [
                r"Made-up kappa on texts.csv \(3 texts\) \| 0.4375",
                r"Made-up kappa of the teacher on texts.csv \(3 texts\) \| 0.8125",
                r"Made-up sway on .* \| 0.375",
            ],
        ),
        ("terminal", [r"Made-up kappa +0.8125 +0.4375", r"Made-up sway, nats +0.375"]),
        ("Prometheus", [r'asdfd_model_kappa_ratio\{[^}]*role="student"[^}]*\} 0.4375', r"asdfd_sway_nats\{[^}]*\} 0.375"]),
        ("metrics", ["asdfd_model_kappa_ratio", "asdfd_sway_nats"]),
        ("dashboard", ['"title": "Made-up panel"', r"asdfd_model_kappa_ratio\{", r"asdfd_sway_nats\{"]),
        ("manifest", ['"student_kappa": 0.4375']),
        ("versions", [r"kappa", r"0.4375"]),
        ("gate", [r"minimum_kappa: student_kappa is 0.4375, the limit is 0.5", "largest_sway"]),
    ],
)
def test_a_new_figure_is_shown_everywhere(shown: dict[str, str], place: str, patterns: list[str]) -> None:
    assert [pattern for pattern in patterns if not re.search(pattern, shown[place])] == [], shown[place]


def test_figures_are_told_apart() -> None:
    for values in ([figure.name for figure in FIGURES], [figure.title for figure in FIGURES], [figure.series for figure in FIGURES]):
        assert len(set(values)) == len(values)
    assert all(figure.series.startswith("asdfd_") and figure.help.endswith(".") for figure in FIGURES)


def test_limits_are_fields_of_the_gate() -> None:
    assert {figure.rule for figure in FIGURES if figure.rule} <= set(Gate.model_fields)
    texts, none = {"data": {"kind": "unlabelled_text"}}, {"data": {"kind": "pseudo_samples"}}
    for rule, on_texts, without in (("minimum_agreement", "agreement", "predicted_agreement"), ("minimum_accuracy", "accuracy", "accuracy")):
        assert [getattr(limited_by(rule, metrics), "name", None) for metrics in (texts, none)] == [on_texts, without]
    measured = limited_by("minimum_agreement", none | {"agreement_on_pseudo_samples": 0.9, "predicted_agreement_missing": "pairs"})
    assert measured is not None
    assert measured.name == "agreement_on_pseudo_samples", "where nothing is predicted"
    assert limited_by("largest_drop", texts) is None
    assert all(figure.rule.startswith("minimum" if figure.better == "higher" else "largest") for figure in FIGURES if figure.rule)


def test_what_a_manifest_repeats_and_a_table_of_versions_shows() -> None:
    document = {"student_accuracy": 0.9, "teacher_accuracy": 0.95, "agreement": 0.92, "student_bytes": 10, "speedup": 2.0, "compression": 1.5}
    assert recorded(document) == {name: document[name] for name in document if name != "speedup"}
    assert columns(recorded(document)) == {"accuracy": 0.9, "agreement": 0.92}
    predicted = {"predicted_agreement": 0.9, "predicted_agreement_low": 0.8, "predicted_agreement_high": 0.95}
    assert recorded(predicted) == predicted
    assert columns(predicted | {"agreement_on_pseudo_samples": 0.8}) == {"accuracy": None, "agreement": 0.9}
    assert columns({"agreement_on_pseudo_samples": 0.8}) == {"accuracy": None, "agreement": 0.8}
    assert columns({}) == {"accuracy": None, "agreement": None}


def test_no_list_of_figures_stands_beside_the_table() -> None:
    """A list, tuple or dict that is written down and has three figures or more is one."""
    names = {name for figure in FIGURES for name in (figure.name, figure.of_role("student"), figure.of_role("teacher"))} - {"agreement"}
    for path in (ROOT / "src").rglob("*.py"):
        if path.name == "figures.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.List | ast.Tuple | ast.Dict | ast.Set):
                keys = node.keys if isinstance(node, ast.Dict) else node.elts
                texts = {item.value for key in keys if key is not None for item in ast.walk(key) if isinstance(item, ast.Constant)}
                assert len(texts & names) < 3, f"{path.name}:{node.lineno}"
