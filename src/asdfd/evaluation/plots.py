"""The report's charts: inline SVG that says in words what it shows, follows the page's text colour, and is the same bytes for the same numbers."""

from __future__ import annotations

import html
import io
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from asdfd.base.figures import BYTES, EXPORTS, SHARE, drawn, measured_roles, role_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TEACHER, STUDENT = "#8a94a6", "#2f7de1"
LINES = ("#2f7de1", "#e07b39", "#3c9a5f", "#a05cc4")
INK = "#010203"
"""Stands for the page's text colour until the SVG is written."""
MOST_NAMED_CLASSES = 30
"""Above it a chart has no room for every class's name."""
WORST_CLASSES = 15
MOST_NUMBERED_CELLS = 12
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "asdfd",
    "svg.fonttype": "none",
    "text.parse_math": False,  # a label name may hold a dollar sign
    "font.family": "DejaVu Sans",
    "font.size": 9,  # about as many pixels on a phone
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
}
CURVES: tuple[tuple[str, str, Mapping[str, str]], ...] = (
    ("Losses", "loss", {"loss": "total", "logit_loss": "logits", "hidden_loss": "hidden states", "selfsup_loss": "self-supervised"}),
    ("Self-supervised loss of entries made harder", "loss", {"selfsup_before": "before", "selfsup_after": "after"}),
    ("Fidelity while training: agreement with the teacher", "share", {"agreement": "agreement"}),
    ("Learning rate", "learning rate", {"learning_rate": "learning rate"}),
    ("Speed of training", "samples per second", {"samples_per_second": "samples per second"}),
)
"""Title, unit and series (key of a metric record: name) of each chart of the training."""


@dataclass(frozen=True)
class Chart:
    """A chart for a page."""

    title: str
    description: str
    """What it shows, in numbers; also the SVG's label."""
    svg: str
    """Safe markup: every text in it is escaped."""

    @property
    def file(self) -> str:
        """The drawing as a file of its own, which follows the reader's scheme of colours."""
        style = "<style>svg { color: #1c2330 } @media (prefers-color-scheme: dark) { svg { color: #e6eaf0 } }</style>"
        opening, separator, body = self.svg.partition(">")
        return f'{opening} xmlns="http://www.w3.org/2000/svg"{separator}{style}{body}\n'


def training_charts(records: Sequence[Mapping[str, float | None]]) -> list[Chart]:
    """A chart for each group of values that the metric records hold; a value that is absent or not finite is left out."""
    charts = []
    for title, unit, names in CURVES:
        series = {name: points for key, name in names.items() if (points := _points(records, key))}
        if series:
            charts.append(_line_chart(title, unit, series))
    return charts


def confusion_chart(matrix: Sequence[Sequence[int]], label_names: Sequence[str]) -> Chart:
    """The confusion matrix [C, C] (row = true class); the darker a cell, the larger its share of the row."""
    count = len(matrix)
    total, right = sum(map(sum, matrix)), sum(matrix[i][i] for i in range(count))
    wrong = sorted(((matrix[i][j], i, j) for i in range(count) for j in range(count) if i != j and matrix[i][j]), key=lambda cell: (-cell[0], cell[1:]))
    most = "; ".join(f"{_short(label_names[i], 60)} taken for {_short(label_names[j], 60)} {texts} times" for texts, i, j in wrong[:3])
    description = f"Confusion matrix of the student over {count} classes: {right} of {total} texts on the diagonal" + (f"; most often {most}" if most else "")
    inches = (4.6, 4.4)
    return Chart(
        "Confusion matrix of the student", description, _render("confusion", description, inches, lambda axes: _draw_matrix(axes, matrix, label_names))
    )


