"""report.html: what came out of a run, on one page that needs nothing but itself, on a phone as on a desk, by day and by night.

Label names, texts and parameters are not ours, so every value is escaped by the template; the page's own policy forbids scripts and requests besides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asdfd.base.artifacts import write_atomically
from asdfd.base.figures import SEVERAL_LABELS, SHARE, Figure, measured_roles, of_each_model, of_the_pair
from asdfd.evaluation.plots import Chart, confusion_chart, latency_chart, recall_chart, training_charts


@dataclass(frozen=True)
class PseudoSample:
    """A pseudo sample as text: its tokens, or the tokens nearest to its embeddings."""

    label: str
    confidence: float
    """The teacher's probability of that class."""
    text: str


@dataclass(frozen=True)
class ReportContent:
    """Everything on the page."""

    title: str
    metrics: Mapping[str, Any]
    """The content of metrics.json (`evaluation.metrics_document`)."""
    label_names: Sequence[str]
    layer_map: Sequence[int]
    """Teacher layer, from 0, of each student layer."""
    teacher_layers: int
    records: Sequence[Mapping[str, float | None]] = ()
    """The metric records of the distillation."""
    bank: Mapping[str, Any] = field(default_factory=dict)
    """Facts about the bank by name. A mapping inside becomes a table of its own; a number whose name ends with _share or _confidence is shown in percent."""
    pseudo_samples: Sequence[PseudoSample] = ()
    declared_source: str = ""
    """What the pseudo samples were made from beside the teacher; empty where there was nothing else."""
    hidden_size: int = 0
    """The student's, in numbers of a hidden state."""
    teacher_hidden_size: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """The run's parameters as a tree."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Digests, seeds and versions by name."""


def write_report(path: Path, content: ReportContent) -> None:
    """Write the page; the same content gives the same bytes."""
    write_atomically(path, report(content))


def report(content: ReportContent) -> str:
    """The page as HTML."""
    from markupsafe import Markup

    from asdfd.base.templating import environment

    metrics = content.metrics
    labelled = "student_accuracy" in metrics
    charts = [latency_chart(metrics)]
    if labelled:
        confusion = [] if SEVERAL_LABELS in metrics else [confusion_chart(metrics["confusion_matrix"], content.label_names)]
        charts = [*confusion, recall_chart(metrics["per_class"]), *charts]
    bank = {name: value for name, value in content.bank.items() if not isinstance(value, Mapping)}
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            title=content.title,
            labelled=labelled,
            headline=headline(content),
            metrics=metrics,
            comparison=_comparison(metrics),
            roles=tuple(measured_roles(metrics)),
            facts=_facts(metrics),
            result_charts=_marked(charts, Markup),
            training_charts=_marked(training_charts(content.records), Markup),
            forced_steps=_forced_steps(content),
            per_class=metrics.get("per_class", []),
            teacher_classes=list(zip(content.label_names, metrics.get("teacher_class_counts", []), strict=False)),
            bank=[(_words(name), _value(name, value)) for name, value in bank.items()],
            bank_tables=[
                (_words(name), [(key, _value(name, value)) for key, value in table.items()])
                for name, table in content.bank.items()
                if isinstance(table, Mapping)
            ],
            pseudo_samples=content.pseudo_samples,
            declared_source=content.declared_source,
            layer_map=", ".join(map(str, content.layer_map)),
            parameters=_flat(content.parameters),
            provenance=content.provenance,
        )
    )


def headline(content: ReportContent) -> str:
    """What came out, in two sentences."""
    metrics = content.metrics
    size = _times(metrics["compression"], "smaller", "larger")
    speed = _times(metrics["speedup"], "faster", "slower")
    narrow = content.hidden_size != content.teacher_hidden_size
    width = f" and a hidden size of {content.hidden_size} in place of {content.teacher_hidden_size}" if narrow else ""
    layers = f"with {len(content.layer_map)} of {content.teacher_layers} layers{width}"
    rows = f"{metrics['data']['rows']:,}"
    if "student_accuracy" not in metrics:
        share = SHARE.read(metrics["agreement_on_pseudo_samples"])
        what = "labels" if SEVERAL_LABELS in metrics else "class"
        return f"The student, {layers}, gives its teacher's {what} on {share} of {rows} held-out pseudo samples. It is {size} and {speed}."
    scores = f"{SHARE.read(metrics['student_accuracy'])} against {SHARE.read(metrics['teacher_accuracy'])} on {rows} texts of {metrics['data']['name']}"
    what = "subset accuracy (all labels of a text right)" if SEVERAL_LABELS in metrics else "accuracy"
    kept = (
        f"has {'a ' if SEVERAL_LABELS in metrics else 'an '}{what}"
        if metrics["retention"] is None
        else f"keeps {SHARE.read(metrics['retention'])} of its teacher's {what}"
    )
    return f"The student, {layers}, {kept}: {scores}. It is {size} and {speed}."


