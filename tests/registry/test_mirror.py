"""The copy in a Kubeflow Model Registry. The service itself needs a database and a cluster, so a small server with its routes stands in for it: what is shown
is that the right requests are made, that telling it twice changes nothing, and that whatever it does, no run fails."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from asdfd.registry.mirror import mirror
from asdfd.registry.publication import push
from asdfd.registry.records import Version
from asdfd.registry.versions import resolve
from asdfd.storage.objects import open_objects
from tests.registry.makers import make_judged, run_of


@dataclass
class Registry:
    """What a stand-in holds."""

    root: str
    url: str = ""
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    versions: dict[str, dict[str, Any]] = field(default_factory=dict)
    artifacts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)
    status: int = 0
    """What every request is answered with, if it is not 0."""
    content: bytes = b"{}"

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: dict[str, Any]) -> tuple[int, Any]:
        """The routes of the service."""
        if not path.startswith(self.root + "/"):
            return 404, {"code": "", "message": "no such route"}
        parts = path.removeprefix(self.root + "/").split("/")
        if method != "GET":
            self.written.append(f"{method} {path}")
        match method, parts:
            case "GET", ["registered_models"]:
                return 200, {"items": list(self.models.values()), "size": len(self.models)}
            case "GET", ["registered_model"]:
                return found(one for one in self.models.values() if one["name"] == query["name"][0])
            case "POST", ["registered_models"]:
                return added(self.models, body, {"name"})
            case "PATCH", ["registered_models", number]:
                self.models[number].update(body)
                return 200, self.models[number]
            case "GET", ["model_version"]:
                wanted = (query["name"][0], query["parentResourceId"][0])
                return found(one for one in self.versions.values() if (one["name"], one["registeredModelId"]) == wanted)
            case "POST", ["model_versions"]:
                return added(self.versions, body, {"name", "registeredModelId"})
            case "GET", ["model_versions", number, "artifacts"]:
                return 200, {"items": self.artifacts.get(number, [])}
            case "POST", ["model_versions", number, "artifacts"]:
                self.artifacts.setdefault(number, []).append(body)
                return 201, {**body, "id": "1"}
        return 404, {}


def found(matches: Iterator[dict[str, Any]]) -> tuple[int, Any]:
    one = next(matches, None)
    return (200, one) if one else (404, {"code": "", "message": "not found"})


def added(things: dict[str, dict[str, Any]], body: dict[str, Any], needed: set[str]) -> tuple[int, Any]:
    if not needed <= body.keys():
        return 400, {}
    if any(all(one[name] == body[name] for name in needed) for one in things.values()):
        return 409, {}
    number = str(len(things) + 1)
    things[number] = {**body, "id": number}
    return 201, things[number]


@pytest.fixture(params=["/api/model_registry/v1", "/api/model_registry/v1alpha3"])
def service(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A stand-in that runs, of the present and of the older routes."""
    registry = Registry(request.param)

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
            parts = urlsplit(self.path)
            status, value = registry.answer(self.command, parts.path, parse_qs(parts.query), body)
            content = json.dumps(value).encode()
            if registry.status:
                status, content = registry.status, registry.content
            self.send_response(status)
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            self.answer()

        do_POST = do_PATCH = do_GET  # noqa: N815  # the names that the library looks for

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        registry.url = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setenv("MODEL_REGISTRY_URL", registry.url)
        yield registry
        server.shutdown()


def pushed(folder: Path, content: str) -> tuple[str, Version]:
    """A version that was pushed to a registry in `folder`."""
    run = run_of(str(folder / "registry"))
    push(run, make_judged(run, folder / content, content), {"pipeline_run": "run-7", "git_commit": "abc"})
    return run.registry.location, resolve(open_objects(run.registry.location), "tiny@staging", signed=False)


def test_the_model_its_version_and_its_files_are_told_once(service: Registry, tmp_path: Path) -> None:
    location, version = pushed(tmp_path, "one")
    assert mirror(location, "tiny", "staging")
    (model,), (made,), ((artifact,),) = service.models.values(), service.versions.values(), service.artifacts.values()
    assert model["name"] == "tiny"
    assert model["customProperties"]["stage.staging"] == {"metadataType": "MetadataStringValue", "string_value": version.version}
    assert (made["name"], made["registeredModelId"]) == (version.version, "1")
    assert made["customProperties"]["digest.student"]["string_value"] == version.digests["student"]
    assert made["customProperties"]["metric.student_accuracy"] == {"metadataType": "MetadataDoubleValue", "double_value": 1.0}
    assert made["customProperties"]["provenance.git_commit"]["string_value"] == "abc"
    assert Path(artifact["uri"]) == tmp_path / "registry" / "models" / "tiny" / "versions" / version.version / "student"
    assert (Path(artifact["uri"]) / "model.safetensors").read_text() == "one"
    written = list(service.written)
    assert len(written) == 4
    assert mirror(location, "tiny", "staging")
    assert service.written == written


def test_a_second_version_takes_the_stage_and_the_first_stays(service: Registry, tmp_path: Path) -> None:
    versions = []
    for content in ("one", "two"):
        location, version = pushed(tmp_path, content)
        assert mirror(location, "tiny", "staging")
        versions.append(version.version)
    (model,) = service.models.values()
    assert model["customProperties"]["stage.staging"]["string_value"] == versions[1]
    assert [made["name"] for made in service.versions.values()] == versions


def test_a_model_that_somebody_made_by_hand_is_kept(service: Registry, tmp_path: Path) -> None:
    theirs = {"name": "tiny", "id": "1", "description": "ours", "customProperties": {"team": {"metadataType": "MetadataStringValue", "string_value": "text"}}}
    service.models["1"] = theirs
    assert mirror(pushed(tmp_path, "one")[0], "tiny", "staging")
    assert service.models["1"]["description"] == "ours"
    assert service.models["1"]["customProperties"].keys() == {"team", "stage.staging", "stage.staging.since"}


@pytest.mark.parametrize(
    ("status", "content", "words"), [(500, b"{}", "HTTP 500"), (403, b"no", "HTTP 403"), (200, b"<html>", "JSONDecodeError"), (200, b"[]", "no JSON object")]
)
def test_a_service_that_fails_is_told_in_one_line(
    service: Registry, tmp_path: Path, capfd: pytest.CaptureFixture[str], status: int, content: bytes, words: str
) -> None:
    location, _ = pushed(tmp_path, "one")
    capfd.readouterr()
    service.status, service.content = status, content
    assert mirror(location, "tiny", "staging") is False
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("model registry: tiny@staging is not shown there (")
    assert words in line


def test_a_service_that_is_away_or_not_wanted_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    location, _ = pushed(tmp_path, "one")
    monkeypatch.delenv("MODEL_REGISTRY_URL", raising=False)
    assert mirror(location, "tiny", "staging") is False
    assert capfd.readouterr().err == ""
    for url in ("http://127.0.0.1:1", "model-registry:8080", "http://user:secret@model-registry:8080"):
        monkeypatch.setenv("MODEL_REGISTRY_URL", url)
        assert mirror(location, "tiny", "staging") is False
        (line,) = capfd.readouterr().err.splitlines()
        assert "is not shown there" in line
        assert "secret" not in line
