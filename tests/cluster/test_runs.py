"""Runs on a real Kubeflow, from the compiled file with the documented commands: each ends as it should, and submit, status, metrics and report agree on it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from asdfd.storage.objects import open_objects
from tests.cluster.kubeflow import Answer, Cluster, kubectl, until

pytestmark = pytest.mark.cluster
LONG = ["--set", "distillation.steps=3000", "--set", "distillation.checkpoint_seconds=5"]
"""A distillation that is still at work when the test comes to it."""
GPU = "nvidia.com/gpu"


def test_the_doctor_finds_nothing_wrong(cluster: Cluster) -> None:
    found = cluster.asdfd("doctor", "--pipeline", str(cluster.pipeline), "--set", f"registry.location={cluster.registry}", "--cluster", "cpu=250m", "--json")
    states = {finding["part"]: finding["state"] for finding in json.loads(found)["findings"]}
    parts = ("Kubeflow Pipelines", "nodes", "quotas", "settings of tasks", "image", "registry", "S3")
    assert {part: states[part] for part in parts} == dict.fromkeys(parts, "ok"), found


def test_the_doctor_names_what_no_node_has(cluster: Cluster) -> None:
    found = cluster.asdfd("doctor", "--pipeline", str(cluster.pipeline), "--cluster", "cpu=1000", "--json", code=2)
    assert "the most that one has is cpu" in found


def test_a_run_registers_its_student(registered: Answer, cluster: Cluster) -> None:
    assert registered.code == 0, registered.err
    version = registered.out.partition("registered")[2].split()[1]
    assert cluster.status(registered.run_id)["ending"]["version"] == version
    assert cluster.outcome(registered.run_id) == ["succeeded"]
    store = open_objects(cluster.registry)
    assert [info for info in store.list("") if version in info.key]
    pods = {pod["metadata"]["labels"]["app.kubernetes.io/component"]: pod for pod in cluster.pods(registered.run_id)}
    assert sorted(pods) == ["distill", "evaluate", "fetch-teacher", "plan", "push", "report-status", "synthesize"]
    for pod in pods.values():
        (main,) = (container for container in pod["spec"]["containers"] if container["name"] == "main")
        assert main["resources"].get("limits", {}).get(GPU, "0") == "0"
        assert main["securityContext"]["runAsNonRoot"] is True


def test_what_people_look_at_is_in_kubeflow_s_store(registered: Answer) -> None:
    """The report, the reasons of the gate and how the run ended, where Kubeflow's user interface reads them."""
    keys = [info.key for info in open_objects("s3://mlpipeline").list("") if registered.run_id in info.key]
    assert {"report", "reasons", "summary"} <= {key.rpartition("/")[2] for key in keys}, keys
    (report,) = (key for key in keys if key.endswith("/report") and "/evaluate/" in key)
    assert open_objects("s3://mlpipeline").read(report)[0].lstrip().lower().startswith(b"<!doctype html")


def test_the_same_again_comes_from_the_cache(registered: Answer, cluster: Cluster) -> None:
    again = cluster.run()
    assert again.code == 0, again.err
    assert again.out.partition("registered")[2].split() == registered.out.partition("registered")[2].split()
    assert sorted(pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in cluster.pods(again.run_id)) == ["plan", "push", "report-status"]


def test_a_wrong_teacher_is_told_in_the_pod_s_own_words(cluster: Cluster) -> None:
    wrong = cluster.run("--teacher", f"s3://{cluster.bucket}/teachers/wrong")
    line = f"failed in plan: s3://{cluster.bucket}/teachers/wrong: holds no file of a model; name the prefix"
    assert (wrong.code, wrong.out) == (2, "")
    assert line in wrong.err.splitlines()[-1]
    assert cluster.status(wrong.run_id)["ending"]["outcome"] == "failed"
    assert cluster.outcome(wrong.run_id) == ["failed"]


