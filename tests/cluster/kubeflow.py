"""A real Kubeflow as the tests use it: the documented commands, kubectl, and the object store. What a laptop needs for that is in docs/cluster-tests.md."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tests.patience import PATIENCE

REPOSITORY = Path(__file__).parents[2]
NAMESPACE = "kubeflow"
"""Where k8s/overlays/local runs everything."""
NEEDED = {
    "KF_PIPELINES_ENDPOINT": "address of Kubeflow Pipelines' API from here",
    "ASDFD_CLUSTER_IMAGE": "image of this checkout that the cluster's nodes have or can pull",
    "S3_ENDPOINT": "address of the cluster's object store from here",
    "AWS_ACCESS_KEY_ID": "key of that store",
    "AWS_SECRET_ACCESS_KEY": "secret of that key",
}
LOOK_SECONDS = 2.0
Found = TypeVar("Found")


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def run_id(self) -> str:
        """The run that `asdfd submit` started."""
        found = re.search(r"run ([0-9a-f-]{36})", self.err)
        assert found, self.err
        return found[1]


class Submitted:
    """`asdfd submit --wait` at work."""

    def __init__(self, words: Sequence[str], folder: Path) -> None:
        self._log = folder / f"submit-{time.monotonic_ns()}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([sys.executable, "-m", "asdfd.cli", *words], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=log)
        self.run_id = until(lambda: _found(r"run ([0-9a-f-]{36}) was submitted", self._said(), self._process), "the run to be submitted")

    def ended(self) -> Answer:
        """Wait for the end of the run, or of whatever kept it from ending."""
        out, _ = self._process.communicate(timeout=3 * PATIENCE)
        return Answer(self._process.returncode, out.decode(), self._said())

    def said(self, words: str) -> str:
        """Wait for a line that holds these words."""
        return until(lambda: next((line for line in self._said().splitlines() if words in line), ""), f"the command to say: {words}")

    def _said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")


def _found(pattern: str, text: str, process: subprocess.Popen[bytes]) -> str:
    found = re.search(pattern, text)
    assert found or process.poll() is None, text
    return found[1] if found else ""


@dataclass(frozen=True)
class Cluster:
    """A Kubeflow with our settings in it, and a bucket with a teacher and labelled texts."""

    pipeline: Path
    """The pipeline, compiled for the image that is tested."""
    bucket: str
    folder: Path
    """For the logs of commands."""

    def words(self, *more: str) -> list[str]:
        """`asdfd submit` of a small run, as docs/kubeflow.md shows it; words that come later win."""
        settings = {"registry.location": self.registry, "registry.name": "desk", "student.count": "1"}
        places = ["--teacher", f"s3://{self.bucket}/teachers/desk", "--data", f"s3://{self.bucket}/data/test.csv"]
        chosen = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        return ["submit", "--pipeline", str(self.pipeline), "--preset", "quick", *places, *chosen, "--cluster", "cpu=250m", "--wait", *more]

    @property
    def registry(self) -> str:
        """Where students are kept. Of this session alone: tasks know it, so nothing comes from a cache of an earlier one."""
        return f"s3://{self.bucket}/asdfd"

    def submit(self, *more: str) -> Submitted:
        """Start a run and wait beside the test."""
        return Submitted(self.words(*more), self.folder)

    def run(self, *more: str) -> Answer:
        """A run from its beginning to its end."""
        return self.submit(*more).ended()

    def asdfd(self, *words: str, code: int = 0) -> str:
        """What a command prints; it must end with this exit code."""
        done = subprocess.run([sys.executable, "-m", "asdfd.cli", *words], cwd=REPOSITORY, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def status(self, run_id: str) -> dict[str, Any]:
        """What `asdfd status` knows of a run."""
        runs = json.loads(self.asdfd("status", "--last", "20", "--set", f"registry.location={self.registry}", "--json"))["runs"]
        return next(run for run in runs if run["run_id"] == run_id)

    def pods(self, run_id: str, component: str = "") -> list[dict[str, Any]]:
        """The pods of a run that do a task of ours, or those of one task, in the order in which they were made."""
        labels = f"pipeline/runid={run_id},app.kubernetes.io/name=asdfd" + (f",app.kubernetes.io/component={component}" if component else "")
        items = json.loads(kubectl("get", "pods", "-l", labels, "-o", "json"))["items"]
        return sorted(items, key=lambda pod: pod["metadata"]["creationTimestamp"])

    def running(self, run_id: str, component: str, but: Sequence[str] = ()) -> str:
        """Wait until a task of a run computes, in another pod than these; the name of its pod."""

        def found() -> str:
            names = [pod["metadata"]["name"] for pod in self.pods(run_id, component) if pod["status"].get("phase") == "Running"]
            return next((name for name in names if name not in but), "")

        return until(found, f"{component} of run {run_id} to run")

    def log(self, pod: str) -> str:
        """What the task in a pod has printed so far; empty where the pod is gone."""
        return kubectl("logs", pod, "-c", "main", check=False)

    def metric(self, expression: str) -> float | None:
        """A series of the cluster's Pushgateway, read through Kubernetes' API: `name{label="value",...}` with the labels in their order."""
        for line in kubectl("get", "--raw", f"/api/v1/namespaces/{NAMESPACE}/services/pushgateway:http/proxy/metrics").splitlines():
            name, _, value = line.rpartition(" ")
            if name == expression:
                return float(value)
        return None

    def outcome(self, run_id: str) -> list[str]:
        """The outcomes that the Pushgateway has of a run."""
        text = kubectl("get", "--raw", f"/api/v1/namespaces/{NAMESPACE}/services/pushgateway:http/proxy/metrics")
        lines = [line for line in text.splitlines() if line.startswith("asdfd_run_info{") and f'run_id="{run_id}"' in line]
        return [found[1] for line in lines if (found := re.search(r'outcome="(\w+)"', line))]


def kubectl(*words: str, check: bool = True, given: str | None = None) -> str:
    """What kubectl prints, in the namespace of the runs."""
    done = subprocess.run(["kubectl", "-n", NAMESPACE, *words], capture_output=True, text=True, input=given, timeout=PATIENCE, check=False)
    assert done.returncode == 0 or not check, f"kubectl {' '.join(words)}: {done.stderr}"
    return done.stdout


def until(look: Callable[[], Found], what: str) -> Found:
    """Look again and again until there is something."""
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited {PATIENCE:g} s in vain for {what}"
        time.sleep(LOOK_SECONDS)
    return found


def missing() -> list[str]:
    """What the tests need to know and are not told."""
    return [f"{name} ({meaning})" for name, meaning in NEEDED.items() if not os.environ.get(name)]
