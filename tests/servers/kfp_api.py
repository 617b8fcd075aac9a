"""A small Kubeflow Pipelines API server: the v2beta1 routes that kfp.Client calls, over real HTTP, with its state in memory.

It answers as the server's own sources do: names of pipelines and of their versions are unique, cron expressions have six fields, concurrency is 1 to 10, lists
come in pages. It does not run pipelines: a run goes through `run_states`, one state further each time that it is asked for, and has the `pods` that a test
gives it: their workflow is what version 1 of the API gives away (packed where it is large, as by Argo), their logs come from the pods or the archive. As read
in the sources of 2.17, `run_log_server.go` answers 200 before it knows whether there is a log, and `ResolveArtifactPath` does not unpack a workflow. `Faults`
makes it refuse, stall, fail or drop connections, the latter before or after a change was made.

By hand: `python -m tests.servers.kfp_api --port 8888 [--token T]`.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import re
import threading
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.parser import BytesParser
from email.policy import HTTP
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import yaml

Document = dict[str, Any]
PREFIX = "/apis/v2beta1"
PAGE = 20


class Refusal(Exception):  # noqa: N818  # an answer, not an error of the server
    """An answer that is no success."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class Drop(Exception):  # noqa: N818
    """The connection ends without an answer."""


@dataclass
class Faults:
    """How the server misbehaves; every field can be changed while it runs."""

    token: str = ""
    """Bearer token that every request must carry; empty asks for none."""
    status: int = 0
    """Status of every answer, such as 500; 0 answers properly."""
    page: str = ""
    """Text of an HTML page that is every answer, as a login page before the API would be."""
    stalled: bool = False
    """Whether requests are read and never answered (until the server is closed)."""
    dropped_reads: int = 0
    """So many GET requests from now on end without an answer."""
    crash_at: int = 0
    """The change, counted from 1, at which the connection ends, and no later request is answered either: the client is as good as dead. 0 is never."""
    crash_when: Literal["before", "after"] = "before"
    """Whether that change is made."""


@dataclass(frozen=True)
class Pod:
    """A pod that ran a task."""

    task: str
    phase: Literal["Pending", "Succeeded", "Failed", "Error"] = "Succeeded"
    message: str = ""
    log: str = ""
    kept: Literal["pod", "archive", "nowhere"] = "pod"
    """Where its log is: in the pod, which still exists, in Argo's archive of logs, or lost."""


@dataclass
class State:
    """What the server holds."""

    multi_user: bool = False
    version: str = "2.17.0"
    """Release of the server; `unknown` where somebody built it."""
    may_start_runs: bool = True
    """Whether the user may create runs, which a server of many users asks before anything else."""
    experiments: dict[str, Document] = field(default_factory=dict)
    pipelines: dict[str, Document] = field(default_factory=dict)
    versions: dict[str, Document] = field(default_factory=dict)
    runs: dict[str, Document] = field(default_factory=dict)
    recurring_runs: dict[str, Document] = field(default_factory=dict)
    run_states: tuple[str, ...] = ("PENDING", "RUNNING", "SUCCEEDED")
    """States that every run goes through; the last one stays."""
    pods: tuple[Pod, ...] = ()
    """The pods that ran the tasks of every run, in their order."""
    packed: bool = False
    """Whether Argo packed the status of the workflows."""
    keeps_latest: bool = True
    """Whether a recurring run of a pipeline without a version stays so; older servers pin the version of that moment."""
    requests: list[str] = field(default_factory=list)
    """Method and path of every request that came."""
    changes: int = 0
    """Changes that were asked for."""
    clock: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    """Advances by a second with every object, so that their order is known."""

    def stamp(self) -> str:
        """The next moment."""
        self.clock += timedelta(seconds=1)
        return self.clock.strftime("%Y-%m-%dT%H:%M:%SZ")


Route = Callable[[State, "Request"], Document | str]


@dataclass(frozen=True)
class Request:
    """What a route needs of a request."""

    names: tuple[str, ...]
    query: dict[str, str]
    body: Any


