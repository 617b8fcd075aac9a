"""The Grafana dashboard, as the JSON that Grafana imports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from asdfd.base.figures import FIGURES, Figure
from asdfd.monitoring import metrics, served
from asdfd.monitoring.metrics import Metric

UID = "asdfd-runs"
WIDTH = 24
"""Columns of Grafana's grid."""
HEIGHT = 8
WHICH = 'pipeline=~"$pipeline",model=~"$model"'
"""Selector of what the person who looks has chosen."""
SERVED = 'model=~"$model"'
"""The same for servers, which belong to no pipeline."""
DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True)
class Query:
    """An expression and how its series are called."""

    expression: str
    legend: str = "{{model}}"


@dataclass(frozen=True)
class Panel:
    """One panel."""

    title: str
    kind: str
    """Grafana's type: stat, timeseries or table."""
    unit: str
    """Grafana's unit."""
    description: str
    queries: tuple[Query, ...]


def chosen(metric: Metric, *selectors: str) -> str:
    """The metric's series of the chosen pipelines and models."""
    return f"{metric}{{{','.join((WHICH, *selectors))}}}"


def curve(title: str, unit: str, description: str, *shown: tuple[Metric, str]) -> Panel:
    """A panel of metrics over time, each with its legend."""
    return Panel(title, "timeseries", unit, description, tuple(Query(chosen(metric), legend) for metric, legend in shown))


def figure_panels(*, of_quality: bool) -> tuple[Panel, ...]:
    """The panels of the figures of an evaluation: of those of quality, or of those of size and speed."""
    shown = [figure for figure in FIGURES if (figure.on != "anything") == of_quality]
    panels = []
    for title in dict.fromkeys(figure.panel for figure in shown):
        together = [figure for figure in shown if figure.panel == title]
        queries = tuple(Query(chosen(metrics.EVALUATED[figure.name]), _legend(figure, alone=len(together) == 1)) for figure in together)
        panels.append(Panel(title, "timeseries", together[0].unit.grafana, " ".join(figure.help for figure in together), queries))
    return tuple(panels)


def _legend(figure: Figure, *, alone: bool) -> str:
    """How the series of a figure are called, in a panel of its own or beside others."""
    role = " {{role}}" if figure.of == "each model" else ""
    return f"{{{{model}}}}{role}" if alone else f"{{{{model}}}}{role}: {figure.title}"


def rate_of(series: str, by: str, *selectors: str) -> str:
    """How often something happens in a second to the chosen models of the servers, by labels."""
    return f"sum by ({by}) (rate({series}{{{','.join((SERVED, *selectors))}}}[5m]))"


def quantile(share: float) -> str:
    """The time in which a share of the requests is answered."""
    return f"histogram_quantile({share}, {rate_of(f'{served.LATENCY}_bucket', 'model, stage, le')})"


_OF_ALIAS = "on(pipeline, model, alias) group_left(version)"
_VERSION = chosen(metrics.PROMOTED_INFO)

