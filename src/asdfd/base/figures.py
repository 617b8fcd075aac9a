"""Every figure of an evaluation, defined once: its name in metrics.json, how it is written, which direction is better, and where it is shown.

Report, card, terminal, Prometheus, dashboard, registry and gate take the figures from here, so a new one is a row below and the code in `evaluation` that
computes it: a field of that name of the score, where it is one of each model on texts, or of the evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from asdfd.base.evidence import INTERVAL, level_of

SEVERAL_LABELS = "several_labels"
"""Of a metrics.json, true where a text can have several labels; else it is not there."""
ROLES = ("teacher", "teacher_int8", "student", "export")
"""The models that are measured; the teacher's own int8 and the student's export where there are such."""
EXPORTS = ("teacher_int8", "export")
"""Those of them that are ONNX models."""


@dataclass(frozen=True)
class Unit:
    """What a value is counted in, and how it is written."""

    name: str
    exact: str
    """Form of a value in cards and on the terminal, without the unit."""
    read: Callable[[Any], str]
    """A value with its unit, for the reader of a report."""
    grafana: str
    """Grafana's name of the unit."""


SHARE = Unit("share, 0 to 1", "{:.4f}", lambda value: f"{100 * value:.1f} %", "percentunit")
KEPT = Unit("ratio", "{:.4f}", lambda value: f"{100 * value:.1f} %", "percentunit")
TIMES = Unit("ratio", "{:.2f}", lambda value: f"{value:.1f} times", "none")
NATS = Unit("nats", "{:.4g}", lambda value: f"{value:.4g} nats", "none")
PARAMETERS = Unit("parameters", "{:,}", lambda value: f"{value:,}", "short")
BYTES = Unit("bytes", "{:,}", lambda value: f"{value / 1e6:,.2f} MB", "bytes")
SECONDS = Unit("seconds", "{:.5f}", lambda value: f"{1000 * value:.3g} ms", "s")
MAKING = Unit("seconds", "{:,.1f}", lambda value: f"{value:,.0f} s", "s")
TEXTS_PER_SECOND = Unit("texts per second", "{:,.1f}", lambda value: f"{value:,.4g}", "none")


@dataclass(frozen=True)
class Figure:
    """One figure of an evaluation."""

    name: str
    """In metrics.json; where it is one of each model, after the model's role and `_`."""
    title: str
    unit: Unit
    better: Literal["higher", "lower"]
    of: Literal["each model", "the pair", "the export"]
    """The pair is the teacher and another model; of the export, what is measured against its student."""
    on: Literal["labelled texts", "texts", "pseudo samples", "anything"]
    """What it is measured on; `texts` may have labels or not, `anything` is a figure of size or speed."""
    series: str
    """Its name in Prometheus."""
    help: str
    """What it says, in a sentence."""
    panel: str
    """Title of the dashboard's panel that draws it."""
    column: str = ""
    """Heading in tables of versions, which figures on texts and on pseudo samples share. Empty where it is left out."""
    rule: str = ""
    """The field of config.Gate that limits it; 0 there sets no limit."""
    recorded: tuple[str, ...] = ()
    """Its names in metrics.json that the manifest of a registered version repeats."""
    title_of_several: str = ""
    """Its title where a text can have several labels, and it means something narrower; empty where it is the same."""
    several_only: bool = False
    """Whether it is measured only where a text can have several labels."""
    interval: bool = False
    """Whether the ends of an interval stand beside it, under its name with `_low` and `_high`."""

    def titled(self, metrics: Mapping[str, Any]) -> str:
        """Its title for the models that a metrics.json is about."""
        title = self.title_of_several if metrics.get(SEVERAL_LABELS) and self.title_of_several else self.title
        return f"{title}, with its {INTERVAL:.0%} interval" if f"{self.of_role('student')}_low" in metrics else title

    def of_role(self, role: str) -> str:
        """Its name in metrics.json for one of the models; of a figure of the pair, an export stands in the student's place."""
        return f"{role}_{self.name}" if self.of == "each model" or (self.of == "the pair" and role in EXPORTS) else self.name


_ACCURACY, _AGREEMENT, _PARITY, _DISTANCE, _LATENCY, _GAINS = (
    "Accuracy of the newest student",
    "Agreement",
    "Parity of the export",
    "Distance of the predictions",
    "Latency of one text",
    "Gains",
)