def one(objects: dict[str, Document], identifier: str, what: str) -> Document:
    """The object of that id."""
    if identifier not in objects:
        raise Refusal(HTTPStatus.NOT_FOUND, f"{what} {identifier} not found.")
    return objects[identifier]


def listed(request: Request, objects: list[Document], name: str) -> Document:
    """One page of objects: filtered by predicates, experiment and namespace, ordered by `sort_by`."""
    predicates = json.loads(request.query.get("filter") or "{}").get("predicates", [])
    for predicate in predicates:
        key, value, operation = predicate["key"], predicate.get("stringValue", predicate.get("string_value")), predicate["operation"]
        if operation in (1, "EQUALS"):
            objects = [entry for entry in objects if entry.get(key) == value]
        elif operation in (9, "IS_SUBSTRING"):
            objects = [entry for entry in objects if value in entry.get(key, "")]
        else:
            raise Refusal(HTTPStatus.BAD_REQUEST, f"operation {operation} is not known to this server")
    for key in ("experiment_id", "namespace"):
        if wanted := request.query.get(key):
            objects = [entry for entry in objects if entry.get(key, "") == wanted]
    key, _, direction = (request.query.get("sort_by") or "created_at asc").partition(" ")
    objects = sorted(objects, key=lambda entry: entry.get(key, ""), reverse=direction == "desc")
    start, size = int(request.query.get("page_token") or 0), int(request.query.get("page_size") or PAGE)
    page: Document = {name: objects[start : start + size], "total_size": len(objects)}
    if start + size < len(objects):
        page["next_page_token"] = str(start + size)
    return page if page[name] else {}


def healthz(state: State, request: Request) -> Document:
    """What kind of server this is."""
    del request
    return {"multi_user": state.multi_user, "tag_name": state.version, "commit_sha": "unknown", "pipeline_store": "database"}


def create_experiment(state: State, request: Request) -> Document:
    """A new experiment; its name is unique in its namespace."""
    wanted = dict(request.body)
    if state.multi_user and not wanted.get("namespace"):
        raise Refusal(HTTPStatus.BAD_REQUEST, "Invalid input error: Namespace cannot be empty in multi-user mode")
    if not state.multi_user and wanted.get("namespace"):
        raise Refusal(HTTPStatus.BAD_REQUEST, "Invalid input error: In single-user mode, CreateExperimentRequest shouldn't contain namespace")
    place = (wanted["display_name"], wanted.get("namespace") or "")
    if any((entry["display_name"], entry.get("namespace") or "") == place for entry in state.experiments.values()):
        raise Refusal(HTTPStatus.CONFLICT, f"Already exist error: The name {wanted['display_name']} already exist")
    identifier = str(uuid.uuid4())
    state.experiments[identifier] = wanted | {"experiment_id": identifier, "created_at": state.stamp(), "storage_state": "AVAILABLE"}
    return state.experiments[identifier]


def specification(body: bytes) -> Document:
    """The pipeline of an uploaded file."""
    try:
        documents = [entry for entry in yaml.load_all(body, yaml.CSafeLoader) if entry]
    except yaml.YAMLError:
        documents = []
    if not documents or "pipelineInfo" not in documents[0]:
        raise Refusal(HTTPStatus.BAD_REQUEST, "Invalid input error: unknown template format")
    return {"pipeline_spec": documents[0], **({"platform_spec": documents[1]} if len(documents) > 1 else {})}


def add_version(state: State, pipeline: Document, name: str, description: str, body: bytes) -> Document:
    """A new version of a pipeline; its name is unique there."""
    known = [entry["display_name"] for entry in state.versions.values() if entry["pipeline_id"] == pipeline["pipeline_id"]]
    if name in known:
        raise Refusal(HTTPStatus.CONFLICT, f"Already exist error: The name {name} already exist. Please specify a new name")
    identifier = str(uuid.uuid4())
    version = {"pipeline_id": pipeline["pipeline_id"], "pipeline_version_id": identifier, "display_name": name, "name": name, "description": description}
    state.versions[identifier] = version | {"pipeline_spec": specification(body), "created_at": state.stamp()}
    return state.versions[identifier]


