"""The rules and the dashboard themselves: what is committed is what the code makes, Prometheus understands all of it, and people find each alert's cure."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from asdfd.base.config import Run
from asdfd.cli.main import main
from asdfd.monitoring import manifests, metrics
from asdfd.monitoring.dashboard import SECTIONS
from asdfd.monitoring.rules import ALERTS, groups
from asdfd.monitoring.served import SERIES
from tests.servers.prometheus import Monitoring, promtool

ROOT = Path(__file__).resolve().parents[2]
OPERATIONS = ROOT / "docs" / "operations.md"
FOREIGN = {"push_time_seconds", "push_failure_time_seconds", "up"}
"""Metrics in rules that are the Pushgateway's and Prometheus' own."""
EXPRESSIONS = [alert.expression for alert in ALERTS] + [query.expression for _, panels in SECTIONS for panel in panels for query in panel.queries]


def names_in(expression: str) -> set[str]:
    """The metrics that an expression reads."""
    without = re.sub(r'\{[^}]*\}|\[[^\]]*\]|"[^"]*"|\b(?:on|by|group_left)\s*\([^)]*\)', " ", expression)
    return {word for word in re.findall(r"[a-z_]\w*(?!\w*\s*\()", without) if "_" in word or word == "up"} - {"quantile_over_time", "group_left"}


def test_what_is_committed_is_what_the_code_makes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["monitoring", "--out", str(tmp_path)]) == 0
    written = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert {path.name for path in written} == {"prometheusrule.yaml", "dashboard.yaml"}
    for path in written:
        assert path.read_text() == (ROOT / "k8s" / "monitoring" / path.name).read_text(), f"run `asdfd monitoring --out k8s/monitoring`: {path.name} is of old"


def test_every_metric_is_watched_or_shown_and_no_other_is() -> None:
    exported = {name: series.name for series in SERIES for name in series.exported}
    used = {exported.get(name, name) for expression in EXPRESSIONS for name in names_in(expression)}
    assert used - FOREIGN == {metric.name for metric in (*metrics.METRICS, *SERIES)}


def test_prometheus_parses_every_expression(servers: Monitoring) -> None:
    for expression in EXPRESSIONS:
        assert servers.parsed(expression)
    with pytest.raises(AssertionError, match="bad_data"):
        servers.parsed("asdfd_run_success ==")


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["minutes", "hours", "days"])
def test_the_rules_over_time(scale: str, tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": groups()}), encoding="utf-8")
    code, said, complaint = promtool("check", "rules", str(tmp_path / "rules.yml"))
    assert code == 0, said + complaint
    test = tmp_path / "test.yml"
    test.write_text((Path(__file__).parent / f"rules_in_{scale}_test.yml").read_text(encoding="utf-8"), encoding="utf-8")
    code, said, complaint = promtool("test", "rules", str(test))
    assert code == 0, said + complaint


def test_the_operations_page_lists_the_metrics_as_the_code_has_them() -> None:
    page = OPERATIONS.read_text(encoding="utf-8")
    _, _, rest = page.partition("<!-- metrics: written by `asdfd.monitoring.manifests.metric_table()`, a test compares -->\n\n")
    assert rest.partition("\n\n<!-- end of metrics -->")[0] + "\n" == manifests.metric_table()
    _, _, rest = page.partition("<!-- metrics of a server: written by `asdfd.monitoring.manifests.served_table()`, a test compares -->\n\n")
    assert rest.partition("\n\n<!-- end of metrics of a server -->")[0] + "\n" == manifests.served_table()


def test_every_alert_leads_to_a_section_that_says_what_to_do() -> None:
    page = OPERATIONS.read_text(encoding="utf-8")
    sections = dict(re.findall(r"^### (Asdfd\w+)\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL))
    assert list(sections) == [alert.name for alert in ALERTS]
    for alert in ALERTS:
        assert alert.rule()["annotations"]["runbook_url"] == f"docs/operations.md#{alert.name.lower()}"
        for part in ("**Means**", "**Look**", "**Cure**"):
            assert part in sections[alert.name], f"{alert.name} has no {part}"


def test_promtool_takes_the_text_of_every_metric() -> None:
    from asdfd.monitoring.prometheus import group_of, text

    samples = [metrics.Sample(metric, 1.0, dict.fromkeys(metric.labels, "value")) for metric in metrics.METRICS]
    assert promtool("check", "metrics", text=text(group_of("m", "s"), samples)) == (0, "", "")


def test_what_the_operations_page_tells_people_to_type_exists() -> None:
    page = OPERATIONS.read_text(encoding="utf-8")
    verbs = set(re.findall(r"(?:^ +|`)asdfd ([a-z]+)", page, re.MULTILINE))
    assert {"status", "schedule", "rollback", "registry", "doctor", "monitoring"} <= verbs
    for verb in verbs:
        assert main([verb, "--help"]) == 0
    sections = Run.model_fields
    named = re.findall(rf"`((?:{'|'.join(sections)})\.\w+)`", page)
    assert len(set(named)) > 10
    assert [name for name in named if name.split(".")[1] not in type(getattr(Run(), name.split(".")[0])).model_fields] == []