FIGURES: tuple[Figure, ...] = (
    Figure(
        "accuracy",
        "Accuracy",
        SHARE,
        "higher",
        "each model",
        "labelled texts",
        "asdfd_model_accuracy_ratio",
        "Accuracy on the labelled texts; with several labels the share of texts with exactly the right ones.",
        _ACCURACY,
        column="accuracy",
        rule="minimum_accuracy",
        recorded=("student_accuracy", "teacher_accuracy", "export_accuracy"),
        title_of_several="Subset accuracy (all labels of a text right, and no other)",
    ),
    Figure(
        "retention",
        "Retention (student accuracy / teacher accuracy)",
        KEPT,
        "higher",
        "the pair",
        "labelled texts",
        "asdfd_accuracy_retention_ratio",
        "The student's accuracy over the teacher's.",
        _AGREEMENT,
        title_of_several="Retention (student subset accuracy / teacher subset accuracy)",
    ),
    Figure(
        "macro_f1",
        "Macro F1",
        SHARE,
        "higher",
        "each model",
        "labelled texts",
        "asdfd_model_macro_f1_ratio",
        "F1 averaged over the classes.",
        "F1",
        rule="minimum_macro_f1",
    ),
    Figure(
        "micro_f1",
        "Micro F1",
        SHARE,
        "higher",
        "each model",
        "labelled texts",
        "asdfd_model_micro_f1_ratio",
        "F1 of all decisions on labels together, where a text can have several.",
        "F1",
        rule="minimum_micro_f1",
        several_only=True,
    ),
    Figure(
        "expected_calibration_error",
        "Expected calibration error",
        SHARE,
        "lower",
        "each model",
        "labelled texts",
        "asdfd_model_calibration_error_ratio",
        "Expected calibration error.",
        "Calibration error",
    ),
    Figure(
        "agreement",
        "Fidelity: agreement with the teacher",
        SHARE,
        "higher",
        "the pair",
        "texts",
        "asdfd_agreement_ratio",
        "Share of the texts that both models put in the same class, or give exactly the same labels.",
        _AGREEMENT,
        title_of_several="Fidelity: agreement with the teacher on all labels of a text",
        column="agreement",
        rule="minimum_agreement",
        recorded=("agreement", "export_agreement"),
        interval=True,
    ),
    Figure(
        "mean_kl",
        "Mean KL(teacher || student)",
        NATS,
        "lower",
        "the pair",
        "texts",
        "asdfd_mean_kl_nats",
        "Mean KL(teacher || student) on the texts.",
        _DISTANCE,
        interval=True,
    ),
    Figure(
        "largest_class_shift",
        "Fidelity: largest shift of a class",
        SHARE,
        "lower",
        "the pair",
        "texts",
        "asdfd_largest_class_shift_ratio",
        "Largest difference between the share of the texts that the student puts in a class, or gives a label, and the share that its teacher does.",
        "Shift of the classes",
        interval=True,
    ),
    Figure(
        "predicted_agreement",
        "Fidelity: predicted agreement with the teacher on real texts",
        SHARE,
        "higher",
        "the pair",
        "pseudo samples",
        "asdfd_predicted_agreement_ratio",
        "Agreement on real texts, as it is predicted where there are none.",
        _AGREEMENT,
        column="agreement",
        rule="minimum_agreement",
        recorded=("predicted_agreement", "export_predicted_agreement"),
        interval=True,
    ),
    Figure(
        "agreement_on_pseudo_samples",
        "Fidelity: agreement with the teacher on pseudo samples",
        SHARE,
        "higher",
        "the pair",
        "pseudo samples",
        "asdfd_agreement_on_pseudo_samples_ratio",
        "The same share of held-out pseudo samples.",
        _AGREEMENT,
        title_of_several="Fidelity: agreement with the teacher on all labels of a pseudo sample",
        column="agreement",
        rule="minimum_agreement",
        recorded=("agreement_on_pseudo_samples", "export_agreement_on_pseudo_samples"),
    ),
    Figure(
        "mean_kl_on_pseudo_samples",
        "Mean KL(teacher || student) on pseudo samples",
        NATS,
        "lower",
        "the pair",
        "pseudo samples",
        "asdfd_mean_kl_on_pseudo_samples_nats",
        "Mean KL(teacher || student) on held-out pseudo samples.",
        _DISTANCE,
    ),
    Figure(
        "export_agreement_with_student",
        "Parity: agreement of export and student",
        SHARE,
        "higher",
        "the export",
        "anything",
        "asdfd_export_parity_ratio",
        "Share of the texts, or of held-out pseudo samples, that export and student put in the same class.",
        _PARITY,
        rule="minimum_parity",
        recorded=("export_agreement_with_student",),
    ),
    Figure(
        "export_largest_difference",
        "Parity: largest difference of a probability",
        SHARE,
        "lower",
        "the export",
        "anything",
        "asdfd_export_largest_difference_ratio",
        "Largest difference of a probability of export and student there.",
        _PARITY,
        rule="largest_parity_difference",
        recorded=("export_largest_difference",),
    ),
    Figure(
        "parameters",
        "Parameters",
        PARAMETERS,
        "lower",
        "each model",
        "anything",
        "asdfd_model_parameters",
        "Parameters of the model.",
        "Parameters",
    ),
    Figure(
        "bytes",
        "Weights on disk",
        BYTES,
        "lower",
        "each model",
        "anything",
        "asdfd_model_size_bytes",
        "Bytes of the model's weights on disk.",
        "Weights",
        rule="largest_bytes",
        recorded=("student_bytes", "export_bytes"),
    ),
    Figure(
        "compression",
        "Compression (teacher bytes / student bytes)",
        TIMES,
        "higher",
        "the pair",
        "anything",
        "asdfd_compression_ratio",
        "The teacher's bytes over the student's, both in the student's type.",
        _GAINS,
        recorded=("compression", "export_compression"),
    ),
    Figure(
        "latency_p50_seconds",
        "Time of one text, median",
        SECONDS,
        "lower",
        "each model",
        "anything",
        "asdfd_inference_latency_p50_seconds",
        "Median time of one text, without tokenizing.",
        _LATENCY,
        rule="largest_latency_seconds",
        recorded=("student_latency_p50_seconds", "export_latency_p50_seconds"),
    ),
    Figure(
        "latency_p95_seconds",
        "Time of one text, 95th percentile",
        SECONDS,
        "lower",
        "each model",
        "anything",
        "asdfd_inference_latency_p95_seconds",
        "95th percentile of the time of one text.",
        _LATENCY,
    ),
    Figure(
        "one_thread_latency_p50_seconds",
        "Time of one text on one thread, median",
        SECONDS,
        "lower",
        "each model",
        "anything",
        "asdfd_inference_one_thread_latency_p50_seconds",
        "Median time of one text on one thread of the processor.",
        _LATENCY,
    ),
    Figure(
        "throughput_per_second",
        "Texts per second in batches",
        TEXTS_PER_SECOND,
        "higher",
        "each model",
        "anything",
        "asdfd_inference_throughput_per_second",
        "Texts in a second, in batches.",
        "Throughput",
    ),
    Figure(
        "one_thread_throughput_per_second",
        "Texts per second in batches on one thread",
        TEXTS_PER_SECOND,
        "higher",
        "each model",
        "anything",
        "asdfd_inference_one_thread_throughput_per_second",
        "Texts in a second, in batches, on one thread of the processor.",
        "Throughput",
    ),
    Figure(
        "making_seconds",
        "Time that it took to make",
        MAKING,
        "lower",
        "each model",
        "anything",
        "asdfd_model_making_seconds",
        "Seconds that it took to make the model: of the student, its bank and its distillation.",
        "Time of making",
    ),
    Figure(
        "speedup",
        "Speedup (teacher's median time / student's)",
        TIMES,
        "higher",
        "the pair",
        "anything",
        "asdfd_inference_speedup_ratio",
        "The teacher's median time of one text over the student's.",
        _GAINS,
    ),
)
"""All of them, in the order in which they are shown."""