SECTIONS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "Runs",
        (
            Panel("Last run", "stat", "bool_yes_no", "Whether the last run that ended succeeded.", (Query(chosen(metrics.RUN_SUCCESS)),)),
            Panel("Last success", "stat", "dateTimeFromNow", "When a run last succeeded.", (Query(f"{chosen(metrics.RUN_LAST_SUCCESS)} * 1000"),)),
            Panel("Last end", "stat", "dateTimeFromNow", "When a run last ended, however it ended.", (Query(f"{chosen(metrics.RUN_COMPLETION)} * 1000"),)),
            Panel("Runs", "table", "none", "The last run of each model.", (Query(chosen(metrics.RUN_INFO), ""),)),
            Panel("Pause between runs", "stat", "s", "What the schedule leaves.", (Query(chosen(metrics.SCHEDULE_INTERVAL)),)),
        ),
    ),
    (
        "Tasks",
        (
            curve("Duration", "s", "Of the last execution of each task.", (metrics.TASK_DURATION, "{{model}} {{task}}")),
            curve("Running for", "s", "Tasks that run now.", (metrics.RUNNING, "{{model}} {{task}}")),
            Panel("Succeeded", "stat", "bool_yes_no", "The last execution of each task.", (Query(chosen(metrics.TASK_SUCCESS), "{{model}} {{task}}"),)),
            Panel(
                "Last success of a task",
                "stat",
                "dateTimeFromNow",
                "A cached task does not run, so this may be older than the last run.",
                (Query(f"{chosen(metrics.TASK_LAST_SUCCESS)} * 1000", "{{model}} {{task}}"),),
            ),
            Panel(
                "Last end of a task",
                "stat",
                "dateTimeFromNow",
                "However it ended.",
                (Query(f"{chosen(metrics.TASK_COMPLETION)} * 1000", "{{model}} {{task}}"),),
            ),
        ),
    ),
    (
        "Fidelity over versions",
        (
            Panel(
                "Accuracy of versions",
                "timeseries",
                "percentunit",
                "Of the version that held an alias, each version a series.",
                (Query(f"{chosen(metrics.PROMOTED_ACCURACY)} * {_OF_ALIAS} {_VERSION}", "{{model}} {{alias}} {{version}}"),),
            ),
            Panel(
                "Agreement of versions",
                "timeseries",
                "percentunit",
                "With the teacher, of the version that held an alias.",
                (Query(f"{chosen(metrics.PROMOTED_AGREEMENT)} * {_OF_ALIAS} {_VERSION}", "{{model}} {{alias}} {{version}}"),),
            ),
            *figure_panels(of_quality=True),
        ),
    ),
    (
        "Training, live",
        (
            curve(
                "Losses",
                "none",
                "Of the distillation that runs now.",
                (metrics.TRAINING_LOSS, "{{model}} loss"),
                (metrics.TRAINING_LOGIT_LOSS, "{{model}} logits"),
                (metrics.TRAINING_HIDDEN_LOSS, "{{model}} hidden states"),
                (metrics.TRAINING_SELFSUP_LOSS, "{{model}} self-supervised"),
            ),
            curve("Agreement on the batch", "percentunit", "With the teacher.", (metrics.TRAINING_AGREEMENT, "{{model}}")),
            Panel(
                "Done",
                "timeseries",
                "percentunit",
                "Share of the distillation's steps.",
                (Query(f"{chosen(metrics.TRAINING_STEP)} / {chosen(metrics.TRAINING_STEPS)}"),),
            ),
            curve("Speed", "none", "Pseudo samples per second.", (metrics.TRAINING_RATE, "{{model}} now"), (metrics.DISTILLATION_RATE, "{{model}} last run")),
            curve("Learning rate", "sci", "Of the last step.", (metrics.TRAINING_LEARNING_RATE, "{{model}}")),
            Panel(
                "Since the last progress",
                "timeseries",
                "s",
                "A record, a part or a checkpoint.",
                (Query(f"time() - {chosen(metrics.LAST_PROGRESS)}", "{{model}} {{task}}"),),
            ),
            curve("Parts of the bank", "none", "Finished by the synthesis that runs now.", (metrics.SYNTHESIS_PARTS, "{{model}} {{task}}")),
            curve(
                "Finished distillations",
                "none",
                "How they ended.",
                (metrics.DISTILLATION_LOSS, "{{model}} final loss"),
                (metrics.DISTILLATION_AGREEMENT, "{{model}} final agreement"),
                (metrics.DISTILLATION_STEPS, "{{model}} steps"),
                (metrics.DISTILLATION_NOT_FINITE, "{{model}} records that are not finite"),
            ),
        ),
    ),
    ("Latency and size", figure_panels(of_quality=False)),
    (
        "Gate and promotions",
        (
            Panel("Gate", "stat", "bool_yes_no", "Whether the last student passed.", (Query(chosen(metrics.GATE_PASSED)),)),
            curve("Rules met", "bool_yes_no", "By the last student.", (metrics.GATE_CHECK_PASSED, "{{model}} {{check}}")),
            curve(
                "Rules", "none", "Value and limit.", (metrics.GATE_CHECK_VALUE, "{{model}} {{check}}"), (metrics.GATE_CHECK_LIMIT, "{{model}} {{check}} limit")
            ),
            Panel(
                "Verdicts",
                "stat",
                "dateTimeFromNow",
                "The last verdict, and the last one that let a student pass.",
                (
                    Query(f"{chosen(metrics.GATE_JUDGED)} * 1000", "{{model}} judged"),
                    Query(f"{chosen(metrics.GATE_LAST_PASSED)} * 1000", "{{model}} passed"),
                ),
            ),
            Panel("Promotions", "stat", "dateTimeFromNow", "When an alias was moved.", (Query(f"{chosen(metrics.PROMOTION)} * 1000", "{{model}} {{alias}}"),)),
            Panel("Versions", "table", "none", "Which version holds which alias.", (Query(_VERSION, ""),)),
        ),
    ),
    (
        "Serving",
        (
            Panel("Requests", "timeseries", "reqps", "By HTTP status.", (Query(rate_of(served.REQUESTS.name, "model, code"), "{{model}} {{code}}"),)),
            Panel(
                "Time to the answer",
                "timeseries",
                "s",
                "In which half of the requests, and 99 of 100, are answered.",
                (Query(quantile(0.5), "{{model}} {{stage}} median"), Query(quantile(0.99), "{{model}} {{stage}} p99")),
            ),
            Panel(
                "Texts of a batch",
                "timeseries",
                "none",
                "It grows with the load.",
                (Query(f"{rate_of(f'{served.BATCH}_sum', 'model')} / {rate_of(f'{served.BATCH}_count', 'model')}"),),
            ),
            Panel("Waiting texts", "timeseries", "none", "That no thread has taken.", (Query(f"sum by (model) ({served.WAITING}{{{SERVED}}})"),)),
            Panel(
                "Share of each label",
                "timeseries",
                "percentunit",
                "What drift shows first, together with the panel beside it.",
                (
                    Query(
                        f"{rate_of(served.ANSWERS.name, 'model, label')} / on(model) group_left() {rate_of(served.TEXTS.name, 'model')}",
                        "{{model}} {{label}}",
                    ),
                ),
            ),
            Panel(
                "Low confidence",
                "timeseries",
                "percentunit",
                "Share of the texts whose label a version was not sure of.",
                (Query(f"{rate_of(served.UNSURE.name, 'model, version')} / {rate_of(served.TEXTS.name, 'model, version')}", "{{model}} {{version}}"),),
            ),
            Panel(
                "Pods by version",
                "timeseries",
                "none",
                "A promotion reaches one pod after the other, within a minute.",
                (Query(f"count by (model, stage, version, format) ({served.VERSION_INFO}{{{SERVED}}})", "{{model}} {{stage}} {{version}} {{format}}"),),
            ),
            Panel(
                "Pods whose version does not load",
                "timeseries",
                "none",
                "An older version answers there.",
                (Query(f"sum by (model, stage) ({served.LOAD_FAILED}{{{SERVED}}})", "{{model}} {{stage}}"),),
            ),
            Panel(
                "Since the last look at the stage",
                "timeseries",
                "s",
                "Of the pod that looked longest ago.",
                (Query(f"time() - min by (model, stage) ({served.LOOKED}{{{SERVED}}})", "{{model}} {{stage}}"),),
            ),
            Panel(
                "Last switch",
                "stat",
                "dateTimeFromNow",
                "When a pod last began to answer with another version.",
                (Query(f"max by (model, stage) ({served.SWITCHED}{{{SERVED}}}) * 1000", "{{model}} {{stage}}"),),
            ),
        ),
    ),
)


