"""The addresses of the server. No text, and nothing of one, is ever written to a log."""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from asdfd.models.encoding import Input
from asdfd.serving import protocol
from asdfd.serving.answering import Model
from asdfd.serving.batching import Batches
from asdfd.serving.instruments import Instruments
from asdfd.serving.protocol import Limits, Refusal
from asdfd.serving.stage import Stage

LOG = logging.getLogger(__name__)
VERSION_HEADER = "asdfd-version"
"""Header of every answer of a model: the version that it is of."""
MOST_WAITING = 4096
"""Texts that may wait; whoever comes then is asked to come again."""
Endpoint = Callable[[Request], Awaitable[Response]]


class Service:
    """What each address answers."""

    def __init__(self, stage: Stage, batches: Batches, instruments: Instruments, limits: Limits) -> None:
        self._stage, self._batches, self._instruments, self._limits = stage, batches, instruments, limits

    def application(self) -> Starlette:
        """The application for an ASGI server."""
        model = "/v2/models/{name}"
        versioned = f"{model}/versions/{{version}}"
        routes = [
            Route("/classify", self._measured("classify", self._classify), methods=["POST"]),
            Route("/metrics", self._metrics),
            Route("/v2", self._server),
            Route("/v2/health/live", self._well),
            Route("/v2/health/ready", self._well),
        ]
        for address in (model, versioned):
            routes += [
                Route(address, self._checked(self._model)),
                Route(f"{address}/ready", self._checked(self._model_ready)),
                Route(f"{address}/infer", self._measured("infer", self._infer), methods=["POST"]),
            ]
        return Starlette(routes=routes, exception_handlers={HTTPException: _unknown})

    async def _classify(self, request: Request) -> Response:
        model = self._stage.model
        inputs = protocol.read_classify(await self._body(request, model), model, self._limits)
        return _json(protocol.classified(model, await self._answer(model, inputs)), model=model)

    async def _infer(self, request: Request) -> Response:
        model = self._asked(request)
        if "inference-header-content-length" in request.headers:
            raise Refusal(400, "binary tensors are not read here; send the texts as JSON")
        inference = protocol.read_inference(await self._body(request, model), model, self._limits)
        return _json(protocol.inferred(model, inference, await self._answer(model, inference.inputs)), model=model)

    async def _answer(self, model: Model, inputs: Sequence[Input]) -> np.ndarray:
        """Probabilities [N, C] of the texts, or pairs of them."""
        if self._batches.waiting >= MOST_WAITING:
            raise Refusal(503, f"{self._batches.waiting} texts wait already; try again in a moment")
        probabilities = await self._batches.answer(model, inputs)
        self._instruments.labels(model, probabilities)
        return probabilities

    async def _body(self, request: Request, model: Model) -> bytes:
        """The body, which is not read further than one for this model may be long."""
        length, found, most = request.headers.get("content-length", ""), bytearray(), self._limits.bytes(model)
        if length.isdecimal() and int(length) > most:
            raise Refusal(413, f"the body has {int(length)} bytes, a request may have {most}; send several")
        async for piece in request.stream():
            found += piece
            if len(found) > most:
                raise Refusal(413, f"the body has more than {most} bytes, which is what a request may have; send several")
        return bytes(found)

    def _asked(self, request: Request) -> Model:
        """The model that an address names."""
        model, name, version = self._stage.model, request.path_params["name"], request.path_params.get("version", "")
        if name != model.name:
            raise Refusal(404, f"this server has the model {model.name} and no other")
        if version not in ("", model.version):
            raise Refusal(404, f"version {model.version} of {model.name} answers here and no other")
        return model

    async def _model(self, request: Request) -> Response:
        model = self._asked(request)
        return _json(protocol.model_metadata(model), model=model)

    async def _model_ready(self, request: Request) -> Response:
        model = self._asked(request)
        return _json({"name": model.name, "ready": True}, model=model)

    async def _server(self, request: Request) -> Response:
        del request
        return _json(protocol.server_metadata())

    async def _well(self, request: Request) -> Response:
        """The server listens only once a version is loaded, so whoever gets an answer may ask."""
        return _json({"live": True} if request.url.path.endswith("live") else {"ready": True})

    async def _metrics(self, request: Request) -> Response:
        del request
        return Response(self._instruments.text(self._batches.waiting), media_type="text/plain; version=0.0.4")

    def _checked(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint, whose refusals are answers, and whose defects tell where they are and not what they were about."""

        async def answer(request: Request) -> Response:
            try:
                return await endpoint(request)
            except Refusal as refusal:
                return _json({"error": str(refusal)}, refusal.status, headers={"retry-after": "1"} if refusal.status == 503 else {})
            except ClientDisconnect:
                return _json({"error": "the request ended before all of it had come"}, 400)
            except Exception as error:
                where = "".join(traceback.format_tb(error.__traceback__)).rstrip()
                LOG.error("a request could not be answered, %s at:\n%s", type(error).__name__, where)
                return _json({"error": "the server could not answer; its log says where"}, 500)

        return answer

    def _measured(self, name: str, endpoint: Endpoint) -> Endpoint:
        """The endpoint, whose requests are counted and timed."""
        checked = self._checked(endpoint)

        async def answer(request: Request) -> Response:
            began = time.perf_counter()
            response = await checked(request)
            self._instruments.answered(name, response.status_code, time.perf_counter() - began)
            return response

        return answer


async def _unknown(request: Request, error: Exception) -> Response:
    """The answer to an address or a method that there is not."""
    del request
    assert isinstance(error, HTTPException)
    return _json({"error": "there is no such address; docs/serving.md lists them" if error.status_code == 404 else str(error.detail)}, error.status_code)


def _json(document: Mapping[str, Any], status: int = 200, *, model: Model | None = None, headers: Mapping[str, str] | None = None) -> Response:
    """An answer; one of a model names its version."""
    about = {VERSION_HEADER: model.version} if model else {}
    return Response(json.dumps(document), status, {**about, **(headers or {})}, "application/json")