def create_pipeline(state: State, request: Request) -> Document:
    """A new pipeline that has no version yet; its name is unique."""
    name = request.body.get("display_name", "")
    place = (name, request.body.get("namespace") or "")
    if not name or any((entry["display_name"], entry["namespace"]) == place for entry in state.pipelines.values()):
        raise Refusal(HTTPStatus.CONFLICT if name else HTTPStatus.BAD_REQUEST, f"Already exist error: The name {name} already exist. Please specify a new name")
    identifier = str(uuid.uuid4())
    state.pipelines[identifier] = {"namespace": ""} | request.body | {"pipeline_id": identifier, "name": name, "created_at": state.stamp()}
    return state.pipelines[identifier]


def upload_pipeline(state: State, request: Request) -> Document:
    """A new pipeline with its first version, which takes the pipeline's name."""
    name = request.query.get("name") or specification(request.body)["pipeline_spec"]["pipelineInfo"]["name"]
    if any(entry["display_name"] == name for entry in state.pipelines.values()):
        raise Refusal(HTTPStatus.CONFLICT, f"Already exist error: The name {name} already exist. Please specify a new name")
    specification(request.body)
    identifier = str(uuid.uuid4())
    pipeline = {"pipeline_id": identifier, "display_name": name, "name": name, "description": request.query.get("description", ""), "created_at": state.stamp()}
    state.pipelines[identifier] = pipeline | {"namespace": request.query.get("namespace", "")}
    add_version(state, state.pipelines[identifier], name, "", request.body)
    return state.pipelines[identifier]


def upload_version(state: State, request: Request) -> Document:
    """A new version of a pipeline."""
    pipeline = one(state.pipelines, request.query.get("pipelineid", ""), "Pipeline")
    return add_version(state, pipeline, request.query["name"], request.query.get("description", ""), request.body)


def list_versions(state: State, request: Request) -> Document:
    """Versions of a pipeline."""
    one(state.pipelines, request.names[0], "Pipeline")
    return listed(request, [entry for entry in state.versions.values() if entry["pipeline_id"] == request.names[0]], "pipeline_versions")


def check_source(state: State, wanted: Document) -> None:
    """A run needs a pipeline and an experiment that exist, and parameters that the pipeline has."""
    one(state.experiments, wanted.get("experiment_id", ""), "Experiment")
    reference = wanted.get("pipeline_version_reference") or {}
    if not reference and not wanted.get("pipeline_spec"):
        raise Refusal(HTTPStatus.BAD_REQUEST, "Invalid input error: no pipeline spec or reference")
    if not reference:
        return
    if version := reference.get("pipeline_version_id"):
        one(state.versions, version, "PipelineVersion")
    one(state.pipelines, reference.get("pipeline_id", ""), "Pipeline")
    versions = [entry for entry in state.versions.values() if entry["pipeline_id"] == reference["pipeline_id"]]
    if version := reference.get("pipeline_version_id"):
        versions = [one(state.versions, version, "PipelineVersion")]
    if not versions:
        raise Refusal(HTTPStatus.NOT_FOUND, "Failed to fetch a pipeline version: the pipeline has none")
    known = versions[-1]["pipeline_spec"]["pipeline_spec"]["root"].get("inputDefinitions", {}).get("parameters", {})
    given = (wanted.get("runtime_config") or {}).get("parameters") or {}
    if unknown := set(given) - set(known):
        raise Refusal(HTTPStatus.BAD_REQUEST, f"Invalid input error: parameters {', '.join(sorted(unknown))} are not in the pipeline")


