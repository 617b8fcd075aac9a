"""A Pushgateway, a Prometheus, an Alertmanager and a receiver of its notices, all real, on free ports of this machine, and gone at the end.

They look twice a second, where a cluster looks every 15 to 60 seconds; nothing else differs from what k8s/monitoring asks for.
"""

from __future__ import annotations

import http.server
import json
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from tests.patience import PATIENCE

PROGRAMS = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-pushgateway": "prometheus-pushgateway",
    "prometheus-alertmanager": "prometheus-alertmanager",
}
"""What has to be installed, and the Debian package that brings it."""
Found = TypeVar("Found")


@dataclass(frozen=True)
class Monitoring:
    """The servers."""

    folder: Path
    pushgateway: str
    """Address with scheme and port, as of the other servers."""
    prometheus: str
    alertmanager: str
    live_port: int
    """Port of this machine that is scraped as the endpoint of a step."""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    notices: list[dict[str, Any]] = field(default_factory=list)
    """Alerts that reached the receiver, each as Alertmanager wrote it."""

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression has now."""
        return get(f"{self.prometheus}/api/v1/query?{urllib.parse.urlencode({'query': expression})}")["data"]["result"]

    def value(self, expression: str) -> float | None:
        """The value of an expression that has one series; None while it has none."""
        found = self.query(expression)
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else None

    def parsed(self, expression: str) -> str:
        """The expression as Prometheus understands it; an error is raised for one that it does not."""
        return get(f"{self.prometheus}/api/v1/format_query?{urllib.parse.urlencode({'query': expression})}")["data"]

    def noticed(self, alert: str, status: str = "firing", **labels: str) -> dict[str, Any]:
        """Wait until the receiver got an alert with these labels, and return it; the status is firing or resolved."""

        def found() -> dict[str, Any] | None:
            wanted = {"alertname": alert, **labels}.items()
            return next((notice for notice in list(self.notices) if wanted <= notice["labels"].items() and notice["status"] == status), None)

        return until(found, f"alert {alert} {labels}")

    def range(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression had in the last half hour, also those that lived for one scrape only, which is a second."""
        now = time.time()
        limits = {"query": expression, "start": now - 1800, "end": now, "step": 0.2}
        return get(f"{self.prometheus}/api/v1/query_range?{urllib.parse.urlencode(limits)}")["data"]["result"]

    def firing(self, alert: str) -> list[dict[str, str]]:
        """The labels of the alerts of this name that fire now."""
        return [found["metric"] for found in self.query(f'ALERTS{{alertname="{alert}",alertstate="firing"}}')]

    def alerts(self) -> set[str]:
        """The names of the alerts that Alertmanager holds as active."""
        return {alert["labels"]["alertname"] for alert in get(f"{self.alertmanager}/api/v2/alerts")}

    @contextmanager
    def hung_pushgateway(self) -> Iterator[None]:
        """A Pushgateway that takes connections and answers nothing."""
        process = self.processes["prometheus-pushgateway"]
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def wipe(self) -> None:
        """Let the Pushgateway forget everything."""
        with urllib.request.urlopen(urllib.request.Request(f"{self.pushgateway}/api/v1/admin/wipe", method="PUT"), timeout=PATIENCE):
            pass

    def load(self, groups: Sequence[Mapping[str, Any]]) -> None:
        """Use other rules."""
        (self.folder / "rules.yml").write_text(yaml.safe_dump({"groups": list(groups)}), encoding="utf-8")
        with urllib.request.urlopen(urllib.request.Request(f"{self.prometheus}/-/reload", method="POST"), timeout=PATIENCE):
            pass


def get(url: str) -> Any:
    """A JSON answer."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{url}: {error.code} {error.read().decode()}") from None


def until(look: Callable[[], Found | None], what: str) -> Found:
    """Look again and again until there is something."""
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited {PATIENCE:g} s in vain for {what}"
        time.sleep(0.05)
    return found


@contextmanager
def running_monitoring(folder: Path) -> Iterator[Monitoring]:
    """Start the servers with their data in `folder`, and kill them at the end; they die with the process that started them, too."""
    missing = [f"{program} (package {package})" for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if missing:
        raise RuntimeError(f"these tests need real Prometheus servers, and they are not installed: {', '.join(missing)}; install them with `make servers`")
    ports = free_ports(4)
    addresses = [f"127.0.0.1:{port}" for port in ports]
    servers = Monitoring(folder, *(f"http://{address}" for address in addresses[:3]), live_port=ports[3])
    with ExitStack() as stack:
        receiver = stack.enter_context(receiving(servers.notices))
        write_configuration(servers, receiver)
        commands = (
            # Debian's keeps what was pushed in a file of the machine, where a later run of the tests would find it
            ("prometheus-pushgateway", f"--web.listen-address={addresses[0]}", "--web.enable-admin-api", "--persistence.file="),
            (
                "prometheus",
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/tsdb",
                f"--web.listen-address={addresses[1]}",
                "--web.enable-lifecycle",
            ),
            (
                "prometheus-alertmanager",
                f"--config.file={folder}/alertmanager.yml",
                f"--storage.path={folder}/alerts",
                f"--web.listen-address={addresses[2]}",
                "--cluster.listen-address=",
            ),
        )
        for command in commands:
            servers.processes[command[0]] = stack.enter_context(started(folder, command))
        for url in (servers.pushgateway, servers.prometheus, servers.alertmanager):
            until(lambda url=url: ready(url), f"{url} to be ready; its log is in {folder}")
        yield servers


def write_configuration(servers: Monitoring, receiver: str) -> None:
    """What the Prometheus Operator makes of k8s/monitoring, but looking every second."""
    gateway, alertmanager = (urllib.parse.urlsplit(url).netloc for url in (servers.pushgateway, servers.alertmanager))
    scrapes = [
        {
            "job_name": "pushgateway",
            "honor_labels": True,
            "static_configs": [{"targets": [gateway]}],
            "metric_relabel_configs": [{"action": "labeldrop", "regex": "pod|container|endpoint|service"}],
        },
        {"job_name": "asdfd/asdfd-steps", "static_configs": [{"targets": [f"127.0.0.1:{servers.live_port}"]}]},
    ]
    prometheus = {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
        "rule_files": [str(servers.folder / "rules.yml")],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "scrape_configs": scrapes,
    }
    route = {"receiver": "test", "group_by": ["..."], "group_wait": "0s", "group_interval": "100ms", "repeat_interval": "1h"}
    notices = {"route": route, "receivers": [{"name": "test", "webhook_configs": [{"url": receiver, "send_resolved": True}]}]}
    for name, document in (("prometheus.yml", prometheus), ("alertmanager.yml", notices), ("rules.yml", {"groups": []})):
        (servers.folder / name).write_text(yaml.safe_dump(document), encoding="utf-8")


@contextmanager
def started(folder: Path, command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A server as a process, with its log in `folder`."""
    with (folder / f"{command[0]}.log").open("wb") as log:
        process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command], cwd=folder, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@contextmanager
def receiving(notices: list[dict[str, Any]]) -> Iterator[str]:
    """The address of a webhook that keeps every alert that it is sent."""

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            notices.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["alerts"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def ready(url: str) -> bool:
    """Whether a server says that it is."""
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=5):
            return True
    except OSError:
        return False


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def promtool(*words: str, text: str = "") -> tuple[int, str, str]:
    """Run promtool on `text`: its exit code, and what it said on stdout and stderr."""
    done = subprocess.run(["promtool", *words], input=text, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr
