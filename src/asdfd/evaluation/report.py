"""report.html: what came out of a run, on one page that needs nothing but itself, on a phone as on a desk, by day and by night.

Label names, texts and parameters are not ours, so every value is escaped by the template; the page's own policy forbids scripts and requests besides.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asdfd.base.artifacts import write_atomically
from asdfd.base.evidence import TITLES, level_of, statement
from asdfd.base.figures import (
    EXPORTS,
    FIGURES,
    SEVERAL_LABELS,
    SHARE,
    Figure,
    against_teacher_int8,
    choices,
    judged_role,
    limited_by,
    measured_roles,
    of_each_model,
    of_the_export,
    of_the_pair,
    read,
    role_title,
    side_by_side,
)
from asdfd.evaluation.plots import Chart, choice_charts, confusion_chart, latency_chart, recall_chart, training_charts


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
    vocabulary: Mapping[str, Any] = field(default_factory=dict)
    """Facts about the student's words (`method.vocabulary`); empty where they are the teacher's."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Digests, seeds and versions by name."""


def write_report(path: Path, content: ReportContent) -> None:
    """Write the page; the same content gives the same bytes."""
    write_atomically(path, report(content))


def write_drawings(folder: Path, metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Write the drawings of what can be served as files that a card shows; their titles and names."""
    drawings = []
    for chart in choice_charts(metrics) if choices(metrics)[1] else ():
        name = f"{re.sub(r'[^a-z]+', '-', chart.title.lower())}.svg"
        write_atomically(folder / name, chart.file)
        drawings.append((chart.title, name))
    return drawings


def report(content: ReportContent) -> str:
    """The page as HTML."""
    from markupsafe import Markup

    from asdfd.base.templating import environment

    metrics = content.metrics
    labelled = level_of(metrics) == "labels"
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
            evidence=statement(metrics),
            headline=headline(content),
            metrics=metrics,
            comparison=_comparison(metrics),
            roles=tuple(role_title(role, metrics) for role in measured_roles(metrics)),
            facts=_facts(metrics),
            rivals=_rivals(metrics),
            choice_charts=_marked(choice_charts(metrics), Markup) if len(measured_roles(metrics)) > 2 else [],
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
            vocabulary=content.vocabulary,
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
    if (level := level_of(metrics)) != "labels":
        what = "labels" if SEVERAL_LABELS in metrics else "class"
        figure = limited_by("minimum_agreement", metrics)
        assert figure is not None
        share = read(figure, metrics)
        if figure.name == "predicted_agreement":
            return f"The student, {layers}, is predicted to give its teacher's {what} on {share} of real texts. It is {size} and {speed}."
        on = f"texts of {metrics['data']['name']}, which have no labels" if level == "texts" else "held-out pseudo samples"
        return f"The student, {layers}, gives its teacher's {what} on {share} of {rows} {on}. It is {size} and {speed}."
    scores = f"{SHARE.read(metrics['student_accuracy'])} against {SHARE.read(metrics['teacher_accuracy'])} on {rows} texts of {metrics['data']['name']}"
    what = "subset accuracy (all labels of a text right)" if SEVERAL_LABELS in metrics else "accuracy"
    kept = (
        f"has {'a ' if SEVERAL_LABELS in metrics else 'an '}{what}"
        if metrics["retention"] is None
        else f"keeps {SHARE.read(metrics['retention'])} of its teacher's {what}"
    )
    return f"The student, {layers}, {kept}: {scores}. It is {size} and {speed}."


def _comparison(metrics: Mapping[str, Any]) -> list[list[str]]:
    """Rows of the table of all models: (what, teacher, student), and the ONNX models, where some were measured with them."""
    shown = of_each_model(metrics)
    if {*measured_roles(metrics)} & {*EXPORTS}:
        shown = [figure for figure in FIGURES if figure in shown or figure.name.startswith("agreement")]
    return side_by_side(metrics, shown)


def _rivals(metrics: Mapping[str, Any]) -> str:
    """What a student has to show for its distillation: a sentence on it and the teacher's own int8."""
    rivals = against_teacher_int8(metrics)
    if rivals is None:
        missing = metrics.get("teacher_int8_missing")
        return f"The teacher's own int8 was not measured: {missing}." if missing else ""
    served = role_title(judged_role(metrics), metrics)
    if rivals.same:
        return f"The {served} is the teacher's own int8."
    gain = f"It is {_times(rivals.smaller, 'smaller', 'larger')} and {_times(rivals.faster, 'faster', 'slower')} than the teacher's own int8"
    return f"What the gate judges is the {served}. {gain}, which takes seconds to make and no data either: the gate's rule worth says whether that is enough."


def _export_facts(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is said about the export; nothing where there is none."""
    if "export_format" not in metrics:
        return []
    return [
        ("Export", f"{metrics['export_format']}, digest {metrics['export_digest']}"),
        *((figure.title, figure.unit.read(metrics[figure.name])) for figure in of_the_export(metrics)),
        ("Export against teacher", f"{_times(metrics['export_compression'], 'smaller', 'larger')}, {_times(metrics['export_speedup'], 'faster', 'slower')}"),
    ]


def _facts(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is said about the pair of models, and what it was measured on."""
    rows = [(figure.titled(metrics), _read(figure, metrics)) for figure in of_the_pair(metrics)]
    data = metrics["data"]
    if level_of(metrics) == "none":
        rows += [("Data", f"{data['rows']:,} held-out pseudo samples")]
        if "teacher_confidence" in data:
            rows += [("The teacher's mean confidence on them", SHARE.read(data["teacher_confidence"]))]
    else:
        if "most_shifted_class" in metrics:
            rows += [("Class that shifts most", str(metrics["most_shifted_class"]))]
        rows += [("Data", f"{data['name']}, {data['rows']:,} {TITLES[level_of(metrics)]}"), ("Digest of the data", data["digest"])]
        rows += [("About the data", remark) for remark in data.get("remarks", [])]
    runs = f"{metrics['latency_runs']} runs of each model in turn, batches of {metrics['latency_batch_size']}"
    device = f"{metrics['latency_device']}, {metrics['latency_threads']} CPU threads, {runs}"
    return [*rows, *_export_facts(metrics), ("Timed on", device)]


def _read(figure: Figure, metrics: Mapping[str, Any]) -> str:
    """A figure of the pair as text, or why there is none."""
    return str(metrics.get(f"{figure.name}_missing", "")) if metrics[figure.name] is None else read(figure, metrics)


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