def create_run(state: State, request: Request) -> Document:
    """A new run. That there is no such version is called a failure of the server, as in 2.17."""
    if not state.may_start_runs:
        raise Refusal(HTTPStatus.FORBIDDEN, "Failed to create a run due to authorization error. Check if you have write permissions to namespace team-a")
    try:
        check_source(state, request.body)
    except Refusal as refusal:
        raise Refusal(HTTPStatus.INTERNAL_SERVER_ERROR if "PipelineVersion" in str(refusal) else refusal.status, str(refusal)) from None
    identifier = str(uuid.uuid4())
    state.runs[identifier] = request.body | {"run_id": identifier, "state": "PENDING", "created_at": state.stamp(), "storage_state": "AVAILABLE"}
    return state.runs[identifier]


def get_run(state: State, request: Request) -> Document:
    """A run, one state further than when it was asked for last."""
    run = one(state.runs, request.names[0], "Run")
    asked = run.setdefault("_asked", 0)
    run["_asked"] = asked + 1
    run["state"] = state.run_states[min(asked, len(state.run_states) - 1)]
    return {name: value for name, value in run.items() if name != "_asked"}


WORKFLOW = "compress-x2zvb"


def nodes_of(state: State) -> dict[str, Document]:
    """The nodes of a run's workflow. Every template is tried again by Kubeflow's default, so each name ends in the number of a try."""
    nodes: dict[str, Document] = {}

    def add(name: str, template: str, kind: str, **more: str) -> None:
        identifier = f"{WORKFLOW}-{zlib.crc32(name.encode())}"  # Argo takes another hash of 32 bits
        nodes[identifier] = {"id": identifier, "name": name, "displayName": name.rpartition(".")[2], "templateName": template, "type": kind, **more}

    add(WORKFLOW, "entrypoint", "Retry", phase="Succeeded")
    for number, pod in enumerate(state.pods):
        path = f"{WORKFLOW}(0).root(0).exit-handler-1{'.onExit' if pod.task == 'report-status' else ''}(0).{pod.task}"
        add(f"{path}-driver(0)", "system-container-driver", "Pod", phase="Succeeded", finishedAt=f"2026-01-01T00:{number:02d}:10Z")
        add(f"{path}(0)", "system-container-executor", "DAG", phase=pod.phase)
        implementation = "retry-system-container-impl-1-annotations"
        end = {"finishedAt": f"2026-01-01T00:{number:02d}:30Z", "message": pod.message, "log": str(number)}
        add(f"{path}(0).executor({number})", implementation, "Pod", phase=pod.phase, **end)
    return nodes


def get_workflow(state: State, request: Request) -> Document:
    """A run as version 1 of the API has it."""
    run = one(state.runs, request.names[0], "Run")
    nodes = nodes_of(state)
    packed = base64.b64encode(gzip.compress(json.dumps(nodes).encode())).decode()
    status = {"compressedNodes": packed} if state.packed else {"nodes": nodes}
    manifest = {"metadata": {"name": WORKFLOW}, "status": {"phase": run["state"].capitalize(), **status}}
    return {"run": {"id": run["run_id"]}, "pipeline_runtime": {"workflow_manifest": json.dumps(manifest)}}


def get_log(state: State, request: Request) -> str:
    """What a pod printed, by the pod's name."""
    one(state.runs, request.names[0], "Run")
    for node in nodes_of(state).values():
        name = f"{WORKFLOW}-{node['templateName']}-{node['id'].rpartition('-')[2]}"
        if name == request.names[1] and "log" in node and state.pods[int(node["log"])].kept == "pod":
            return state.pods[int(node["log"])].log
    return json.dumps({"error_message": f"Failed to read logs for run {request.names[0]}", "error_details": "..."})


def get_artifact(state: State, request: Request) -> Document:
    """The archived log of a pod, by its node."""
    one(state.runs, request.names[0], "Run")
    node = {} if state.packed else nodes_of(state).get(request.names[1], {})
    if "log" not in node or (pod := state.pods[int(node["log"])]).kept == "nowhere":
        raise Refusal(HTTPStatus.NOT_FOUND, "artifact not found")
    return {"data": base64.b64encode(pod.log.encode()).decode()}