def of_each_model(metrics: Mapping[str, Any]) -> list[Figure]:
    """The figures of each model that a metrics.json has."""
    return [figure for figure in FIGURES if figure.of == "each model" and any(f"{role}_{figure.name}" in metrics for role in ROLES)]


def of_the_export(metrics: Mapping[str, Any]) -> list[Figure]:
    """The figures of the export against its student that a metrics.json has."""
    return [figure for figure in FIGURES if figure.of == "the export" and figure.name in metrics]


def of_the_pair(metrics: Mapping[str, Any]) -> list[Figure]:
    """The figures of the pair that a metrics.json has; one of them may be None, and `<name>_missing` says why."""
    return [figure for figure in FIGURES if figure.of == "the pair" and figure.name in metrics]


def measured_roles(metrics: Mapping[str, Any]) -> list[str]:
    """The models that a metrics.json is about."""
    return [role for role in ROLES if f"{role}_bytes" in metrics]


def role_title(role: str, metrics: Mapping[str, Any]) -> str:
    """How a model is called beside the others: `student int8` for an export of that format."""
    return {"teacher_int8": "teacher int8", "export": f"student {metrics.get('export_format', 'export')}"}.get(role, role)


def judged_role(metrics: Mapping[str, Any]) -> str:
    """Whose figures the gate looks at and whose files are served: the export where there is one, else the student."""
    return "export" if "export_bytes" in metrics else "student"


@dataclass(frozen=True)
class Rivals:
    """What is served against the teacher's own int8."""

    faster: float
    """Times; of one text, on one thread where that was measured."""
    smaller: float
    """Times, in bytes of the weights."""
    same: bool
    """Whether the two are one and the same model."""


