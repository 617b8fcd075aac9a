"""A real, tiny run seen through the real servers: what it exports is all that there is to export, and fills every panel of the dashboard."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path

import pytest

from asdfd import steps
from asdfd.base.config import Run
from asdfd.base.loading import load_run
from asdfd.monitoring import metrics
from asdfd.monitoring.dashboard import SECTIONS
from asdfd.monitoring.observation import push_schedule, text_path
from asdfd.monitoring.served import SERIES
from tests.patience import PATIENCE
from tests.servers.prometheus import Monitoring, promtool, until

pytestmark = pytest.mark.slow

SETTINGS = (
    "registry.name=seen",
    "synthesis.samples=2048",
    "synthesis.guessing=none",
    "synthesis.maximum_length=6",
    "distillation.steps=12",
    "distillation.batch_size=8",
    "distillation.log_every=1",
    "evaluation.latency_runs=2",
    "evaluation.pseudo_samples=32",
    "gate.largest_drop=0.99",
    "gate.minimum_agreement=0",
    "gate.minimum_parity=0",
    "gate.largest_parity_difference=0",
    "gate.largest_export_drop=1",
)


def text(url: str) -> str:
    """What a server answers."""
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        return answer.read().decode()


@pytest.fixture(scope="module")
def run_folder(servers: Monitoring, teacher_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run whose every step was pushed, and whose synthesis and distillation were scraped in the middle."""
    folder = tmp_path_factory.mktemp("run")
    data = folder / "data.csv"
    rows = [f"{text},{label}" for text in ("wonderful movie", "late again") for label in ("praise", "complaint", "question")]  # one in three is right
    data.write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    run = load_run(settings=[*SETTINGS, f"registry.location={folder / 'registry'}"])
    with pytest.MonkeyPatch.context() as settings:
        settings.setenv("PUSHGATEWAY_URL", servers.pushgateway)
        settings.setenv("ASDFD_METRICS_PORT", str(servers.live_port))
        do_run(run, servers, teacher_artifact, folder, data)
    return folder


def do_run(run: Run, servers: Monitoring, teacher: Path, folder: Path, data: Path) -> None:
    """All steps; `should_stop`, which a step asks as it goes, is where the test looks at it."""

    def look_at_synthesis() -> bool:
        until(lambda: servers.value('asdfd_synthesis_parts_done{model="seen"}') == 1, "the synthesis to be scraped")
        return False

    asked: list[int] = []

    def look_at_distillation() -> bool:
        asked.append(1)
        if len(asked) == 6:
            (folder / "scraped.prom").write_text(text(f"http://127.0.0.1:{servers.live_port}/metrics"), encoding="utf-8")
            until(lambda: servers.value('asdfd_training_step{model="seen"}') == 6, "the distillation to be scraped")
        return False

    bank = steps.synthesize(run, teacher, folder / "bank", should_stop=look_at_synthesis).path
    student = steps.distill(run, teacher, bank, folder / "student", look_at_distillation).path
    steps.evaluate(run, teacher, student, folder / "evaluation-on-pseudo-samples")
    labelled = run.changed(evaluation=run.evaluation.changed(data=str(data)))
    export = steps.export(labelled, student, folder / "export").path
    beside = steps.Beside(export, steps.export_teacher(labelled, teacher, folder / "teacher-int8"), {"student": 2.5})
    evaluation = steps.evaluate(labelled, teacher, student, folder / "evaluation", beside=beside).path
    verdict = steps.judge(labelled, evaluation, folder / "verdict").path
    steps.push(labelled, teacher, student, evaluation, verdict, {}, export)
    push_schedule("seen", 86400, time.time())
    steps.report_status(run, "run-1", "COMPLETE", folder / "status.json")
    until(lambda: servers.query('asdfd_run_success{model="seen"}'), "the status to be scraped")


def test_the_live_endpoint_shows_the_last_record(run_folder: Path) -> None:
    lines = dict(line.rsplit(" ", 1) for line in (run_folder / "scraped.prom").read_text().splitlines() if not line.startswith("#"))
    records = [json.loads(line) for line in (run_folder / "student.metrics.jsonl").read_text().splitlines()]
    labels = '{model="seen",pipeline="compress",task="distill"}'
    assert float(lines[f"asdfd_training_step{labels}"]) == records[5]["step"] == 6
    for name in ("loss", "logit_loss", "hidden_loss", "learning_rate", "samples_per_second"):
        assert float(lines[f"asdfd_training_{name}{labels}"]) == records[5][name]
    assert float(lines[f"asdfd_training_agreement_ratio{labels}"]) == records[5]["agreement"]
    assert {line.partition("{")[0] for line in lines} <= {metric.name for metric in metrics.METRICS if metric.exported_by == "live"}