def create_recurring_run(state: State, request: Request) -> Document:
    """A new recurring run. Its name need not be new."""
    wanted = dict(request.body)
    check_source(state, wanted)
    if not 1 <= int(wanted.get("max_concurrency") or 0) <= 10:
        raise Refusal(HTTPStatus.BAD_REQUEST, "Invalid input error: The max concurrency of the recurring run is out of range. Support 1-10")
    cron = ((wanted.get("trigger") or {}).get("cron_schedule") or {}).get("cron", "")
    if not re.fullmatch(r"([\w*/,?-]+ ){5}[\w*/,?-]+", cron):
        raise Refusal(HTTPStatus.BAD_REQUEST, "Invalid input error: Schedule cron is not a supported format(https://godoc.org/github.com/robfig/cron)")
    if not state.keeps_latest and not wanted["pipeline_version_reference"].get("pipeline_version_id"):
        newest = [entry for entry in state.versions.values() if entry["pipeline_id"] == wanted["pipeline_version_reference"]["pipeline_id"]][-1]
        wanted["pipeline_version_reference"] = wanted["pipeline_version_reference"] | {"pipeline_version_id": newest["pipeline_version_id"]}
    identifier, now = str(uuid.uuid4()), state.stamp()
    mode = wanted.get("mode", "DISABLE")
    created = {"recurring_run_id": identifier, "created_at": now, "updated_at": now, "status": f"{mode}D", "max_concurrency": str(wanted["max_concurrency"])}
    state.recurring_runs[identifier] = wanted | created
    return state.recurring_runs[identifier]


def switch(mode: str) -> Route:
    """The route that enables or disables a recurring run."""

    def route(state: State, request: Request) -> Document:
        one(state.recurring_runs, request.names[0], "RecurringRun").update(mode=mode, status=f"{mode}D")
        return {}

    return route


def delete_recurring_run(state: State, request: Request) -> Document:
    """Remove a recurring run; its runs stay."""
    one(state.recurring_runs, request.names[0], "RecurringRun")
    del state.recurring_runs[request.names[0]]
    return {}


OTHER_ROUTES: tuple[tuple[str, str, Route], ...] = (
    ("GET", "/apis/v1beta1/runs/([^/:]+)", get_workflow),
    ("GET", "/apis/v1alpha1/runs/([^/:]+)/nodes/([^/:]+)/log", get_log),
    ("GET", f"{PREFIX}/runs/([^/:]+)/nodes/([^/:]+)/artifacts/main-logs:read", get_artifact),
)
"""Those of other versions of the API, and those that no version describes."""
ROUTES: tuple[tuple[str, str, Route], ...] = (
    ("GET", "/healthz", healthz),
    ("GET", "/experiments", lambda state, request: listed(request, list(state.experiments.values()), "experiments")),
    ("POST", "/experiments", create_experiment),
    ("GET", "/experiments/([^/:]+)", lambda state, request: one(state.experiments, request.names[0], "Experiment")),
    ("GET", "/pipelines", lambda state, request: listed(request, list(state.pipelines.values()), "pipelines")),
    ("POST", "/pipelines", create_pipeline),
    ("POST", "/pipelines/upload", upload_pipeline),
    ("POST", "/pipelines/upload_version", upload_version),
    ("GET", "/pipelines/([^/:]+)", lambda state, request: one(state.pipelines, request.names[0], "Pipeline")),
    ("GET", "/pipelines/([^/:]+)/versions", list_versions),
    ("GET", "/pipelines/([^/:]+)/versions/([^/:]+)", lambda state, request: one(state.versions, request.names[1], "PipelineVersion")),
    ("GET", "/runs", lambda state, request: listed(request, list(state.runs.values()), "runs")),
    ("POST", "/runs", create_run),
    ("GET", "/runs/([^/:]+)", get_run),
    ("GET", "/recurringruns", lambda state, request: listed(request, list(state.recurring_runs.values()), "recurringRuns")),
    ("POST", "/recurringruns", create_recurring_run),
    ("GET", "/recurringruns/([^/:]+)", lambda state, request: one(state.recurring_runs, request.names[0], "RecurringRun")),
    ("POST", "/recurringruns/([^/:]+):enable", switch("ENABLE")),
    ("POST", "/recurringruns/([^/:]+):disable", switch("DISABLE")),
    ("DELETE", "/recurringruns/([^/:]+)", delete_recurring_run),
)