def against_teacher_int8(metrics: Mapping[str, Any]) -> Rivals | None:
    """What the gate judges against the teacher's own int8; None where either was not measured."""
    role = judged_role(metrics)
    for time in ("one_thread_latency_p50_seconds", "latency_p50_seconds"):
        values = [metrics.get(f"{one}_{name}") for name in (time, "bytes") for one in ("teacher_int8", role)]
        if all(isinstance(value, int | float) and value > 0 for value in values):
            teacher_seconds, seconds, teacher_bytes, size = map(float, values)  # pyright: ignore[reportArgumentType]  # as was just seen
            return Rivals(teacher_seconds / seconds, teacher_bytes / size, bool(metrics.get("export_is_teacher_int8")))
    return None


CHOICES = (
    *("accuracy", "agreement", "predicted_agreement", "agreement_on_pseudo_samples", "bytes", "one_thread_latency_p50_seconds", "latency_p50_seconds"),
    *("one_thread_throughput_per_second", "throughput_per_second", "making_seconds"),
)
"""The figures by which somebody chooses what to serve."""


def drawn(metrics: Mapping[str, Any]) -> tuple[Figure, tuple[Figure, ...]]:
    """What a model is good for, by accuracy or, without labels, by fidelity, and what it costs, by its size and the time of one text."""
    by_name = {figure.name: figure for figure in FIGURES}
    quality = by_name["accuracy"] if "teacher_accuracy" in metrics else limited_by("minimum_agreement", metrics)
    assert quality is not None
    time = "one_thread_latency_p50_seconds"
    return quality, (by_name["bytes"], by_name[time if f"teacher_{time}" in metrics else "latency_p50_seconds"])


def interval_of(figure: Figure, metrics: Mapping[str, Any], role: str) -> tuple[float, float] | None:
    """The ends of the interval beside a figure of one of the models, where there is one."""
    ends = [metrics.get(f"{figure.of_role(role)}_{end}") for end in ("low", "high")]
    low, high = (float(end) if isinstance(end, int | float) else None for end in ends)
    return None if low is None or high is None else (low, high)


def read(figure: Figure, metrics: Mapping[str, Any], role: str = "student", write: Callable[[Any], str] | None = None) -> str:
    """A figure of one of the models as text, with its interval; `write` writes a value, and is the one for readers where none is given."""
    write = write or figure.unit.read
    found = interval_of(figure, metrics, role)
    beside = "" if found is None else f" ({write(found[0])} to {write(found[1])})"
    return f"{write(metrics[figure.of_role(role)])}{beside}"


def side_by_side(metrics: Mapping[str, Any], shown: Sequence[Figure]) -> list[list[str]]:
    """Rows of a table with a model in each column: the title of each figure that some model has, and its values as text."""
    roles, rows = measured_roles(metrics), []
    for figure in shown:
        there = [(figure.of == "each model" or role != "teacher") and metrics.get(figure.of_role(role)) is not None for role in roles]
        if any(there):
            rows.append([figure.titled(metrics), *(read(figure, metrics, role) if has else "–" for role, has in zip(roles, there, strict=True))])
    return rows


def choices(metrics: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The one table of what can be served, heading and rows; empty where nothing but teacher and student was measured."""
    roles, by_name = measured_roles(metrics), {figure.name: figure for figure in FIGURES}
    if not {*roles} & {*EXPORTS}:
        return [], []
    return ["", *(role_title(role, metrics) for role in roles)], side_by_side(metrics, [by_name[name] for name in CHOICES])


def columns(metrics: Mapping[str, float | None]) -> dict[str, float | None]:
    """The figures of a version in tables of versions, by their headings: those of what was judged; None where it has none."""
    found: dict[str, float | None] = {}
    for figure in FIGURES:
        if figure.column and found.get(figure.column) is None:
            found[figure.column] = metrics.get(figure.of_role(judged_role(metrics)))
    return found


def recorded(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a metrics.json that the manifest of a registered version repeats, with the ends of their intervals."""
    names = [(name, figure.interval) for figure in FIGURES for name in figure.recorded]
    return {key: metrics[key] for name, interval in names for key in (name, *((f"{name}_low", f"{name}_high") if interval else ())) if key in metrics}


def limited_by(rule: str, metrics: Mapping[str, Any]) -> Figure | None:
    """The figure that a rule of the gate limits: the first that a metrics.json has, on texts or, where it rests on none, on pseudo samples; None for a rule of
    another kind."""
    limited: Sequence[Figure] = [figure for figure in FIGURES if figure.rule == rule]
    fitting = [figure for figure in limited if (figure.on == "pseudo samples") == (level_of(metrics) == "none")]
    measured = [figure for figure in fitting if any(figure.of_role(role) in metrics for role in ROLES)]
    return next(iter([*measured, *fitting, *limited]), None)
