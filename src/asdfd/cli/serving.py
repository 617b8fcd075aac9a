"""The verb that serves a registered version: `serve`."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from asdfd.base.errors import InputError
from asdfd.base.interruption import StopRequest
from asdfd.cli.options import WHICH, Verbs, add_registry, opened, read_parameters, tell

if TYPE_CHECKING:
    from asdfd.serving.stage import Stage


def add_verbs(verbs: Verbs) -> None:
    """Describe the verbs of this module."""
    verb = verbs.add(serve, "asdfd serve support-desk@production --registry s3://models/registry")
    verb.add_argument("which", metavar="NAME@STAGE", help=f"{WHICH}; a stage is followed when it moves, a version stays")
    add_registry(verb)
    verb.add_argument("--host", metavar="ADDRESS", default="127.0.0.1", help="address to listen at; 0.0.0.0 or :: in a container (default: 127.0.0.1)")
    verb.add_argument("--port", metavar="N", type=int, default=8080, help="port to listen at, 0 for any that is free (default: 8080)")
    verb.add_argument("--threads", metavar="N", type=int, default=0, help="batches that are computed side by side (default: one for each processor)")
    verb.add_argument("--every", metavar="SECONDS", type=float, default=30.0, help="pause between two looks at the stage, a fifth more or less (default: 30)")
    verb.add_argument("--low-confidence", metavar="P", type=float, default=0.5, help="count labels of a probability below this as unsure (default: 0.5)")
    verb.add_argument("--most-texts", metavar="N", type=int, default=128, help="texts that one request may have (default: 128)")
    verb.add_argument("--longest-text", metavar="N", type=int, default=10_000, help="characters that one text may have (default: 10000)")


def serve(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """Serve the version that holds a stage, and the next one when the stage moves.

    Answers at POST /classify, and at /v2 as the Open Inference Protocol says; /metrics is for Prometheus.
    SIGTERM and Ctrl-C end it after the requests that have come.
    """
    run = read_parameters(arguments)
    for name in ("every", "most_texts", "longest_text"):
        if getattr(arguments, name) <= 0:
            raise InputError(f"--{name.replace('_', '-')}: must be above 0, got {getattr(arguments, name)}")
    if arguments.threads < 0 or not 0 <= arguments.port < 2**16 or not 0 <= arguments.low_confidence <= 1:
        raise InputError("serve: --threads is 0 or more, --port is 0 to 65535, --low-confidence is 0 to 1")
    try:
        from asdfd.serving.protocol import Limits
        from asdfd.serving.server import Settings
        from asdfd.serving.server import serve as serve_version
    except ImportError as error:
        raise InputError(f"asdfd serve needs the extra `serving`, {error.name} is missing: pip install 'asdfd[serving]'") from None

    def ready(stage: Stage, port: int) -> None:
        model = stage.model
        facts = {"name": model.name, "version": model.version, "format": model.form, "host": arguments.host, "port": port}
        tell(arguments, facts, f"{arguments.which}: version {model.version} ({model.form}) answers at {arguments.host} port {port}")
        sys.stdout.flush()  # whoever started us in a pipe waits for this line

    limits = Limits(arguments.most_texts, arguments.longest_text)
    threads = arguments.threads or len(os.sched_getaffinity(0))
    settings = Settings(arguments.host, arguments.port, threads, arguments.every, arguments.low_confidence, limits)
    serve_version(opened(run), arguments.which, signed=run.registry.require_signature, settings=settings, stop=stop, ready=ready)