class Server(ThreadingHTTPServer):
    """The server; `state` and `faults` may be read and changed by a test at any time."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.state = State()
        self.faults = Faults()
        self.lock = threading.Lock()
        self.closing = threading.Event()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> Document | str:
        """What a request gets.

        Raises:
            Refusal: an answer that is not a success.
            Drop: none at all.
        """
        self.state.requests.append(f"{method} {path}")
        faults = self.faults
        if faults.stalled:
            self.closing.wait()
            raise Drop
        if faults.token and headers.get("Authorization") != f"Bearer {faults.token}":
            raise Refusal(HTTPStatus.UNAUTHORIZED, "Unauthenticated: request header error: there is no user identity header")
        if faults.status:
            raise Refusal(HTTPStatus(faults.status), "this server was asked to fail")
        if method == "GET" and faults.dropped_reads:
            faults.dropped_reads -= 1
            raise Drop
        if faults.crash_at and self.state.changes >= faults.crash_at:
            raise Drop
        if method == "GET":
            return self.perform(method, path, headers, body)
        self.state.changes += 1
        if self.state.changes != faults.crash_at:
            return self.perform(method, path, headers, body)
        if faults.crash_when == "after":
            self.perform(method, path, headers, body)
        raise Drop

    def perform(self, method: str, path: str, headers: Any, body: bytes) -> Document | str:
        """Find the route of a request and take it."""
        parts = urlsplit(path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        for verb, pattern, route in (*OTHER_ROUTES, *((verb, PREFIX + pattern, route) for verb, pattern, route in ROUTES)):
            if verb == method and (match := re.fullmatch(pattern, parts.path)):
                return route(self.state, Request(match.groups(), query, parsed(headers, body)))
        raise Refusal(HTTPStatus.NOT_FOUND, "Not Found")


def parsed(headers: Any, body: bytes) -> Any:
    """The body of a request: JSON, or the content of the one file of a form."""
    kind = headers.get("Content-Type", "")
    if kind.startswith("multipart/form-data"):
        form = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
        return next(iter(form.iter_parts())).get_payload(decode=True)
    return json.loads(body) if body else None


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    disable_nagle_algorithm = True  # head and body are two packets, and the second would wait 40 ms for the first to be acknowledged

    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"

    def handle_one(self) -> None:
        """Answer one request."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, content, kind = HTTPStatus.OK, "", "application/json"
        try:
            if self.server.faults.stalled:
                document = self.server.answer(self.command, self.path, self.headers, body)  # without the lock: it waits
            else:
                with self.server.lock:
                    document = self.server.answer(self.command, self.path, self.headers, body)
            content, kind = (document, "text/plain") if isinstance(document, str) else (json.dumps(document), kind)
        except Refusal as refusal:
            status, content = refusal.status, json.dumps({"error": str(refusal), "code": 3, "message": str(refusal), "details": []})
        except Drop:
            self.close_connection = True
            return
        if self.server.faults.page:
            status, content, kind = HTTPStatus.OK, self.server.faults.page, "text/html"
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content.encode())))
        self.end_headers()
        self.wfile.write(content.encode())

    do_GET = do_POST = do_DELETE = handle_one  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Keep the tests' output clean."""


@contextmanager
def running(port: int = 0) -> Iterator[Server]:
    """The server in a thread of this process; it is gone at the end."""
    server = Server(port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--token", default="")
    arguments = parser.parse_args()
    with running(arguments.port) as server:
        server.faults.token = arguments.token
        print(server.address, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