def recall_chart(per_class: Sequence[Mapping[str, Any]]) -> Chart:
    """Recall of teacher and student for each class that the texts have; of many classes, those where the student loses most."""
    rows = [row for row in per_class if row["support"]]
    title = "Recall of each class"
    if len(rows) > MOST_NAMED_CLASSES:
        title = f"Recall of the {WORST_CLASSES} of {len(rows)} classes where the student loses most"
        rows = sorted(rows, key=lambda row: row["student_recall"] - row["teacher_recall"])[:WORST_CLASSES]
    values = "; ".join(f"{_short(row['name'], 60)} {row['teacher_recall']:.2f} and {row['student_recall']:.2f}" for row in rows)
    bars = [(row["name"], row["teacher_recall"], row["student_recall"]) for row in rows]
    description = f"{title}, teacher and student: {values}"
    return Chart(
        title, description, _render("recall", description, (4.6, 0.9 + 0.28 * len(rows)), lambda axes: _draw_bars(axes, bars, "recall", "{:.2f}", 1.0))
    )


def latency_chart(metrics: Mapping[str, Any]) -> Chart:
    """Median and 95th percentile of the time of one text, teacher and student."""
    bars = [
        (name, 1000 * metrics[f"teacher_latency_{key}_seconds"], 1000 * metrics[f"student_latency_{key}_seconds"])
        for key, name in (("p50", "median"), ("p95", "95th percentile"))
    ]
    values = "; ".join(f"{name} {teacher:.3g} and {student:.3g}" for name, teacher, student in bars)
    description = f"Milliseconds for one text, teacher and student: {values}"
    largest = max(max(bar[1:]) for bar in bars)
    return Chart("Time of one text", description, _render("latency", description, (4.6, 1.7), lambda axes: _draw_bars(axes, bars, "ms", "{:.3g}", largest)))


def choice_charts(metrics: Mapping[str, Any]) -> list[Chart]:
    """Accuracy, or without texts fidelity, of every model that can be served, against its size and against the time of one text."""
    (quality, costs), charts = drawn(metrics), []
    for figure in costs:
        points = []
        for role in measured_roles(metrics):
            good = metrics.get(quality.of_role(role), 1.0 if role == "teacher" else None)  # a teacher agrees with itself
            if good is not None and metrics.get(figure.of_role(role)) is not None:
                points.append((role, metrics[figure.of_role(role)], good))
        cost, scale, unit = ("size", 1e-6, "MB") if figure.unit is BYTES else ("time of one text", 1e3, "ms")
        what = quality.title.removesuffix(" on pseudo samples")
        title = f"{what} against {cost}{' on one thread' if figure.name.startswith('one_thread') else ''}"
        named = [(role, role_title(role, metrics), scale * x, y) for role, x, y in points]
        description = f"{title}: " + "; ".join(f"{label} {SHARE.read(y)} at {x:.3g} {unit}" for _, label, x, y in named)
        draw = partial(_draw_choices, points=named, unit=unit, what=what)
        charts.append(Chart(title, description, _render(f"choice-{figure.name}", description, (4.6, 3.0), draw)))
    return charts


def _draw_choices(axes: Axes, points: Sequence[tuple[str, str, float, float]], unit: str, what: str) -> None:
    """A point for each (role, name, cost, share), filled for a model in PyTorch and hollow for one in ONNX."""
    for role, name, x, y in points:
        colour = TEACHER if role.startswith("teacher") else STUDENT
        inside = "none" if role in EXPORTS else colour
        axes.plot([x], [y], "o", markersize=7, color=colour, markerfacecolor=inside, markeredgewidth=1.8, label=name, linestyle="none")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    shares = [share for *_, share in points]
    room = max(0.02, 0.25 * (max(shares) - min(shares)))
    axes.set_ylim(min(shares) - room, max(shares) + room)
    axes.set_xlim(0, 1.08 * max(x for _, _, x, _ in points))
    axes.set_xlabel(unit)
    axes.set_ylabel(what.lower() if len(what) < 20 else "fidelity")
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    axes.grid(alpha=0.25)


def _points(records: Sequence[Mapping[str, float | None]], key: str) -> list[tuple[float, float]]:
    """(step, value) of the records that hold a finite value."""
    pairs = [(record.get("step"), record.get(key)) for record in records]
    return [(step, value) for step, value in pairs if step is not None and value is not None and math.isfinite(value)]