def test_a_student_that_the_gate_rejects_is_no_success(registered: Answer, cluster: Cluster) -> None:
    assert registered.code == 0
    rejected = cluster.run("--set", "gate.minimum_accuracy=0.9999")
    assert rejected.code == 3, rejected.err
    # the least of the two is what is judged: the student's own accuracy, or that of its export
    assert re.search(r"rejected: minimum_accuracy: (student|export)_accuracy is 0\.\d+, the limit is 0\.9999$", rejected.err.splitlines()[-1]), rejected.err
    assert cluster.status(rejected.run_id)["ending"]["outcome"] == "rejected"
    assert cluster.outcome(rejected.run_id) == ["rejected"]


def test_a_run_that_is_terminated_is_told_as_terminated(registered: Answer, cluster: Cluster) -> None:
    from asdfd.kubeflow.client import connect

    assert registered.code == 0
    submitted = cluster.submit(*LONG)
    cluster.running(submitted.run_id, "distill")
    kubeflow = connect()
    kubeflow.ask(kubeflow.runs.run_service_terminate_run, submitted.run_id)
    ended = submitted.ended()
    assert ended.code == 1
    assert f"run {submitted.run_id}: terminated" in ended.err.splitlines()[-1]
    assert cluster.status(submitted.run_id)["ending"]["outcome"] == "terminated"
    if cluster.pods(submitted.run_id, "report-status"):  # Argo ends it with the run where Kubeflow's pod before it is slow to start, see docs/pipeline.md
        assert until(lambda: cluster.outcome(submitted.run_id), "the exit task to push") == ["terminated"]


def test_a_distillation_of_two_processes_outlives_a_deleted_pod_and_a_drained_node(registered: Answer, cluster: Cluster) -> None:
    assert registered.code == 0
    others = checkpoints(cluster)  # of runs that were terminated, which keep theirs
    submitted = cluster.submit(*LONG, "--set", "distillation.processes=2", "--set", "seed=1", "--set", "registry.name=drained")
    first = cluster.running(submitted.run_id, "distill")
    until(lambda: set(checkpoints(cluster)) - set(others), "a checkpoint in the object store")
    kubectl("delete", "pod", first)
    second = cluster.running(submitted.run_id, "distill", but=[first])
    until(lambda: "going on after step " in cluster.log(second), f"{second} to go on from the checkpoint")
    processes = kubectl("exec", second, "-c", "main", "--", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    assert processes.count("-m asdfd.steps.worker") >= 2, processes
    with drained(second):
        pass
    third = cluster.running(submitted.run_id, "distill", but=[first, second])
    until(lambda: "going on after step " in cluster.log(third), f"{third} to go on from the checkpoint")
    ended = submitted.ended()
    assert ended.code == 0, ended.err
    assert cluster.outcome(submitted.run_id) == ["succeeded"]
    assert not set(checkpoints(cluster)) - set(others), "who has the student needs none"


def checkpoints(cluster: Cluster) -> list[str]:
    """The complete checkpoints in the object store."""
    return [info.key for info in open_objects(f"{cluster.registry}/checkpoints").list("") if info.key.endswith(".json")]


@contextmanager
def drained(pod: str) -> Iterator[None]:
    """Drain the node of a pod of that pod, as its other ones are Kubeflow's own; it takes pods again afterwards."""
    node = kubectl("get", "pod", pod, "-o", "jsonpath={.spec.nodeName}")
    words = ["--ignore-daemonsets", "--delete-emptydir-data", "--force", "--pod-selector=app.kubernetes.io/component=distill", "--timeout=5m"]
    try:
        kubectl("drain", node, *words)
        yield
    finally:
        kubectl("uncordon", node)


def test_a_task_without_memory_enough_fails_and_says_so(registered: Answer, cluster: Cluster) -> None:
    assert registered.code == 0
    killed = cluster.run("--cluster", "memory=300Mi")
    assert killed.code == 1, killed.err
    assert "failed in synthesize" in killed.err.splitlines()[-1]
    assert "memory" in killed.err.splitlines()[-1]
    assert cluster.status(killed.run_id)["ending"]["outcome"] == "failed"
    assert cluster.outcome(killed.run_id) == ["failed"]


def test_an_accelerator_is_asked_for_and_a_quota_that_forbids_it_is_named(registered: Answer, cluster: Cluster) -> None:
    from asdfd.kubeflow.client import connect

    assert registered.code == 0
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "asdfd-test"}, "spec": {"hard": {f"requests.{GPU}": "0"}}}
    kubeflow = connect()
    kubectl("apply", "-f", "-", given=json.dumps(quota))
    try:
        until(lambda: kubectl("get", "quota", "asdfd-test", "-o", "jsonpath={.status.hard}"), "the quota to hold")
        submitted = cluster.submit("--cluster", "accelerator_count=1", "--set", "seed=2")
        assert "exceeded quota: asdfd-test" in submitted.said("waiting in synthesize")
        assert "exceeded quota: asdfd-test" in cluster.status(submitted.run_id)["waiting"]
        told = cluster.asdfd("doctor", "--pipeline", str(cluster.pipeline), "--cluster", "accelerator_count=1", "--json", code=2)
        assert "the quota asdfd-test of namespace" in told or "no node has room" in told
    finally:
        kubectl("delete", "quota", "asdfd-test")
    pods = until(lambda: cluster.pods(submitted.run_id, "synthesize"), "the pods of synthesize")
    limits = [container["resources"]["limits"][GPU] for pod in pods for container in pod["spec"]["containers"] if container["name"] == "main"]
    assert set(limits) == {"1"}
    kubeflow.ask(kubeflow.runs.run_service_terminate_run, submitted.run_id)
    assert submitted.ended().code == 1


