"""Every Prometheus metric of this project, defined once: the steps export them, rules and dashboard are built from them, docs/operations.md lists them.

All are gauges in base units. A counter of a batch job would start from zero with every run, and its rate would mean nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from asdfd.base.figures import FIGURES, ROLES, judged_role

JOB = "asdfd"
GROUPING = ("pipeline", "model", "task")
"""Labels that every metric has; with the job they are the grouping key of a push. Never a run's id: groups live for ever."""
RUN_TASK = "run"
"""Task of what is said about a run as a whole."""
SCHEDULE_TASK = "schedule"


@dataclass(frozen=True)
class Metric:
    """One metric: in text it is its name, so that an expression can be written with it."""

    name: str
    help: str
    unit: str
    exported_by: str
    """Which task pushes it; `live` stands for the endpoint of a step that runs."""
    labels: tuple[str, ...] = ()
    """Labels beside `GROUPING`."""

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Sample:
    """One value of a metric; NaN stands for a value that is not finite."""

    metric: Metric
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


_EVERY = "every task"
_RUN = "run status"
RUN_SUCCESS = Metric("asdfd_run_success", "Whether the last run that ended registered its student (1), or was rejected or failed (0).", "0 or 1", _RUN)
RUN_COMPLETION = Metric("asdfd_run_last_completion_timestamp_seconds", "When the last run ended, however it ended.", "Unix seconds", _RUN)
RUN_LAST_SUCCESS = Metric("asdfd_run_last_success_timestamp_seconds", "When the last run ended that registered its student.", "Unix seconds", _RUN)
RUN_INFO = Metric("asdfd_run_info", "The last run that ended; always 1.", "1", _RUN, ("run_id", "outcome", "version"))
SCHEDULE_INTERVAL = Metric("asdfd_schedule_interval_seconds", "Longest pause between two runs that the model's schedule leaves.", "seconds", "schedule")
SCHEDULE_SINCE = Metric("asdfd_schedule_since_timestamp_seconds", "When the server got the model's oldest schedule.", "Unix seconds", "schedule")

TASK_SUCCESS = Metric("asdfd_task_success", "Whether the task's last execution succeeded (1) or failed (0).", "0 or 1", _EVERY)
TASK_DURATION = Metric(
    "asdfd_task_duration_seconds", "How long the task's last execution took; one that went on from a checkpoint counts from there.", "seconds", _EVERY
)
TASK_COMPLETION = Metric("asdfd_task_last_completion_timestamp_seconds", "When the task last ended, however it ended.", "Unix seconds", _EVERY)
TASK_LAST_SUCCESS = Metric("asdfd_task_last_success_timestamp_seconds", "When the task last succeeded.", "Unix seconds", _EVERY)

DISTILLATION_STEPS = Metric("asdfd_distillation_steps", "Steps of the last distillation.", "steps", "distill")
DISTILLATION_LOSS = Metric("asdfd_distillation_final_loss", "Loss of the last metric record; NaN where it was not finite.", "nats, weighted", "distill")
DISTILLATION_AGREEMENT = Metric("asdfd_distillation_final_agreement_ratio", "Agreement with the teacher in the last metric record.", "share, 0 to 1", "distill")
DISTILLATION_RATE = Metric(
    "asdfd_distillation_samples_per_second", "Pseudo samples that the distillation learned from in a second.", "samples per second", "distill"
)
DISTILLATION_NOT_FINITE = Metric("asdfd_distillation_not_finite_records", "Metric records whose loss was NaN or infinite.", "records", "distill")

EVALUATED = {
    figure.name: Metric(
        figure.series,
        figure.help,
        figure.unit.name,
        "evaluate",
        (*(("role",) if figure.of == "each model" else ()), *(("data",) if figure.on in ("labelled texts", "texts") else ())),
    )
    for figure in FIGURES
}
"""The metric of every figure of an evaluation, by the figure's name."""
ACCURACY, AGREEMENT = EVALUATED["accuracy"], EVALUATED["agreement"]

