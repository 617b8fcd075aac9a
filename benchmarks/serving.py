"""What is served against the plain transformers pipeline of the teacher: texts in a second, and the time of one text.

The pipeline is called in its own process, without a server: first text by text, then with batches of 32. The server is a process of its own and is asked over
HTTP by clients in this one, on the same processors. All take turns, so that whatever else the machine does falls on all alike; the median of the rounds counts.

What is served is what a run's gate let through, or nothing is measured: a student that the gate rejects is fast for nothing. Whether the gate's largest drop of
accuracy holds on the texts that are asked here stands in the result. The teacher's own int8 passes most easily:

    asdfd run --teacher TEACHER --data test.csv --set student.layers=all --out runs/int8
    python benchmarks/serving.py --run runs/int8 --data test.csv
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "serving.json"
CLIENTS = 16
"""Connections that ask at once where throughput is measured, each with one text at a time."""
BATCH = 32


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder that `asdfd run` wrote, whose student or teacher's int8 passed the gate")
    parser.add_argument("--data", default="trec", help="labelled texts: a file as `asdfd run` takes it, or the name of a data set of the benchmarks (trec)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of the pipeline, and batches of the server side by side")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=500)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    if options.child:
        serve(Path(options.child), options.run / "student", options.threads)
        return
    result = measured(options)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: value for name, value in result.items() if name != "rounds"}, indent=1))


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """All rounds, and what they show."""
    judged, load_before = verdict_of(options.run), os.getloadavg()[0]
    classify = teacher_pipeline(options.run / "teacher", options.threads)
    names = [classify.model.config.id2label[index] for index in range(classify.model.config.num_labels)]
    texts, labels = labelled(options.data, names)
    texts, labels = texts[: options.texts], labels[: options.texts]
    rounds: list[dict[str, dict[str, float]]] = []
    with server(options) as port:
        ways: dict[str, Callable[[], dict[str, float]]] = {
            "pipeline": lambda: one_by_one(classify, texts),
            "pipeline, batches": lambda: in_batches(classify, texts),
            "server, one client": lambda: asked(port, texts, 1),
            "server": lambda: asked(port, texts, CLIENTS),
            "server, requests of several texts": lambda: asked(port, texts, 4, BATCH),
        }
        for way in ways.values():  # a round that counts for nothing
            way()
        for number in range(options.rounds):
            rounds.append({name: way() for name, way in ways.items()})
            print(f"round {number + 1}: {json.dumps(rounds[-1])}", file=sys.stderr)
        accuracy = {
            "teacher": statistics.fmean(names.index(one["label"]) == label for one, label in zip(classify(texts, batch_size=BATCH), labels, strict=True)),
            "served": statistics.fmean(names.index(one) == label for one, label in zip(answers(port, texts), labels, strict=True)),
        }

    def ratio(figure: str, one: str, other: str) -> float:
        return statistics.median(each[one][figure] / each[other][figure] for each in rounds)

    drop = accuracy["teacher"] - accuracy["served"]
    figures = {name: {figure: statistics.median(each[name][figure] for each in rounds) for figure in rounds[0][name]} for name in rounds[0]}
    return {
        "dataset": Path(options.data).stem,
        "texts": len(texts),
        "clients": CLIENTS,
        "threads": options.threads,
        "accuracy": accuracy,
        "rule": {**judged, "drop": drop, "holds": drop <= judged["largest_drop"] + 1e-12},
        "median_of_rounds": figures,
        "ratios": {
            "throughput over the pipeline": ratio("texts_per_second", "server", "pipeline"),
            "throughput over the pipeline with batches": ratio("texts_per_second", "server", "pipeline, batches"),
            "throughput of requests of several texts over the pipeline with batches": ratio(
                "texts_per_second", "server, requests of several texts", "pipeline, batches"
            ),
            "the pipeline's p50 over that of one client": ratio("p50_seconds", "pipeline", "server, one client"),
            "the pipeline's p99 over that of one client": ratio("p99_seconds", "pipeline", "server, one client"),
        },
        "machine": {
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers", "onnxruntime", "uvicorn", "starlette")},
            "load_before": round(load_before, 1),
            "load_after": round(os.getloadavg()[0], 1),
        },
        "rounds": rounds,
    }


def verdict_of(run: Path) -> dict[str, Any]:
    """What the gate of a run judged, and the largest drop of accuracy that it allows."""
    verdict = json.loads((run / "verdict" / "verdict.json").read_text(encoding="utf-8"))
    if not verdict["passed"]:
        raise SystemExit(f"serving: the gate of {run} rejects what would be served: {'; '.join(verdict['reasons'])}")
    limits = {check["check"]: check["limit"] for check in verdict["checks"]}
    if "largest_drop" not in limits:
        raise SystemExit(f"serving: the gate of {run} saw no labelled texts, so that nothing is known of the accuracy; give the run --data")
    return {"judged": verdict["judged"], "largest_drop": limits["largest_drop"]}


def labelled(data: str, names: Sequence[str]) -> tuple[list[str], list[int]]:
    """Texts and the class of each, by its place among the teacher's."""
    if "." in data:
        from asdfd.base.config import Evaluation
        from asdfd.evaluation.texts import read_texts

        found = read_texts(Evaluation(data=data, label_column="label"), names)
        assert found.labels is not None
        return [str(text) for text in found.inputs], [int(str(label)) for label in found.labels]
    from teachers import read_split

    split = read_split(data, "test")
    return split.texts, split.labels