def test_a_schedule_starts_runs(registered: Answer, cluster: Cluster, tmp_path: Path) -> None:
    assert registered.code == 0
    name = f"every-minute-{int(time.time())}"
    fields = {"teacher": f"s3://{cluster.bucket}/teachers/desk", "data": f"s3://{cluster.bucket}/data/test.csv", "registry": cluster.registry, "name": "desk"}
    settings = {"student": {"count": 1}}
    one = {"name": name, "cron": "0 * * * * *", "pipeline": "compress", "parameters": {**fields, "preset": "quick", "settings": settings, "cpu": "250m"}}
    file = tmp_path / "schedules.yaml"
    declared = {"owner": name, "server_time_zone": "UTC", "schedules": [{**one, "service_account": "asdfd-runs"}]}
    file.write_text(yaml.safe_dump(declared), encoding="utf-8")
    cluster.asdfd("upload", "--pipeline", str(cluster.pipeline))
    cluster.asdfd("schedule", "diff", "--schedules", str(file), code=4)
    cluster.asdfd("schedule", "apply", "--schedules", str(file))
    try:
        cluster.asdfd("schedule", "diff", "--schedules", str(file))
        started = until(lambda: scheduled(cluster, name), "the schedule to start a run")
        file.write_text(yaml.safe_dump({**declared, "schedules": []}), encoding="utf-8")
        assert "a run of it goes on" in cluster.asdfd("schedule", "apply", "--schedules", str(file))
        run = until(lambda: next((run for run in scheduled(cluster, name) if run["run_id"] == started[0]["run_id"] and run["ending"]), None), "the run to end")
        assert run is not None
        assert run["ending"]["outcome"] == "succeeded", run
        accounts = {pod["spec"]["serviceAccountName"] for pod in cluster.pods(run["run_id"])}
        assert accounts == {"asdfd-runs"}
    finally:
        file.write_text(yaml.safe_dump({**declared, "schedules": []}), encoding="utf-8")
        cluster.asdfd("schedule", "apply", "--schedules", str(file))


def scheduled(cluster: Cluster, name: str) -> list[dict[str, Any]]:
    """The last runs of a schedule, oldest first."""
    runs = json.loads(cluster.asdfd("status", "--last", "5", "--set", f"registry.location={cluster.registry}", "--json"))["runs"]
    return [run for run in reversed(runs) if run["recurring_run_id"] and run["name"].startswith(name)]
