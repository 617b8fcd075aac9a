"""The alert rules: each on something that a person has to look at, and with a section of the runbook that leads from it to its cure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from asdfd.monitoring import metrics, served
from asdfd.monitoring.metrics import JOB

RUNBOOK = "docs/operations.md"
"""Page whose sections are named like the alerts."""
DAY = 86_400
USUAL_DAYS = 14
"""Days that a task's usual duration (their median) is taken from."""
SHORTEST_SLOW_SECONDS = 60
"""A task that took less is never called slow."""
STALLED_SECONDS = 900
"""Time without a record, a part or a checkpoint after which a step counts as stalled."""
ACCURACY_DROP = 0.02
REJECTIONS = 3
BLIND_SECONDS = 600
"""Time without a look at the stage after which a server counts as blind: many times the usual pause of half a minute."""
BY_SERVED = "by (model, stage)"
BY_MODEL = "on(pipeline, model)"
PUSHGATEWAY_JOB = "pushgateway"
"""Job of the scrapes of the Pushgateway itself: the name of its Service."""


@dataclass(frozen=True)
class Alert:
    """One alert rule."""

    name: str
    expression: str
    wait: str
    """Time that the expression has to hold before anybody is woken, as Prometheus writes it."""
    severity: str
    """`critical` wakes somebody, `warning` waits for the working day."""
    summary: str
    description: str

    def rule(self) -> dict[str, Any]:
        """The rule as Prometheus reads it."""
        notes = {"summary": self.summary, "description": self.description, "runbook_url": f"{RUNBOOK}#{self.name.lower()}"}
        return {"alert": self.name, "expr": self.expression, "for": self.wait, "labels": {"severity": self.severity}, "annotations": notes}


_WHO = "pipeline {{ $labels.pipeline }}, model {{ $labels.model }}"
_SERVED = "model {{ $labels.model }}, stage {{ $labels.stage }}"
_USUAL = f"quantile_over_time(0.5, {metrics.TASK_DURATION}[{USUAL_DAYS}d])"
_NOT_REJECTED = f'unless {BY_MODEL} {metrics.RUN_INFO}{{outcome="rejected"}}'
"""The gate's rejections have an alert of their own, which waits for the third in a row."""
_WINDOW = "30d:5m"
_LAST_PASSED = f"({metrics.GATE_LAST_PASSED} @ end() or {BY_MODEL} {metrics.GATE_JUDGED} @ end() * 0)"

