"""A copy of what was promoted in a Kubeflow Model Registry, for those who look there: best effort, after the commit, never a reason for a run to fail.

Off unless MODEL_REGISTRY_URL names the service (`http://model-registry-service.kubeflow:8080`). The truth stays in our own registry: the service has no
aliases and no atomic moves, so it is told the name, the version with its digests and metrics, where the files lie, and which version holds each stage. Telling
it again changes nothing. Spoken are the routes of the service's own client (model-registry 0.3), `v1`, and those of older services, `v1alpha3`.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from asdfd.base.errors import AsdfdError
from asdfd.registry.aliases import read_alias
from asdfd.registry.records import Alias, Version, file_key
from asdfd.registry.versions import read_version
from asdfd.storage.objects import open_objects

ROOTS = ("/api/model_registry/v1", "/api/model_registry/v1alpha3")
TIMEOUT = 5.0
TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
"""Of the pod's service account; sent over TLS only."""
Properties = Mapping[str, str | float]


class MirrorError(AsdfdError):
    """The service did not take what it was told; never leaves this module."""


@dataclass(frozen=True)
class Service:
    """A Model Registry that answers."""

    url: str
    """Address with the root of its routes."""

    def ask(self, method: str, route: str, query: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """The JSON object that it answers; None where there is no such thing.

        Raises:
            MirrorError: no answer, another refusal, or no JSON.
        """
        address = f"{self.url}{route}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        token = Path(os.environ.get("KF_PIPELINES_SA_TOKEN_PATH") or TOKEN)
        if address.startswith("https://") and token.is_file():
            headers["Authorization"] = f"Bearer {token.read_text(encoding='utf-8').strip()}"
        request = urllib.request.Request(address, json.dumps(body).encode() if body is not None else None, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                found = json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise MirrorError(f"{method} {route} was answered with HTTP {error.code}") from None
        except (OSError, HTTPException, ValueError) as error:
            raise MirrorError(f"{method} {route}: {type(error).__name__}") from None
        if not isinstance(found, dict):
            raise MirrorError(f"{method} {route}: the answer is no JSON object")
        return found

    def sure(self, method: str, route: str, query: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The same, where there must be an answer."""
        found = self.ask(method, route, query, body)
        if found is None:
            raise MirrorError(f"{method} {route} was answered with HTTP 404")
        return found


def mirror(location: str, name: str, stage: str) -> bool:
    """Tell the Model Registry of MODEL_REGISTRY_URL which version holds a stage now; whether it took it. Says in one line on stderr why it did not."""
    url = os.environ.get("MODEL_REGISTRY_URL", "").rstrip("/")
    if not url:
        return False
    try:
        if not url.startswith(("http://", "https://")) or "@" in url:
            raise MirrorError("MODEL_REGISTRY_URL is no address such as http://model-registry-service.kubeflow:8080")
        store = open_objects(location)
        held = read_alias(store, name, stage)
        if held is not None:
            _tell(_reached(url), location, read_version(store, name, held.alias.version, signed=False), held.alias)
    except AsdfdError as error:
        print(f"model registry: {name}@{stage} is not shown there ({error}); in {location} it is safe", file=sys.stderr)
        return False
    return True


def _reached(url: str) -> Service:
    """The service with the routes that it knows."""
    for root in ROOTS:
        service = Service(url + root)
        if service.ask("GET", "/registered_models", {"pageSize": "1"}) is not None:
            return service
    raise MirrorError("it knows neither the routes v1 nor v1alpha3")


def _tell(service: Service, location: str, version: Version, alias: Alias) -> None:
    """Make what is missing, then say which version holds the stage."""
    model = _found_or_made(service, "/registered_model", {"name": version.name}, "/registered_models", {"name": version.name})
    facts: dict[str, str | float] = {
        **{f"digest.{role}": digest for role, digest in version.digests.items() if digest},
        **{f"metric.{name}": value for name, value in version.metrics.items() if value is not None},
        **{f"provenance.{name}": text for name, text in version.provenance.items() if text},
        "teacher": version.teacher_reference,
        "manifest_sha256": version.sha256,
    }
    named = {"name": version.version, "parentResourceId": str(model["id"])}
    description = {"name": version.version, "registeredModelId": str(model["id"]), "author": version.made_by, "customProperties": properties(facts)}
    made = _found_or_made(service, "/model_version", named, "/model_versions", description)
    artifact = {
        "artifactType": "model-artifact",
        "name": f"{version.name}-{version.version}",
        "uri": f"{location}/{file_key(version, 'student/manifest.json').rpartition('/')[0]}",
        "modelFormatName": "safetensors",
        "modelSourceKind": "kfp",
        "modelSourceId": alias.run,
    }
    listed = service.sure("GET", f"/model_versions/{made['id']}/artifacts").get("items") or []
    if artifact["name"] not in [one.get("name") for one in listed]:
        service.sure("POST", f"/model_versions/{made['id']}/artifacts", body=artifact)
    current = dict(model.get("customProperties") or {})
    wanted = properties({f"stage.{alias.stage}": alias.version, f"stage.{alias.stage}.since": alias.time})
    if any(current.get(name) != value for name, value in wanted.items()):
        service.sure("PATCH", f"/registered_models/{model['id']}", body={"customProperties": {**current, **wanted}})


def _found_or_made(service: Service, find: str, query: Mapping[str, str], make: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """What is there under a name, else a new one; somebody else may make it at the same moment."""
    found = service.ask("GET", find, query)
    if found is None:
        try:
            return service.sure("POST", make, body=body)
        except MirrorError:
            found = service.ask("GET", find, query)
            if found is None:
                raise
    return found


def properties(values: Properties) -> dict[str, dict[str, Any]]:
    """Values in the service's own notation."""
    return {
        name: {"metadataType": "MetadataStringValue", "string_value": value}
        if isinstance(value, str)
        else {"metadataType": "MetadataDoubleValue", "double_value": float(value)}
        for name, value in values.items()
    }
