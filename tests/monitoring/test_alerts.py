"""Every alert, from what the steps push or serve, through Prometheus and Alertmanager, to whoever is woken.

The rules are the generated ones without their waiting times (see conftest.py); what takes days is in test_rules.py.
"""

from __future__ import annotations

import json
import os
import time
import urllib.request
from pathlib import Path

import pytest

from asdfd import steps
from asdfd.base.config import Registry, Run
from asdfd.monitoring import metrics, observation, prometheus
from asdfd.monitoring.metrics import Metric, Sample
from asdfd.monitoring.observation import push_promotion, push_schedule
from asdfd.steps.promotion import roll_back
from tests.patience import PATIENCE
from tests.registry.makers import run_of as serving_run
from tests.servers.prometheus import Monitoring, until
from tests.serving.makers import NAME, push_student
from tests.serving.processes import serving

pytestmark = pytest.mark.slow

HOUR = 3600.0


def run_of(model: str) -> Run:
    """A run of a model of its own, so that no test sees what another one pushed."""
    return Run(registry=Registry(name=model))


def evaluated(accuracy: float, data: str = "d" * 64) -> dict[str, object]:
    """The part of a metrics.json that counts here."""
    return {"data": {"kind": "labelled_text", "digest": data}, "student_accuracy": accuracy, "agreement": accuracy}


def scraped(servers: Monitoring, expression: str, value: float) -> None:
    """Wait until Prometheus knows a value."""
    until(lambda: servers.value(expression) == value, f"{expression} to be {value}")


def test_a_failed_run_wakes_somebody_and_the_next_success_ends_the_alert(gateway: Monitoring, tmp_path: Path) -> None:
    steps.report_status(run_of("failing"), "run-1", "RUNNING", tmp_path / "status.json")
    notice = gateway.noticed("AsdfdRunFailed", model="failing", pipeline="compress", severity="critical", job="asdfd")
    assert notice["annotations"]["summary"] == "The last run failed: pipeline compress, model failing"
    assert notice["annotations"]["runbook_url"] == "docs/operations.md#asdfdrunfailed"
    assert gateway.value('asdfd_run_last_success_timestamp_seconds{model="failing"}') is None
    steps.report_status(run_of("failing"), "run-2", "COMPLETE", tmp_path / "status.json")
    gateway.noticed("AsdfdRunFailed", "resolved", model="failing")
    (info,) = gateway.query('asdfd_run_info{model="failing"}')
    assert (info["metric"]["run_id"], info["metric"]["outcome"]) == ("run-2", "succeeded"), "the run's id is a label of one gauge, and replaced"


def test_a_run_that_somebody_cancelled_is_no_failure_and_keeps_the_last_success(gateway: Monitoring, tmp_path: Path) -> None:
    for state in ("SUCCEEDED", "CANCELED"):
        steps.report_status(run_of("cancelled"), state, state, tmp_path / "status.json")
    until(lambda: gateway.query('asdfd_run_info{model="cancelled",outcome="terminated"}'), "the second status")
    assert gateway.value('asdfd_run_success{model="cancelled"}') == 1
    assert gateway.value('asdfd_run_last_completion_timestamp_seconds{model="cancelled"} > asdfd_run_last_success_timestamp_seconds') is not None


def test_a_rejected_run_is_no_success_and_wakes_nobody_at_once(gateway: Monitoring, tmp_path: Path) -> None:
    """The first failure shows that the alert would come."""
    run = run_of("turned-down").changed(registry=Registry(name="turned-down", location=str(tmp_path / "registry")))
    steps.report_status(run, "run-1", "RUNNING", tmp_path / "status.json")
    gateway.noticed("AsdfdRunFailed", model="turned-down")
    (tmp_path / "registry" / "runs" / "run-2").mkdir(parents=True)
    (tmp_path / "registry" / "runs" / "run-2" / "rejected.json").write_text('{"line": "largest_drop: too much"}', encoding="utf-8")
    steps.report_status(run, "run-2", "COMPLETE", tmp_path / "status.json")
    gateway.noticed("AsdfdRunFailed", "resolved", model="turned-down")
    assert gateway.value('asdfd_run_success{model="turned-down"}') == 0
    (info,) = gateway.query('asdfd_run_info{model="turned-down"}')
    assert info["metric"]["outcome"] == "rejected"