def test_nothing_listens_when_the_step_is_done(servers: Monitoring, run_folder: Path) -> None:
    assert (run_folder / "student").is_dir()
    with pytest.raises(OSError, match="refused"):
        text(f"http://127.0.0.1:{servers.live_port}/metrics")


OF_SEVERAL_LABELS = "asdfd_model_micro_f1_ratio"
"""Of a teacher that gives a text several labels, which this one does not; tests/evaluation has one. What a server measures is in tests/serving."""


def test_the_run_exports_every_metric_with_its_labels_and_no_other(servers: Monitoring, run_folder: Path) -> None:
    assert run_folder.is_dir()
    found = {series["metric"]["__name__"]: series["metric"] for series in servers.range('{__name__=~"asdfd_.*",model="seen"}')}
    exported = [metric for metric in metrics.METRICS if metric.name != OF_SEVERAL_LABELS]
    assert set(found) == {metric.name for metric in exported}
    for metric in exported:
        assert set(found[metric.name]) - {"__name__", "job", "instance"} == {*metrics.GROUPING, *metric.labels}, metric.name


def test_what_prometheus_knows_is_what_was_measured(servers: Monitoring, run_folder: Path) -> None:
    document = json.loads((run_folder / "evaluation" / "metrics.json").read_text())
    data = document["data"]["digest"][:12]
    wanted = {
        f'asdfd_model_accuracy_ratio{{model="seen",role="student",data="{data}"}}': document["student_accuracy"],
        f'asdfd_promoted_accuracy_ratio{{model="seen",alias="staging",data="{data}"}}': document["student_accuracy"],
        'asdfd_model_size_bytes{model="seen",role="student"}': document["student_bytes"],
        'asdfd_inference_latency_p95_seconds{model="seen",role="teacher"}': document["teacher_latency_p95_seconds"],
        'asdfd_gate_passed{model="seen"}': 1,
        'asdfd_distillation_not_finite_records{model="seen"}': 0,
        'asdfd_distillation_steps{model="seen"}': 12,
    }
    assert {expression: servers.value(expression) for expression in wanted} == wanted
    tasks = {series["metric"]["task"] for series in servers.query('asdfd_task_success{model="seen"} == 1')}
    assert tasks == {"synthesize", "distill", "evaluate", "judge", "push"}


def test_every_panel_of_the_dashboard_has_data(servers: Monitoring, run_folder: Path) -> None:
    assert run_folder.is_dir()
    queries = {query.expression: panel.title for _, panels in SECTIONS for panel in panels for query in panel.queries}
    queries = {each: title for each, title in queries.items() if OF_SEVERAL_LABELS not in each and not any(series.name in each for series in SERIES)}
    assert queries
    chosen = {expression: expression.replace("$pipeline", "compress|other").replace("$model", "seen") for expression in queries}
    assert [queries[expression] for expression, asked in chosen.items() if not servers.range(asked)] == []


def test_the_text_beside_each_artifact_is_taken_by_promtool(run_folder: Path) -> None:
    texts = [text_path(run_folder / name) for name in ("bank", "student", "evaluation", "evaluation-on-pseudo-samples", "verdict")]
    for path in texts:
        assert promtool("check", "metrics", text=path.read_text()) == (0, "", ""), path
    assert "asdfd_agreement_on_pseudo_samples_ratio" in texts[3].read_text()
    assert "asdfd_agreement_on_pseudo_samples_ratio" not in texts[2].read_text()


def test_what_is_finished_is_not_counted_as_done_again(run_folder: Path, teacher_artifact: Path) -> None:
    run = load_run(settings=[*SETTINGS, f"registry.location={run_folder / 'registry'}"])
    before = text_path(run_folder / "bank").read_text()
    steps.synthesize(run, teacher_artifact, run_folder / "bank")
    assert text_path(run_folder / "bank").read_text() == before
