"""A program that adds two made-up figures to the table, before anything reads it, and writes what every place then shows of an evaluation that has them.

A process of its own, since the tables that are made from the figures are made when their modules are imported.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from asdfd.base import figures
from asdfd.base.figures import Figure

KAPPA = Figure(
    "kappa",
    "Made-up kappa",
    figures.SHARE,
    "higher",
    "each model",
    "labelled texts",
    "asdfd_model_kappa_ratio",
    "Made up, of each model.",
    "Made-up panel",
    column="kappa",
    rule="minimum_kappa",
    recorded=("student_kappa",),
)
SWAY = Figure("sway", "Made-up sway", figures.NATS, "lower", "the pair", "texts", "asdfd_sway_nats", "Made up.", "Made-up panel", "", "largest_sway")
figures.FIGURES = (*figures.FIGURES, KAPPA, SWAY)

import numpy as np  # noqa: E402  # what follows reads the table

from asdfd.base.config import Gate  # noqa: E402
from asdfd.cli.presentation import metrics_table, rendered  # noqa: E402
from asdfd.cli.registry_tables import versions_table  # noqa: E402
from asdfd.evaluation.comparison import LabelledEvaluation, compare_on_text  # noqa: E402
from asdfd.evaluation.documents import metrics_document  # noqa: E402
from asdfd.evaluation.latency import Latency, LatencyComparison  # noqa: E402
from asdfd.evaluation.report import ReportContent, report  # noqa: E402
from asdfd.evaluation.texts import Texts  # noqa: E402
from asdfd.models.model_card import ModelCardContent, model_card  # noqa: E402
from asdfd.models.sizes import Size  # noqa: E402
from asdfd.monitoring import prometheus  # noqa: E402
from asdfd.monitoring.dashboard import dashboard  # noqa: E402
from asdfd.monitoring.metrics import METRICS, evaluation_samples  # noqa: E402
from asdfd.registry.evidence import Evidence  # noqa: E402
from asdfd.registry.gate import judge  # noqa: E402


class StricterGate(Gate):
    """A gate with a rule for each of the made-up figures."""

    minimum_kappa: float = 0.5
    largest_sway: float = 0.5


def evaluated() -> dict[str, Any]:
    """A metrics.json of three texts; the made-up figures are put where a real one is computed."""
    teacher, student = np.eye(2)[[0, 1, 1]], np.eye(2)[[0, 1, 0]]
    result = compare_on_text(teacher, student, Texts(("a", "b", "c"), (0, 1, 1), "ab" * 32, "texts.csv"), ["no", "yes"])
    assert isinstance(result, LabelledEvaluation)
    for holder, name, value in ((result.teacher, "kappa", 0.8125), (result.student, "kappa", 0.4375), (result.fidelity, "sway", 0.375)):
        object.__setattr__(holder, name, value)
    fast = Latency(0.01, 0.02, 100.0)
    return metrics_document(result, teacher_size=Size(20, 80), student_size=Size(10, 40), latency=LatencyComparison(fast, fast, "cpu", 1, 3, 4))


def main() -> int:
    """Write what each place shows."""
    document = evaluated()
    row = {"name": "m", "version": "v", "stages": [], "created": "", "bytes": 1, "evidence": "labels", "metrics": figures.recorded(document)}
    content = ReportContent(title="", metrics=document, label_names=("no", "yes"), layer_map=(1,), teacher_layers=2)
    card = ModelCardContent("", "", "", ("no", "yes"), (1,), 2, 8, {}, metrics=document)
    verdict = judge(StricterGate(), Evidence("s", "ab" * 32, document, [], "e"), None)
    shown = {
        "metrics.json": json.dumps(document),
        "report": report(content),
        "card": model_card(card),
        "terminal": rendered(metrics_table(document)),
        "Prometheus": prometheus.text(prometheus.group_of("m", "evaluate"), evaluation_samples(document)),
        "metrics": json.dumps([metric.name for metric in METRICS]),
        "dashboard": json.dumps(dashboard()),
        "manifest": json.dumps(row["metrics"]),
        "versions": rendered(versions_table([row])),
        "gate": "\n".join(verdict.reasons) + "".join(check.check for check in verdict.checks if check.passed),
    }
    print(json.dumps(shown))
    return 0


if __name__ == "__main__":
    sys.exit(main())