GATE_PASSED = Metric("asdfd_gate_passed", "Whether the last student passed the gate.", "0 or 1", "judge")
GATE_JUDGED = Metric("asdfd_gate_last_verdict_timestamp_seconds", "When the gate last judged a student.", "Unix seconds", "judge")
GATE_LAST_PASSED = Metric("asdfd_gate_last_passed_timestamp_seconds", "When the gate last let a student pass.", "Unix seconds", "judge")
GATE_CHECK_PASSED = Metric("asdfd_gate_check_passed", "Whether the last student met the rule.", "0 or 1", "judge", ("check",))
GATE_CHECK_VALUE = Metric("asdfd_gate_check_value", "What the rule measured.", "of the rule", "judge", ("check",))
GATE_CHECK_LIMIT = Metric("asdfd_gate_check_limit", "What the rule asks for.", "of the rule", "judge", ("check",))

PROMOTION = Metric("asdfd_promotion_timestamp_seconds", "When the alias was last moved.", "Unix seconds", "an alias that moves", ("alias",))
PROMOTED_INFO = Metric("asdfd_promoted_version_info", "The version that holds the alias; always 1.", "1", "an alias that moves", ("alias", "version"))
PROMOTED_ACCURACY = Metric(
    "asdfd_promoted_accuracy_ratio",
    "Accuracy of the version that holds the alias, as it was measured for its promotion.",
    "share, 0 to 1",
    "an alias that moves",
    ("alias", "data"),
)
PROMOTED_AGREEMENT = Metric(
    "asdfd_promoted_agreement_ratio",
    "Agreement with the teacher of the version that holds the alias.",
    "share, 0 to 1",
    "an alias that moves",
    ("alias", "data"),
)

RUNNING = Metric("asdfd_task_running_seconds", "How long the step has been running by now.", "seconds", "live")
LAST_PROGRESS = Metric("asdfd_task_last_progress_timestamp_seconds", "When the step last wrote a part, a record or a checkpoint.", "Unix seconds", "live")
SYNTHESIS_PARTS = Metric("asdfd_synthesis_parts_done", "Parts of the bank that are finished.", "parts of 1024 samples", "live")
TRAINING_STEP = Metric("asdfd_training_step", "Student steps done.", "steps", "live")
TRAINING_STEPS = Metric("asdfd_training_steps", "Student steps of the whole distillation.", "steps", "live")
TRAINING_LOSS = Metric("asdfd_training_loss", "Loss of the student, NaN where it is not finite.", "nats, weighted", "live")
TRAINING_LOGIT_LOSS = Metric("asdfd_training_logit_loss", "Part of the loss that the logits have.", "nats", "live")
TRAINING_HIDDEN_LOSS = Metric("asdfd_training_hidden_loss", "Part of the loss that the hidden states have, before its weight.", "squared distance", "live")
TRAINING_SELFSUP_LOSS = Metric("asdfd_training_selfsup_loss", "The student's self-supervised loss, before its weight.", "squared distance", "live")
TRAINING_AGREEMENT = Metric("asdfd_training_agreement_ratio", "Agreement with the teacher on the last batch.", "share, 0 to 1", "live")
TRAINING_LEARNING_RATE = Metric("asdfd_training_learning_rate", "Learning rate of the last step.", "1", "live")
TRAINING_RATE = Metric("asdfd_training_samples_per_second", "Pseudo samples that are learned from in a second.", "samples per second", "live")

_GROUPS = [value.values() if value is EVALUATED else [value] for value in list(vars().values())]
METRICS = tuple(dict.fromkeys(value for group in _GROUPS for value in group if isinstance(value, Metric)))
"""All of them, in the order of this file."""