def test_no_success_within_twice_the_schedule(gateway: Monitoring) -> None:
    for model, age, schedule in (("late", 2.1 * HOUR, HOUR), ("in-time", 1.9 * HOUR, HOUR), ("late-unscheduled", 49 * HOUR, 0), ("unscheduled", 47 * HOUR, 0)):
        assert prometheus.push(prometheus.group_of(model, metrics.RUN_TASK), [Sample(metrics.RUN_LAST_SUCCESS, time.time() - age)])
        if schedule:
            assert push_schedule(model, schedule, time.time() - age)
    assert "2h 6m" in gateway.noticed("AsdfdNoRecentSuccess", model="late")["annotations"]["description"]
    gateway.noticed("AsdfdNoRecentSuccess", model="late-unscheduled")
    assert {alert["model"] for alert in gateway.firing("AsdfdNoRecentSuccess")} == {"late", "late-unscheduled"}


def test_the_newest_student_is_worse_than_the_promoted_one(gateway: Monitoring) -> None:
    for model, accuracy, data in (("worse", 0.87, "d" * 64), ("alike", 0.89, "d" * 64), ("other-data", 0.5, "e" * 64)):
        assert push_promotion(model, "staging", "v1", evaluated(0.9))
        assert prometheus.push(prometheus.group_of(model, "evaluate"), metrics.evaluation_samples(evaluated(accuracy, data)))
    notice = gateway.noticed("AsdfdAccuracyDropped", model="worse", alias="staging", data="d" * 12)
    assert notice["annotations"]["description"].endswith("lower by 3%.")
    assert {alert["model"] for alert in gateway.firing("AsdfdAccuracyDropped")} == {"worse"}


@pytest.mark.parametrize("passed_before", [True, False])
def test_the_gate_rejects_three_times_running(gateway: Monitoring, passed_before: bool) -> None:
    model = f"rejected-{passed_before}"
    now = time.time()
    for number, passed in enumerate((passed_before, False, False)):
        verdict = {"passed": passed, "checks": []}
        assert prometheus.push(prometheus.group_of(model, "judge"), metrics.verdict_samples(verdict, now + number))
        scraped(gateway, f'asdfd_gate_last_verdict_timestamp_seconds{{model="{model}"}}', now + number)
    if passed_before:
        assert not [alert for alert in gateway.firing("AsdfdGateRejecting") if alert["model"] == model]
        assert prometheus.push(prometheus.group_of(model, "judge"), metrics.verdict_samples({"passed": False, "checks": []}, now + 3))
    gateway.noticed("AsdfdGateRejecting", model=model)


def test_a_task_takes_over_twice_its_usual_time(gateway: Monitoring) -> None:
    for model, seconds in (("slow", 100.0), ("usual", 100.0), ("short", 1.0)):
        assert prometheus.push(prometheus.group_of(model, "distill"), metrics.task_samples(seconds, time.time(), succeeded=True))
    scraped(gateway, 'clamp_max(count_over_time(asdfd_task_duration_seconds{model="slow"}[1m]), 5)', 5)
    for model, seconds in (("slow", 210.0), ("usual", 190.0), ("short", 30.0)):
        assert prometheus.push(prometheus.group_of(model, "distill"), metrics.task_samples(seconds, time.time(), succeeded=True))
    assert "3m 30s" in gateway.noticed("AsdfdTaskSlow", model="slow", task="distill")["annotations"]["description"]
    assert {alert["model"] for alert in gateway.firing("AsdfdTaskSlow")} == {"slow"}