ALERTS = (
    Alert(
        "AsdfdRunFailed",
        f"{metrics.RUN_SUCCESS} == 0 {_NOT_REJECTED}",
        "0s",
        "critical",
        f"The last run failed: {_WHO}",
        "The last run that ended failed, so the registry still holds the student of an earlier one.",
    ),
    Alert(
        "AsdfdNoRecentSuccess",
        f"time() - ({metrics.RUN_LAST_SUCCESS} or {BY_MODEL} {metrics.SCHEDULE_SINCE}) > {BY_MODEL} "
        f"(2 * {metrics.SCHEDULE_INTERVAL} or {BY_MODEL} {metrics.RUN_LAST_SUCCESS} * 0 + {2 * DAY}) {_NOT_REJECTED}",
        "5m",
        "critical",
        f"No successful run for twice the schedule: {_WHO}",
        "The last success, or where there was none the schedule, is {{ $value | humanizeDuration }} old. Twice the schedule's pause is allowed, else two days.",
    ),
    Alert(
        "AsdfdAccuracyDropped",
        f'{metrics.PROMOTED_ACCURACY} - on(pipeline, model, data) group_left() {metrics.ACCURACY}{{role="student"}} > {ACCURACY_DROP}',
        "0s",
        "warning",
        f"The newest student is worse than the one in {{{{ $labels.alias }}}}: {_WHO}",
        "On the same data its accuracy is lower by {{ $value | humanizePercentage }}.",
    ),
    Alert(
        "AsdfdGateRejecting",
        f"changes(({metrics.GATE_JUDGED} > {BY_MODEL} {_LAST_PASSED})[{_WINDOW}]) >= {REJECTIONS - 1}",
        "0s",
        "warning",
        f"The gate has rejected three students or more in a row: {_WHO}",
        "No student has passed since the one that holds the alias; asdfd_gate_check_passed says which rule rejects.",
    ),
    Alert(
        "AsdfdTaskSlow",
        f"({metrics.TASK_DURATION} > 2 * {_USUAL} and {metrics.TASK_DURATION} > {SHORTEST_SLOW_SECONDS})"
        f" or (max by (pipeline, model, task) ({metrics.RUNNING}) > on(pipeline, model, task) 2 * max by (pipeline, model, task) ({_USUAL})"
        f" and on(pipeline, model, task) max by (pipeline, model, task) ({metrics.RUNNING}) > {SHORTEST_SLOW_SECONDS})",
        "0s",
        "warning",
        f"Task {{{{ $labels.task }}}} takes over twice its usual time: {_WHO}",
        f"It took, or runs for, {{{{ $value | humanizeDuration }}}}; usual is the median of {USUAL_DAYS} days.",
    ),
    Alert(
        "AsdfdTrainingStalled",
        f"time() - {metrics.LAST_PROGRESS} > {STALLED_SECONDS}",
        "1m",
        "critical",
        f"Task {{{{ $labels.task }}}} runs and does not move: {_WHO}",
        "No metric record, part or checkpoint for {{ $value | humanizeDuration }}, and the pod holds its node meanwhile.",
    ),
    Alert(
        "AsdfdLossNotFinite",
        f"{metrics.TRAINING_LOSS} != {metrics.TRAINING_LOSS} or {metrics.DISTILLATION_NOT_FINITE} > 0",
        "0s",
        "critical",
        f"The loss of the distillation is not finite: {_WHO}",
        "A student with such weights cannot be used; the evaluation refuses it at the latest.",
    ),
    Alert(
        "AsdfdPushFailing",
        f'push_failure_time_seconds{{job="{JOB}"}} > push_time_seconds{{job="{JOB}"}}',
        "0s",
        "warning",
        f"The Pushgateway refuses the metrics of task {{{{ $labels.task }}}}: {_WHO}",
        "The last push of this group was rejected, so its metrics are those of an earlier run.",
    ),
    Alert(
        "AsdfdPushgatewayDown",
        f'up{{job="{PUSHGATEWAY_JOB}"}} == 0 or absent(up{{job="{PUSHGATEWAY_JOB}"}})',
        "5m",
        "critical",
        "The Pushgateway is not scraped",
        "No run can be seen, and every other alert of asdfd sees nothing.",
    ),
    Alert(
        "AsdfdMetricsAbsent",
        f"absent({metrics.RUN_COMPLETION})",
        "15m",
        "warning",
        "No run has reported its status",
        "The Pushgateway is up but knows of no run: it lost its data, or runs do not push.",
    ),
    Alert(
        "AsdfdServingNotFollowing",
        f"max {BY_SERVED} ({served.LOAD_FAILED}) == 1",
        "2m",
        "critical",
        f"A version does not load, and an older one answers: {_SERVED}",
        "The version that holds the stage was refused by the servers: damaged, not signed, or without answers. Users get the one before.",
    ),
    Alert(
        "AsdfdServingBlind",
        f"time() - min {BY_SERVED} ({served.LOOKED}) > {BLIND_SECONDS}",
        "1m",
        "warning",
        f"A server cannot look up its stage: {_SERVED}",
        "The registry was last read {{ $value | humanizeDuration }} ago. The server answers with the version that it has, and knows of no other.",
    ),
    Alert(
        "AsdfdServingFailing",
        f'sum {BY_SERVED} (rate({served.REQUESTS}{{code=~"5.."}}[5m])) > 0',
        "5m",
        "critical",
        f"Requests fail: {_SERVED}",
        "For five minutes there were answers of HTTP status 5xx, {{ $value | humanize }} in a second: 503 says that too many texts wait, 500 is a defect.",
    ),
)


def groups() -> list[dict[str, Any]]:
    """The rule groups, as Prometheus reads them under `groups`."""
    return [{"name": "asdfd", "rules": [alert.rule() for alert in ALERTS]}]
