"""What `asdfd doctor` asks of Kubernetes, answered by a small server of our own: no real API server can be installed here. `tests/cluster` asks a real one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from tests.patience import PATIENCE


class Cluster:
    """Objects by the path that they are asked for under."""

    def __init__(self) -> None:
        self.address = ""
        self.forbidden: set[str] = set()
        """Paths that are answered by 403."""
        self.documents: dict[str, Any] = {}

    def put(self, path: str, *objects: dict[str, Any]) -> None:
        """The objects that a list gives; every object is found under its name as well."""
        self.documents[path] = {"items": list(objects)}
        for each in objects:
            self.documents[f"{path}/{each['metadata']['name']}"] = each

    def kubeconfig(self, folder: Path) -> Path:
        """A kubeconfig that names this server."""
        path = folder / "kubeconfig"
        one = {"clusters": [{"name": "a", "cluster": {"server": self.address}}], "users": [{"name": "a", "user": {}}]}
        path.write_text(
            yaml.safe_dump({**one, "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}], "current-context": "a"}), encoding="utf-8"
        )
        return path


@contextmanager
def running() -> Iterator[Cluster]:
    """A server that answers on a free port."""
    cluster = Cluster()

    class Handler(BaseHTTPRequestHandler):
        disable_nagle_algorithm = True  # head and body are two packets, and the second would wait 40 ms for the first to be acknowledged

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            document = cluster.documents.get(path)
            status = 403 if path in cluster.forbidden else 200 if document is not None else 404
            body = json.dumps(document if status == 200 else {"kind": "Status", "code": status}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        cluster.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield cluster
        finally:
            server.shutdown()
            thread.join(PATIENCE)