def teacher_pipeline(teacher: Path, threads: int) -> Any:
    """What people do in a minute."""
    import torch
    from transformers import pipeline
    from transformers.utils import logging

    torch.set_num_threads(threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    return pipeline("text-classification", model=str(teacher), device="cpu")


def one_by_one(classify: Any, texts: list[str]) -> dict[str, float]:
    """The pipeline, text by text."""
    seconds = []
    began = time.perf_counter()
    for text in texts:
        started = time.perf_counter()
        classify(text)
        seconds.append(time.perf_counter() - started)
    return figures_of(seconds, len(texts), time.perf_counter() - began)


def in_batches(classify: Any, texts: list[str]) -> dict[str, float]:
    """The pipeline with batches; it pads each to its longest text."""
    began = time.perf_counter()
    classify(texts, batch_size=BATCH)
    return {"texts_per_second": len(texts) / (time.perf_counter() - began)}


def figures_of(seconds: list[float], texts: int, took: float) -> dict[str, float]:
    """Texts in a second, and quantiles of the time of a request."""
    quantiles = statistics.quantiles(seconds, n=100, method="inclusive")
    return {"texts_per_second": texts / took, "p50_seconds": quantiles[49], "p99_seconds": quantiles[98]}


def asked(port: int, texts: list[str], clients: int, together: int = 1) -> dict[str, float]:
    """The server, asked by so many clients for so many texts a request; each text is asked once."""
    bodies = [json.dumps({"texts": texts[start : start + together]}).encode() for start in range(0, len(texts), together)]
    seconds, took = asyncio.run(all_answered(port, bodies, clients))
    return figures_of(seconds, len(texts), took)


async def all_answered(port: int, bodies: list[bytes], clients: int) -> tuple[list[float], float]:
    """The time of every request, and of all of them together."""
    waiting, seconds = iter(bodies), []
    connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(clients)]

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for body in waiting:
            started = time.perf_counter()
            writer.write(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            length = next(int(line.partition(b":")[2]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(length)
            seconds.append(time.perf_counter() - started)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(client(*connection) for connection in connections))
    return seconds, time.perf_counter() - began


def answers(port: int, texts: list[str]) -> list[str]:
    """The labels that the server gives."""
    import urllib.request

    found: list[str] = []
    for start in range(0, len(texts), BATCH):
        body = json.dumps({"texts": texts[start : start + BATCH]}).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/classify", body) as response:
            found += [one["label"] for one in json.load(response)["predictions"]]
    return found


@contextmanager
def server(options: argparse.Namespace) -> Iterator[int]:
    """The server's process; its port."""
    with tempfile.TemporaryDirectory() as folder:
        pulled = Path(folder)
        for kind in ("student", "export"):  # as a version is when it has been fetched
            (pulled / kind).symlink_to((options.run / kind).resolve())
        words = [sys.executable, __file__, "--child", folder, f"--threads={options.threads}", f"--run={options.run}"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                yield int(process.stdout.readline())
            finally:
                process.kill()


def serve(folder: Path, student: Path, threads: int) -> None:
    """Be the server, of a version that lies in a folder: all of it but the look at the stage."""
    import socket
    from types import SimpleNamespace
    from typing import cast

    import uvicorn

    from asdfd.base import artifacts
    from asdfd.registry.records import Version
    from asdfd.serving.answering import load
    from asdfd.serving.application import Service
    from asdfd.serving.batching import Batches
    from asdfd.serving.instruments import Instruments
    from asdfd.serving.protocol import Limits
    from asdfd.serving.stage import Stage

    digests = {"student": artifacts.read(student, "student").digest}
    model = load(folder, Version("served", "0" * 16, digests, "", "", {}, {}, {}, {}, "", ""))
    instruments = Instruments("served", "production", unsure_below=0.5)
    batches = Batches(threads, instruments.batch)
    application = Service(cast("Stage", SimpleNamespace(model=model)), batches, instruments, Limits(128, 10_000)).application()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        uvicorn.Server(uvicorn.Config(application, lifespan="off", access_log=False, log_config=None)).run([listener])


if __name__ == "__main__":
    main()