def dashboard() -> dict[str, Any]:
    """The whole dashboard."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, content in SECTIONS:
        panels.append({"id": len(panels) + 1, "type": "row", "title": title, "collapsed": False, "gridPos": _place(0, top, WIDTH, 1), "panels": []})
        top += 1
        across = 3
        width = WIDTH // across
        for index, panel in enumerate(content):
            place = _place(index % across * width, top + index // across * HEIGHT, width, HEIGHT)
            panels.append({"id": len(panels) + 1, "gridPos": place, **_panel(panel)})
        top += -(-len(content) // across) * HEIGHT
    return {
        "uid": UID,
        "title": "asdfd: runs and students",
        "tags": ["asdfd"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "time": {"from": "now-14d", "to": "now"},
        "refresh": "1m",
        "templating": {"list": [_data_source(), _variable("pipeline"), _variable("model")]},
        "annotations": {"list": []},
        "panels": panels,
    }


def _panel(panel: Panel) -> dict[str, Any]:
    queries = [
        {
            "refId": chr(ord("A") + number),
            "datasource": DATA_SOURCE,
            "expr": query.expression,
            "legendFormat": query.legend,
            **({"instant": True, "format": "table"} if panel.kind == "table" else {}),
        }
        for number, query in enumerate(panel.queries)
    ]
    defaults: dict[str, Any] = {"unit": panel.unit}
    if panel.unit == "bool_yes_no":
        colours = [{"color": "red", "value": None}, {"color": "green", "value": 1}]
        defaults["thresholds"] = {"mode": "absolute", "steps": colours}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATA_SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"reduceOptions": {"calcs": ["lastNotNull"]}, "textMode": "value_and_name"} if panel.kind == "stat" else {},
        "targets": queries,
    }


def _place(left: int, top: int, width: int, height: int) -> dict[str, int]:
    return {"x": left, "y": top, "w": width, "h": height}


def _data_source() -> dict[str, Any]:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}


def _variable(label: str) -> dict[str, Any]:
    query = f"label_values({metrics.RUN_COMPLETION}, {label})"
    every = {"includeAll": True, "multi": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}}
    return {"name": label, "label": label.capitalize(), "type": "query", "datasource": DATA_SOURCE, "query": query, "refresh": 2, "sort": 1, **every}
