"""What the tests of the monitoring share: the real servers, started once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from asdfd.monitoring.rules import groups
from tests.servers.prometheus import Monitoring, running_monitoring


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitoring]:
    """The servers with the generated rules, changed in time alone: no alert waits, and the gate's history is the last two minutes, not the last month."""
    with running_monitoring(tmp_path_factory.mktemp("monitoring")) as running:
        impatient = [{**rule, "for": "0s", "expr": rule["expr"].replace("[30d:5m]", "[2m:100ms]")} for group in groups() for rule in group["rules"]]
        assert [rule["alert"] for group in groups() for rule in group["rules"] if "[30d:5m]" in rule["expr"]] == ["AsdfdGateRejecting"]
        running.load([{"name": "asdfd", "rules": impatient}])
        yield running


@pytest.fixture
def gateway(servers: Monitoring, monkeypatch: pytest.MonkeyPatch) -> Monitoring:
    """The servers, with the settings that let our code push to them."""
    monkeypatch.setenv("PUSHGATEWAY_URL", servers.pushgateway)
    return servers