def _comparison(metrics: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Rows of the table teacher against student: (what, teacher, student), and the export, where one was measured with them."""
    names = [(figure, [figure.of_role(role) for role in measured_roles(metrics)]) for figure in of_each_model(metrics)]
    return [(figure.titled(metrics), *(figure.unit.read(metrics[name]) if name in metrics else "–" for name in row)) for figure, row in names]


def _export_facts(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is said about the export; nothing where there is none."""
    if "export_format" not in metrics:
        return []
    labelled = "export_agreement" in metrics
    agreement = SHARE.read(metrics["export_agreement" if labelled else "export_agreement_on_pseudo_samples"])
    return [
        ("Export", f"{metrics['export_format']}, digest {metrics['export_digest']}"),
        (f"Agreement of export and teacher{'' if labelled else ' on pseudo samples'}", agreement),
        (f"Agreement of export and student{'' if labelled else ' on pseudo samples'}", SHARE.read(metrics["export_agreement_with_student"])),
        ("Export against teacher", f"{_times(metrics['export_compression'], 'smaller', 'larger')}, {_times(metrics['export_speedup'], 'faster', 'slower')}"),
    ]


def _facts(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is said about the pair of models, and what it was measured on."""
    rows = [(figure.titled(metrics), _read(figure, metrics)) for figure in of_the_pair(metrics)]
    if "student_accuracy" in metrics:
        rows += [("Data", f"{metrics['data']['name']}, {metrics['data']['rows']:,} texts"), ("Digest of the data", metrics["data"]["digest"])]
        rows += [("About the data", remark) for remark in metrics["data"].get("remarks", [])]
    else:
        rows += [("Data", f"{metrics['data']['rows']:,} held-out pseudo samples")]
    runs = f"{metrics['latency_runs']} runs of each model in turn, batches of {metrics['latency_batch_size']}"
    device = f"{metrics['latency_device']}, {metrics['latency_threads']} CPU threads, {runs}"
    return [*rows, *_export_facts(metrics), ("Timed on", device)]


def _read(figure: Figure, metrics: Mapping[str, Any]) -> str:
    """A figure of the pair as text, or why there is none."""
    value = metrics[figure.name]
    return str(metrics.get(f"{figure.name}_missing", "")) if value is None else figure.unit.read(value)


def _forced_steps(content: ReportContent) -> int:
    """Steps in which each layer learned by itself; none for a student of one layer, which is its whole chain."""
    distillation = content.parameters.get("distillation", {})
    return math.ceil(distillation.get("forced_share", 0) * distillation.get("steps", 0)) if len(content.layer_map) > 1 else 0


def _marked(charts: Sequence[Chart], markup: Any) -> list[tuple[str, Any]]:
    """Title and drawing of each chart; the drawing is markup of our own."""
    return [(chart.title, markup(chart.svg)) for chart in charts]


def _times(ratio: float, more: str, less: str) -> str:
    """`1.8 times faster`, or `1.2 times slower` for a ratio below 1."""
    return f"{ratio:.1f} times {more}" if ratio >= 1 else f"{1 / ratio:.1f} times {less}"


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _value(name: str, value: Any) -> str:
    """A fact as text."""
    if isinstance(value, float) and name.endswith(("_share", "share_converged", "_confidence")):
        return SHARE.read(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A tree of parameters as (section.name, value)."""
    rows: list[tuple[str, str]] = []
    for name, value in tree.items():
        rows += _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(f"{prefix}{name}", str(value))]
    return rows