def _line_chart(title: str, unit: str, series: Mapping[str, list[tuple[float, float]]]) -> Chart:
    ends = "; ".join(
        f"{name} from {points[0][1]:.3g} at step {points[0][0]:g} to {points[-1][1]:.3g} at step {points[-1][0]:g}" for name, points in series.items()
    )
    description = f"{title}: {ends}"

    def draw(axes: Axes) -> None:
        for colour, (name, points) in zip(LINES, series.items(), strict=False):
            axes.plot(*zip(*points, strict=True), color=colour, label=name, linewidth=1.4, marker="o" if len(points) < 3 else None, markersize=3)
        if unit == "loss" and all(value > 0 for points in series.values() for _, value in points):
            axes.set_yscale("log")
            _plain_log_ticks(axes)
        axes.set_xlabel("step")
        axes.set_ylabel(unit)
        axes.grid(alpha=0.25)
        if len(series) > 1:
            axes.legend()

    return Chart(title, description, _render(re.sub(r"\W+", "-", title.lower()), description, (4.6, 2.7), draw))


def _plain_log_ticks(axes: Axes) -> None:
    """Ticks 1, 2, 5, 10 ... as plain numbers; matplotlib's own need its formula language, which is off."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _draw_matrix(axes: Axes, matrix: Sequence[Sequence[int]], label_names: Sequence[str]) -> None:
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Rectangle

    count = len(matrix)
    for i, row in enumerate(matrix):
        for j, texts in enumerate(row):
            if texts:
                colour = to_rgba(STUDENT, 0.12 + 0.73 * texts / sum(row))
                axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=colour, linewidth=0))
                if count <= MOST_NUMBERED_CELLS:
                    axes.text(j, i, str(texts), ha="center", va="center")
    axes.set_xlim(-0.5, count - 0.5)
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_aspect("equal")
    named = count <= MOST_NAMED_CLASSES
    axes.set_xlabel("student" if named else "student (number of the class)")
    axes.set_ylabel("label" if named else "label (number of the class)")
    if named:
        names = [_short(name, 18) for name in label_names]
        size = 8 if count <= MOST_NUMBERED_CELLS else 5
        axes.set_xticks(range(count), names, rotation=90, fontsize=size)
        axes.set_yticks(range(count), names, fontsize=size)


def _draw_bars(axes: Axes, bars: Sequence[tuple[str, float, float]], unit: str, form: str, largest: float) -> None:
    """A pair of horizontal bars for each (name, teacher, student), the first on top."""
    for row, (_, *values) in enumerate(bars):
        for offset, value, colour in zip((-0.19, 0.19), values, (TEACHER, STUDENT), strict=True):
            label = ("teacher", "student")[offset > 0] if row == 0 else None
            axes.barh(row + offset, value, height=0.36, color=colour, label=label)
            axes.text(value + 0.01 * largest, row + offset, form.format(value), va="center", fontsize=8)
    axes.set_yticks(range(len(bars)), [_short(name, 26) for name, *_ in bars])
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_xlim(0, 1.12 * largest if largest > 0 else 1)
    axes.set_xlabel(unit)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


def _short(name: str, most: int) -> str:
    """A label name that fits its place: printable, on one line, cut with an ellipsis."""
    clean = "".join(character if character.isprintable() else " " for character in name)
    return clean if len(clean) <= most else clean[: most - 1] + "…"


def _render(identifier: str, description: str, inches: tuple[float, float], draw: Callable[[Axes], None]) -> str:
    """Draw one pair of axes and return it as an `<svg>` element without a size of its own."""
    import matplotlib
    from matplotlib.figure import Figure

    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # the browser has the font; only the layout guesses its width
        figure = Figure(figsize=inches, layout="constrained")
        draw(figure.add_subplot())
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    drawing = buffer.getvalue()
    body = drawing[drawing.index(">", drawing.index("<svg")) + 1 :]
    box = re.search(r'viewBox="([^"]*)"', drawing)
    assert box is not None
    body = re.sub(r"\s*<metadata>.*?</metadata>", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r'(\bid="|xlink:href="#|url\(#)', rf"\g<1>{identifier}-", body).replace(INK, "currentColor")  # ids are unique on the whole page
    return f'<svg role="img" aria-label="{html.escape(description)}" viewBox="{box[1]}" xmlns:xlink="http://www.w3.org/1999/xlink">{body}'
