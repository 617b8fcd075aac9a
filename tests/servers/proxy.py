"""A proxy in front of an S3 server that breaks requests as a bad network or a sick server would, and remembers what it saw.

A test says what happens to each request by a function; `once` makes the usual ones. Without one, everything passes.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

from tests.patience import PATIENCE

Fault = Literal["reset", "lost reply", "truncated", "cut", "delayed", "500", "503", "429", "busy", "too slow", "expired", "forbidden", "unknown"]
"""Connection reset before the server sees the request; after it acted on it; half of the answer, then the end; half of the request's body reaches
the server; no answer until the client has gone away or the proxy ends; error answers of a server that did nothing."""
FAULTS: tuple[Fault, ...] = ("reset", "lost reply", "truncated", "cut", "500", "503", "429", "too slow")
"""Those that a client has to survive without its user noticing; `delayed` too, but it takes as long as the client's patience."""
ANSWERS = {
    "500": (500, "InternalError", "We encountered an internal error. Please try again."),
    "503": (503, "SlowDown", "Please reduce your request rate."),
    "429": (429, "TooManyRequests", "Please reduce your request rate."),
    "busy": (409, "ConditionalRequestConflict", "A conflicting conditional operation is currently in progress against this resource."),
    "too slow": (400, "RequestTimeout", "Your socket connection to the server was not read from or written to within the timeout period."),
    "forbidden": (403, "AccessDenied", "Access Denied"),
    "unknown": (501, "NotImplemented", "A header you provided implies functionality that is not implemented."),
    "expired": (400, "ExpiredToken", "The provided token has expired."),
}
Decide = Callable[[str, str], Fault | None]
"""From a request's method and path (with its query) to what happens to it."""


def nothing(method: str, path: str) -> Fault | None:
    """Let every request pass."""
    del method, path
    return None


def once(fault: Fault, method: str = "", part: str = "", times: int = 1, skip: int = 0) -> Decide:
    """Break the first `times` requests of a method (any, if empty) whose path holds `part`, after letting `skip` of them pass."""
    count = 0
    lock = threading.Lock()

    def decide(seen_method: str, path: str) -> Fault | None:
        nonlocal count
        if method not in ("", seen_method) or part not in path:
            return None
        with lock:
            count += 1
            return fault if skip < count <= skip + times else None

    return decide


@dataclass
class Proxy:
    """A proxy that runs. `decide` may be changed at any time."""

    endpoint: str
    decide: Decide = nothing
    dropped_headers: tuple[str, ...] = ()
    """Headers that the server never sees."""
    seen: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path and outcome (a fault, or the server's status) of every request, in the order of their ends."""
    on_answer: Callable[[int], object] = lambda _: None
    """Told the bytes of every answer to a GET that the server gave, before it is broken."""
    ended: threading.Event = field(default_factory=threading.Event)

    def count(self, outcome: str, method: str = "") -> int:
        """Requests that ended so."""
        return sum(method in ("", seen) and outcome == how for seen, _, how in self.seen)


@contextmanager
def running_proxy(upstream: str, tls: ssl.SSLContext | None = None) -> Iterator[Proxy]:
    """Start a proxy for the server at `upstream` on a free port, speaking TLS to its clients if `tls` is given, and stop it at the end."""
    target = urlsplit(upstream).netloc

    class Handler(_Handler):
        def handle_request(self) -> None:
            self.forward(target, proxy)

    server = _Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    proxy = Proxy(f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that go away and connections that break are what this is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every answer waits 40 ms for the client to acknowledge its head

    def handle_request(self) -> None:
        raise NotImplementedError

    def __getattr__(self, name: str) -> Callable[[], None]:
        """The library looks for `do_GET` and the like."""
        if name.startswith("do_"):
            return self.handle_request
        raise AttributeError(name)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def forward(self, target: str, proxy: Proxy) -> None:
        """Handle one request: pass it on, or break it."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = proxy.decide(self.command, self.path)
        if fault in ("reset", "delayed", "cut"):
            if fault == "cut":
                self._send_half(target, body)
            elif fault == "delayed":
                self._wait(proxy)
            outcome, answer = fault, None
        elif fault in ANSWERS:
            outcome, answer = fault, self._error(fault)
        else:
            status, headers, content = self._ask(target, body, proxy.dropped_headers)
            outcome, answer = fault or str(status), (status, headers, content)
            if self.command == "GET":
                proxy.on_answer(len(content))
        proxy.seen.append((self.command, self.path, outcome))
        if answer is None or fault == "lost reply":
            self._reset()
        else:
            self._answer(*answer, cut=fault == "truncated")

    def _ask(self, target: str, body: bytes, dropped: tuple[str, ...]) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(target, timeout=PATIENCE)
        try:
            self._put_head(connection, dropped)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _send_half(self, target: str, body: bytes) -> None:
        """Let the server see the head of the request and half of its body, then nothing more; without a body it sees nothing."""
        if not body:
            return
        connection = http.client.HTTPConnection(target, timeout=PATIENCE)
        try:
            self._put_head(connection)
            connection.endheaders(body[: len(body) // 2] or None)
        finally:
            connection.close()

    def _put_head(self, connection: http.client.HTTPConnection, dropped: tuple[str, ...] = ()) -> None:
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in ("connection", "expect") and name not in dropped:
                connection.putheader(name, value)

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes, cut: bool) -> None:
        if cut and not content:
            self.wfile.write(b"HTTP/1.1 2")
            self.close_connection = True
            return
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        length = next((value for name, value in headers if name.lower() == "content-length"), None)
        self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self.close_connection = True

    def _error(self, fault: str) -> tuple[int, list[tuple[str, str]], bytes]:
        status, code, message = ANSWERS[fault]
        return status, [("Content-Type", "application/xml")], f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()

    def _wait(self, proxy: Proxy) -> None:
        """Hold the request until the client has lost its patience."""
        self.connection.settimeout(0.1)
        while not proxy.ended.is_set():
            try:
                if not self.connection.recv(1):
                    return
            except TimeoutError:
                continue
            except OSError:
                return

    def _reset(self) -> None:
        """Close the connection so that the client sees a reset."""
        self.close_connection = True
        raw = self.connection
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.close()
