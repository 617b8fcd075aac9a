"""checkov finds nothing in the manifests but what an object itself says why it is so.

checkov has a virtual environment of its own (`make checkov`): it brings a hundred packages, many of them pinned.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.k8s.manifests import REPOSITORY, every_object, served

pytestmark = pytest.mark.slow

CHECKOV = Path(os.environ.get("CHECKOV") or REPOSITORY / ".venv-checkov" / "bin" / "checkov")
SPOILT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: spoilt, namespace: asdfd}
spec:
  selector: {matchLabels: {app: spoilt}}
  template:
    metadata: {labels: {app: spoilt}}
    spec:
      containers:
        - {name: spoilt, image: "spoilt:latest", securityContext: {privileged: true}}
"""


def checked(folder: Path) -> dict[str, Any]:
    """What checkov says of the manifests in a folder; it asks no server."""
    assert CHECKOV.exists(), f"the tests need {CHECKOV}; install it with: make checkov"
    command = [str(CHECKOV), "--directory", str(folder), "--framework", "kubernetes", "--skip-download", "--compact", "--output", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """checkov's report on every object of every build, and beside them on a pod that breaks the rules.

    An InferenceService is no resource that checkov knows: it gets the Deployment that KServe makes of it.
    """
    folder = tmp_path_factory.mktemp("manifests")
    distinct = {json.dumps(item, sort_keys=True): (name, item) for name, item in every_object()}
    for number, (name, item) in enumerate(distinct.values()):
        shown = served(item) if item["kind"] == "InferenceService" else item
        if item["kind"] not in ("Pipeline", "PipelineVersion"):
            (folder / f"{number}-{name.replace('/', '-')}.yaml").write_text(yaml.safe_dump(shown), encoding="utf-8")
    (folder / "spoilt.yaml").write_text(SPOILT, encoding="utf-8")
    return checked(folder)


def test_nothing_is_found(report: dict[str, Any]) -> None:
    failed = [check for check in report["results"]["failed_checks"] if check["file_path"] != "/spoilt.yaml"]
    assert [f"{check['check_id']} {check['check_name']}: {check['resource']} ({check['file_path']})" for check in failed] == []
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > 150


def test_a_fault_would_be_found(report: dict[str, Any]) -> None:
    found = {check["check_id"] for check in report["results"]["failed_checks"] if check["file_path"] == "/spoilt.yaml"}
    assert {"CKV_K8S_14", "CKV_K8S_16", "CKV_K8S_20", "CKV_K8S_22", "CKV_K8S_37"} <= found


def test_what_is_skipped_is_explained_in_place(report: dict[str, Any]) -> None:
    skipped = report["results"]["skipped_checks"]
    for check in skipped:
        comment = check["check_result"]["suppress_comment"]
        assert len(comment.split()) >= 5, f"{check['check_id']} of {check['resource']}: say why in its annotation checkov.io/skip"
    noted = sum(key.startswith("checkov.io/skip") for _, item in every_object() for key in item["metadata"].get("annotations", {}))
    assert bool(noted) == bool(skipped)
