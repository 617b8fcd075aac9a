"""`asdfd status`: runs from a real HTTP server and versions from a real registry, each also without the other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asdfd import steps
from asdfd.base.loading import load_run
from asdfd.registry.records import version_key
from tests.kubeflow.conftest import PLACES, Command
from tests.servers.kfp_api import Server

SETTINGS = [
    "synthesis.samples=64",
    "synthesis.maximum_length=6",
    "synthesis.minimum_length=3",
    "synthesis.pool=32",
    "distillation.steps=2",
    "distillation.batch_size=8",
    "evaluation.pseudo_samples=16",
    "evaluation.latency_runs=1",
    "gate.minimum_agreement=0",
    "gate.largest_drop=1",
    "registry.name=desk",
]


@pytest.fixture(scope="module")
def registry(teacher_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A registry with one version that the pipeline's own steps made and put there: its folder and the version."""
    folder = tmp_path_factory.mktemp("status")
    run = load_run(settings=[*SETTINGS, f"registry.location={folder / 'registry'}"])
    bank = steps.synthesize(run, teacher_artifact, folder / "bank").path
    student = steps.distill(run, teacher_artifact, bank, folder / "student").path
    evaluation = steps.evaluate(run, teacher_artifact, student, folder / "evaluation").path
    verdict = steps.judge(run, evaluation, folder / "verdict").path
    pushed = steps.push(run, teacher_artifact, student, evaluation, verdict, {})
    return folder / "registry", pushed.version


def test_the_registry_alone(registry: tuple[Path, str], json_of: Callable[..., Any], command: Command) -> None:
    location, version = registry
    result = json_of("status", "--set", f"registry.location={location}")
    assert (result["runs"], result["problems"]) == (None, [])
    (row,) = result["versions"]
    assert (row["model"], row["version"], row["stages"], row["verdict"], row["accuracy"]) == ("desk", version, ["staging"], "passed", None)
    assert 0 <= row["agreement"] <= 1
    code, out, err = command("status", "--set", f"registry.location={location}")
    assert (code, err) == (0, "")
    assert [
        word for word in ("desk", version, "staging", "passed", f"{row['agreement']:.4f}", "no runs: no Kubeflow") if word not in out.replace("\n", " ")
    ] == []


def test_runs_and_registry(registry: tuple[Path, str], server: Server, compiled_pipeline: Path, json_of: Callable[..., Any], command: Command) -> None:
    location, version = registry
    for name in ("first", "second", "third"):
        json_of("submit", "--endpoint", server.address, "--pipeline", compiled_pipeline, *PLACES, "--run-name", name, "--wait")
    last = list(server.state.runs.values())[2]
    last |= {"recurring_run_id": "nightly", "created_at": "2026-01-01T01:00:00Z", "finished_at": "2026-01-01T01:00:30Z"}
    words = ["status", "--endpoint", server.address, "--set", f"registry.location={location}"]
    result = json_of(*words, "--last", 2)
    assert [(run["name"], run["state"], run["recurring_run_id"]) for run in result["runs"]] == [("third", "SUCCEEDED", "nightly"), ("second", "SUCCEEDED", "")]
    assert [row["version"] for row in result["versions"]] == [version]
    code, out, _ = command(*words)
    assert code == 0
    assert [word for word in ("third", "first", "succeeded", "by a schedule", "0:00:30", *server.state.runs, version) if word not in out] == []


def test_nothing_at_all(server: Server, command: Command) -> None:
    assert command("status") == (0, "no runs: no Kubeflow Pipelines server is named, or it does not answer\nno versions in registry\n", "")
    assert command("status", "--endpoint", server.address) == (0, "no runs yet\nno versions in registry\n", "")
    assert command("status", "--last", 0) == (2, "", "asdfd: --last 0: at least one is needed\n")


def test_what_cannot_be_read_does_not_hide_the_rest(registry: tuple[Path, str], server: Server, json_of: Callable[..., Any]) -> None:
    location, version = registry
    server.faults.status = 500
    result = json_of("status", "--endpoint", server.address, "--set", f"registry.location={location}", code=2)
    assert [row["version"] for row in result["versions"]] == [version]
    assert "the server failed (500" in result["problems"][0]


def test_a_damaged_version_is_told(registry: tuple[Path, str], command: Command, tmp_path: Path) -> None:
    import shutil

    location, version = registry
    copy = Path(shutil.copytree(location, tmp_path / "copy"))
    manifest = copy / version_key("desk", version, "manifest.json")
    document = json.loads(manifest.read_text(encoding="utf-8"))
    manifest.chmod(0o644)
    manifest.write_text(json.dumps(document | {"version": "0" * 16}), encoding="utf-8")
    code, out, err = command("status", "--set", f"registry.location={copy}")
    assert code == 0
    assert "damaged" in out
    assert err.startswith("asdfd: ")
    assert version in err
