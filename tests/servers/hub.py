"""As much of the Hugging Face hub's protocol as a download needs, over real HTTP: one model and one data set, organisation/name, at the revision v1.

Other names are errors of several kinds. `commit` may be changed, as by a push to a branch; `faults` says what the next answers to some paths are instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Literal

import huggingface_hub
import pytest

Fault = Literal["503", "429", "dropped"]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """A hub that runs."""

    folder: Path
    commit: str = COMMIT
    asked: list[str] = field(default_factory=list)
    """Paths of all requests."""
    requested: list[str] = field(default_factory=list)
    """Files that were asked for."""
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    """By a part of the path: what its next answers are, each once."""
    lock: Lock = field(default_factory=Lock)

    def fault(self, path: str) -> Fault | None:
        """What this request gets instead of an answer."""
        with self.lock:
            self.asked.append(path)
            return next((faults.pop() for part, faults in self.faults.items() if part in path and faults), None)


class _Handler(BaseHTTPRequestHandler):
    disable_nagle_algorithm = True  # head and body are two packets, and the second would wait 40 ms for the first to be acknowledged

    hub: Hub

    def do_GET(self) -> None:
        self.answer()

    def do_HEAD(self) -> None:
        self.answer()

    def answer(self) -> None:
        """Answer one request."""
        fault = self.hub.fault(self.path)
        if fault == "dropped":
            self.close_connection = True
            self.connection.close()
            return
        if fault:
            self.reply(int(fault), b"{}")
            return
        commit, folder = self.hub.commit, self.hub.folder
        resolve = f"/organisation/name/resolve/{commit}/"
        if self.path.startswith(("/api/models/organisation/name/revision/v1", "/api/datasets/organisation/name")):
            self.reply(200, json.dumps({"id": "organisation/name", "sha": commit, "siblings": []}).encode())
        elif self.path.startswith(f"/api/models/organisation/name/tree/{commit}"):
            entries = [{"type": "file", "path": path.name, "size": path.stat().st_size, "oid": path.name} for path in sorted(folder.iterdir())]
            self.reply(200, json.dumps(entries).encode())
        elif self.path.startswith(resolve):
            name = self.path.removeprefix(resolve)
            self.hub.requested.append(name)
            self.reply(200, (folder / name).read_bytes(), {"ETag": f'"{name}"', "X-Repo-Commit": commit})
        else:
            status, code = {"gated": (403, "GatedRepo"), "name": (404, "RevisionNotFound"), "down": (501, "")}.get(
                self.path.split("/")[4], (404, "RepoNotFound")
            )
            self.reply(status, b"{}", {"X-Error-Code": code})

    def reply(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        """Send an answer."""
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output clean."""


@contextmanager
def running_hub(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A local hub that serves `folder`, to which huggingface_hub goes with an empty cache."""
    hub = Hub(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    huggingface_hub.close_session()
    try:
        yield hub
    finally:
        huggingface_hub.close_session()
        server.shutdown()
        server.server_close()