_TRAINING = {
    "step": TRAINING_STEP,
    "loss": TRAINING_LOSS,
    "logit_loss": TRAINING_LOGIT_LOSS,
    "hidden_loss": TRAINING_HIDDEN_LOSS,
    "selfsup_loss": TRAINING_SELFSUP_LOSS,
    "agreement": TRAINING_AGREEMENT,
    "learning_rate": TRAINING_LEARNING_RATE,
    "samples_per_second": TRAINING_RATE,
}


def task_samples(seconds: float, ended: float, succeeded: bool) -> Iterator[Sample]:
    """What is said of every execution of a task: its duration in seconds, and when it ended in Unix seconds."""
    yield Sample(TASK_SUCCESS, float(succeeded))
    yield Sample(TASK_DURATION, seconds)
    yield Sample(TASK_COMPLETION, ended)
    if succeeded:
        yield Sample(TASK_LAST_SUCCESS, ended)


def training_samples(record: Mapping[str, float | None]) -> Iterator[Sample]:
    """One record of metrics.jsonl; null is a value that was not finite."""
    for name, metric in _TRAINING.items():
        if name in record:
            yield Sample(metric, _number(record[name]))


def distillation_samples(records: list[dict[str, float | None]]) -> Iterator[Sample]:
    """What a whole metrics.jsonl amounts to."""
    if not records:
        return
    last = records[-1]
    yield Sample(DISTILLATION_STEPS, _number(last["step"]))
    yield Sample(DISTILLATION_NOT_FINITE, float(sum(record.get("loss") is None for record in records)))
    for name, metric in (("loss", DISTILLATION_LOSS), ("agreement", DISTILLATION_AGREEMENT), ("samples_per_second", DISTILLATION_RATE)):
        yield Sample(metric, _number(last.get(name)))


def evaluation_samples(document: Mapping[str, Any]) -> Iterator[Sample]:
    """The metrics.json of an evaluation; what it does not have is left out.

    The label `data` is the start of the labelled data's digest, so that values on different data are not compared.
    """
    data = _data(document)
    for figure in FIGURES:
        metric = EVALUATED[figure.name]
        for role in ROLES if figure.of == "each model" else ("student",):
            value = document.get(figure.of_role(role))
            if value is not None:
                yield Sample(metric, float(value), {name: {"role": role, "data": data}[name] for name in metric.labels})


def verdict_samples(verdict: Mapping[str, Any], judged: float) -> Iterator[Sample]:
    """A verdict.json, judged at a time in Unix seconds."""
    passed = bool(verdict["passed"])
    yield Sample(GATE_PASSED, float(passed))
    yield Sample(GATE_JUDGED, judged)
    if passed:
        yield Sample(GATE_LAST_PASSED, judged)
    for check in verdict["checks"]:
        labels = {"check": str(check["check"])}
        yield Sample(GATE_CHECK_PASSED, float(check["passed"]), labels)
        yield Sample(GATE_CHECK_VALUE, _number(check["value"]), labels)
        yield Sample(GATE_CHECK_LIMIT, _number(check["limit"]), labels)


def promotion_samples(alias: str, version: str, evaluation: Mapping[str, Any], moved: float) -> Iterator[Sample]:
    """An alias that was moved to a version, with the metrics.json that the version was judged by."""
    yield Sample(PROMOTION, moved, {"alias": alias})
    yield Sample(PROMOTED_INFO, 1.0, {"alias": alias, "version": version})
    labels = {"alias": alias, "data": _data(evaluation)}
    for name, metric in (("agreement", PROMOTED_AGREEMENT), ("accuracy", PROMOTED_ACCURACY)):
        (figure,) = (figure for figure in FIGURES if figure.name == name)
        if (value := evaluation.get(figure.of_role(judged_role(evaluation)))) is not None:
            yield Sample(metric, float(value), labels)


def _data(document: Mapping[str, Any]) -> str:
    """The start of the labelled data's digest."""
    return str(document.get("data", {}).get("digest", ""))[:12]


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
