"""The server of these tests, as the real kfp.Client sees it: what our own client is tested against is what kfp itself takes for Kubeflow Pipelines."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
import warnings
from pathlib import Path
from typing import Any

import pytest

from tests.kubeflow.conftest import TEACHER
from tests.patience import PATIENCE
from tests.servers.kfp_api import Server

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def client(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of kfp's import, of those that it imports, and of its client
        import kfp

        monkeypatch.setattr(kfp.Client, "_LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
        return kfp.Client(host=server.address)


def test_kfp_client_uploads_runs_and_waits(client: Any, server: Server, compiled_pipeline: Path) -> None:
    experiment = client.create_experiment("tests")
    assert client.create_experiment("tests").experiment_id == experiment.experiment_id
    assert client.get_experiment(experiment_name="tests").experiment_id == experiment.experiment_id
    pipeline = client.upload_pipeline(str(compiled_pipeline), pipeline_name="compress")
    version = client.upload_pipeline_version(str(compiled_pipeline), "second", pipeline_name="compress")
    assert client.get_pipeline_id("compress") == pipeline.pipeline_id == version.pipeline_id
    assert [entry.display_name for entry in client.list_pipeline_versions(pipeline.pipeline_id).pipeline_versions] == ["compress", "second"]
    run = client.run_pipeline(
        experiment.experiment_id,
        "by hand",
        pipeline_id=pipeline.pipeline_id,
        version_id=version.pipeline_version_id,
        params={"teacher": TEACHER, "registry": "s3://models/asdfd"},
    )
    assert client.wait_for_run_completion(run.run_id, 60, sleep_duration=0).state == "SUCCEEDED"
    assert [entry.display_name for entry in client.list_runs(experiment_id=experiment.experiment_id).runs] == ["by hand"]
    inline = client.create_run_from_pipeline_package(str(compiled_pipeline), {"teacher": TEACHER, "registry": "s3://models/asdfd"}, experiment_name="tests")
    assert client.get_run(inline.run_id).experiment_id == experiment.experiment_id
    assert "platform_spec" in server.state.runs[inline.run_id]["pipeline_spec"]


def test_kfp_client_keeps_recurring_runs(client: Any, compiled_pipeline: Path) -> None:
    import kfp_server_api

    experiment = client.create_experiment("tests").experiment_id
    pipeline = client.upload_pipeline(str(compiled_pipeline), pipeline_name="compress").pipeline_id
    version = client.list_pipeline_versions(pipeline).pipeline_versions[0].pipeline_version_id
    made = client.create_recurring_run(experiment, "nightly", cron_expression="0 0 2 * * *", pipeline_id=pipeline, version_id=version, params={"seed": 1})
    assert made.mode == "ENABLE"
    client.disable_recurring_run(made.recurring_run_id)
    assert client.get_recurring_run(made.recurring_run_id).mode == "DISABLE"
    client.enable_recurring_run(made.recurring_run_id)
    (listed,) = client.list_recurring_runs().recurring_runs
    assert (listed.mode, listed.trigger.cron_schedule.cron, listed.runtime_config.parameters) == ("ENABLE", "0 0 2 * * *", {"seed": 1})
    for wrong in ({"cron_expression": "0 2 * * *"}, {"cron_expression": "0 0 2 * * *", "max_concurrency": 11}):
        with pytest.raises(kfp_server_api.ApiException) as refused:
            client.create_recurring_run(experiment, "nightly", pipeline_id=pipeline, version_id=version, **wrong)
        assert refused.value.status == 400
    client.delete_recurring_run(made.recurring_run_id)
    with pytest.raises(kfp_server_api.ApiException) as missing:
        client.get_recurring_run(made.recurring_run_id)
    assert missing.value.status == 404


def test_lists_come_in_pages(client: Any) -> None:
    for number in range(25):
        client.create_experiment(f"experiment-{number:02d}")
    first = client.list_experiments(page_size=20)
    second = client.list_experiments(page_size=20, page_token=first.next_page_token)
    assert [entry.display_name for entry in [*first.experiments, *second.experiments]] == [f"experiment-{number:02d}" for number in range(25)]
    assert not second.next_page_token


def test_it_runs_as_a_process_of_its_own() -> None:
    with subprocess.Popen([sys.executable, "-m", "tests.servers.kfp_api"], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            with urllib.request.urlopen(f"{address}/apis/v2beta1/healthz", timeout=PATIENCE) as answer:
                assert json.loads(answer.read())["multi_user"] is False
        finally:
            process.kill()