def test_a_running_step_that_stalls_with_a_loss_that_is_not_finite(gateway: Monitoring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASDFD_METRICS_PORT", str(gateway.live_port))
    records = tmp_path / "metrics.jsonl"
    records.write_text(json.dumps({"step": 7, "loss": None, "agreement": 0.5}) + "\n", encoding="utf-8")
    old = time.time() - 1000
    os.utime(records, (old, old))
    with prometheus.serving(prometheus.group_of("stalled", "distill"), lambda: observation.live_samples(run_of("stalled"), tmp_path, old - 5000)):
        gateway.noticed("AsdfdTrainingStalled", model="stalled", task="distill", severity="critical")
        gateway.noticed("AsdfdLossNotFinite", model="stalled", severity="critical")
        assert gateway.value('asdfd_training_step{model="stalled"}') == 7
    gateway.noticed("AsdfdTrainingStalled", "resolved", model="stalled")


def test_a_distillation_that_ended_with_a_loss_that_is_not_finite(gateway: Monitoring) -> None:
    records: list[dict[str, float | None]] = [{"step": 1, "loss": 0.5}, {"step": 2, "loss": None}]
    assert prometheus.push(prometheus.group_of("broken", "distill"), metrics.distillation_samples(records))
    gateway.noticed("AsdfdLossNotFinite", model="broken")


def test_a_push_that_the_pushgateway_refuses(gateway: Monitoring) -> None:
    counter = b"# TYPE somebody_elses_metric counter\nsomebody_elses_metric 1\n"
    with urllib.request.urlopen(urllib.request.Request(f"{gateway.pushgateway}/metrics/job/other", data=counter, method="POST"), timeout=PATIENCE):
        pass
    taken = Sample(Metric("somebody_elses_metric", "A gauge here, a counter there.", "1", "test"), 1.0)
    assert not prometheus.push(prometheus.group_of("refused", "evaluate"), [taken])
    gateway.noticed("AsdfdPushFailing", model="refused", task="evaluate")


def test_a_version_that_does_not_load_wakes_somebody_and_a_rollback_ends_the_alert(gateway: Monitoring, tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    push_student(str(registry), tmp_path / "1", 1)
    words = [f"{NAME}@production", "--registry", str(registry), "--every", "0.2"]
    with serving(words, tmp_path / "log", port=gateway.live_port) as server:
        scraped(gateway, f'asdfd_serving_load_failed{{model="{NAME}"}}', 0)
        assert gateway.firing("AsdfdServingNotFollowing") == []
        with server.held():
            second = push_student(str(registry), tmp_path / "2", 2)
            (weights,) = (registry / "models" / NAME / "versions" / second).glob("student/model.safetensors")
            weights.write_bytes(weights.read_bytes()[:-1])
        notice = gateway.noticed("AsdfdServingNotFollowing", model=NAME, stage="production", severity="critical")
        assert notice["annotations"]["summary"] == f"A version does not load, and an older one answers: model {NAME}, stage production"
        assert notice["annotations"]["runbook_url"] == "docs/operations.md#asdfdservingnotfollowing"
        assert server.ask("/classify", {"texts": ["the one before answers"]}).version == server.facts["version"] != second
        roll_back(serving_run(str(registry), NAME), NAME, "production", "does not load")
        gateway.noticed("AsdfdServingNotFollowing", "resolved", model=NAME, stage="production")


def test_no_status_of_any_run_and_then_no_pushgateway(gateway: Monitoring, tmp_path: Path) -> None:
    steps.report_status(run_of("present"), "run-1", "COMPLETE", tmp_path / "status.json")
    until(lambda: not gateway.query('ALERTS{alertname="AsdfdMetricsAbsent"}') and gateway.query("asdfd_run_success"), "the status")
    until(lambda: "AsdfdMetricsAbsent" not in gateway.alerts(), "Alertmanager to know that there is a status")
    gateway.notices.clear()
    gateway.wipe()
    gateway.noticed("AsdfdMetricsAbsent")
    with gateway.hung_pushgateway():
        gateway.noticed("AsdfdPushgatewayDown", severity="critical")
    gateway.noticed("AsdfdPushgatewayDown", "resolved")
