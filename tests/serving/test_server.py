"""The server as a process: both ways to ask, what it refuses and how, what it measures, that no text is logged, and that it stops in peace."""

from __future__ import annotations

import http.client
import json
import math
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asdfd import __version__
from asdfd.cli.main import main
from tests.patience import PATIENCE
from tests.serving.makers import NAME, probabilities_of, probabilities_of_export, push_student
from tests.serving.processes import Answer, Server, asked, serving, until
from tests.tiny_models import label_names, random_texts
from tests.tolerance import assert_close

pytestmark = pytest.mark.slow

TEXTS = random_texts(5, seed=4)
SECRET = "quoxmirvel"
"""A word that is in every text which is asked here, and must be nowhere else."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serving")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    push_student(str(folder / "registry"), folder / "made", 1)
    with serving([*words(folder / "registry"), "--most-texts", "8", "--longest-text", "500", "--low-confidence", "0.99999"], folder / "log") as running:
        yield running


def words(registry: Path) -> list[str]:
    """What serves the version in production."""
    return [f"{NAME}@production", "--registry", str(registry)]


def tensor(texts: list[Any], **changes: Any) -> dict[str, Any]:
    """An inference request."""
    return {"inputs": [{"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": texts, **changes}]}


def tensors(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """An inference request of pairs."""
    return {"inputs": [*tensor([second for _, second in pairs], name="text_pair")["inputs"], *tensor([first for first, _ in pairs])["inputs"]]}


def test_the_plain_form_answers_as_the_student(server: Server, folder: Path) -> None:
    answer = server.ask("/classify", {"texts": TEXTS})
    assert answer.status == 200
    document = answer.document
    assert (document["model"], document["version"], answer.version) == (NAME, server.facts["version"], server.facts["version"])
    rows = [[prediction["probabilities"][label] for label in label_names(3)] for prediction in document["predictions"]]
    assert_close(rows, probabilities_of(folder / "made" / "student", TEXTS))
    for row, prediction in zip(rows, document["predictions"], strict=True):
        assert (prediction["label"], prediction["confidence"]) == (label_names(3)[row.index(max(row))], max(row))


def test_the_protocol_answers_the_same(server: Server) -> None:
    plain = server.ask("/classify", {"texts": TEXTS}).document["predictions"]
    version = server.facts["version"]
    column = [[text] for text in TEXTS]
    for path, request in (
        (f"/v2/models/{NAME}/infer", tensor(TEXTS)),
        (f"/v2/models/{NAME}/versions/{version}/infer", tensor(column, shape=[len(TEXTS), 1])),
    ):
        answer = server.ask(path, {"id": "question 7", **request})
        document = answer.document
        assert (answer.status, answer.version) == (200, version)
        assert (document["model_name"], document["model_version"], document["id"]) == (NAME, version, "question 7")
        label, confidence, probabilities = document["outputs"]
        assert label == {"name": "label", "shape": [5], "datatype": "BYTES", "data": [one["label"] for one in plain]}
        assert (confidence["name"], confidence["shape"], confidence["datatype"]) == ("confidence", [5], "FP32")
        assert_close(confidence["data"], [one["confidence"] for one in plain])
        assert (probabilities["name"], probabilities["shape"]) == ("probabilities", [5, 3])
        assert_close(probabilities["data"], [value for one in plain for value in one["probabilities"].values()])
    wanted = server.ask(f"/v2/models/{NAME}/infer", {**tensor(TEXTS), "outputs": [{"name": "label"}]}).document
    assert [output["name"] for output in wanted["outputs"]] == ["label"]
    assert "id" not in wanted


def test_the_protocol_tells_what_there_is(server: Server) -> None:
    assert server.ask("/v2").document == {"name": "asdfd", "version": __version__, "extensions": []}
    assert server.ask("/v2/health/live").document == {"live": True}
    assert server.ask("/v2/health/ready").document == {"ready": True}
    assert server.ask(f"/v2/models/{NAME}/ready").document == {"name": NAME, "ready": True}
    model = server.ask(f"/v2/models/{NAME}").document
    assert (model["name"], model["versions"], model["platform"]) == (NAME, [server.facts["version"]], "pytorch")
    assert model["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert [output["name"] for output in model["outputs"]] == ["label", "confidence", "probabilities"]
    assert model["labels"] == list(label_names(3))


REFUSED: dict[str, tuple[int, str, str, Any]] = {
    "no JSON": (400, "is not valid JSON", "/classify", f'{{"texts": ["{SECRET}"'),
    "deep": (400, "is not valid JSON", "/classify", "[" * 4000),
    "no object": (400, "is not a JSON object", "/classify", [SECRET]),
    "pairs": (400, f"has one field, `texts`, since {NAME} reads single texts", "/classify", {"pairs": [[SECRET, SECRET]]}),
    "two tensors": (400, f"one tensor is needed, of the name `text`, since {NAME} reads single texts", f"/v2/models/{NAME}/infer", tensors([(SECRET, SECRET)])),
    "another field": (400, "has one field, `texts`", "/classify", {"text": SECRET}),
    "one text": (400, "a list of at least one text", "/classify", {"texts": SECRET}),
    "none": (400, "a list of at least one text", "/classify", {"texts": []}),
    "no text": (400, "texts[1]: is not a string", "/classify", {"texts": [SECRET, 7]}),
    "half a character": (400, "texts[0]: holds half of a surrogate pair", "/classify", f'{{"texts": ["{SECRET}\\ud800"]}}'),
    "too many": (413, "has 9 texts, one request may have 8", "/classify", {"texts": [SECRET] * 9}),
    "too long": (413, "texts[0]: has 5100 characters, a text may have 500", "/classify", {"texts": [SECRET * 510]}),
    "too large": (413, "a request may have", "/classify", f'{{"texts": ["{SECRET}"]}}' + " " * 100_000),
    "inputs": (400, "inputs: one tensor is needed", f"/v2/models/{NAME}/infer", {"inputs": []}),
    "name": (400, "inputs: one tensor is needed", f"/v2/models/{NAME}/infer", tensor([SECRET], name="x")),
    "type": (400, "is not BYTES", f"/v2/models/{NAME}/infer", tensor([SECRET], datatype="FP32")),
    "shape": (400, "does not fit the data", f"/v2/models/{NAME}/infer", tensor([SECRET], shape=[2])),
    "rows": (400, "inputs[0].data[0]: is not a string", f"/v2/models/{NAME}/infer", tensor([[SECRET, SECRET]])),
    "outputs": (400, "choose among label, confidence, probabilities", f"/v2/models/{NAME}/infer", {**tensor([SECRET]), "outputs": [{"name": "x"}]}),
    "id": (400, "id: is not a string", f"/v2/models/{NAME}/infer", {**tensor([SECRET]), "id": 7}),
    "model": (404, f"has the model {NAME} and no other", "/v2/models/other/infer", tensor([SECRET])),
    "version": (404, "answers here and no other", f"/v2/models/{NAME}/versions/{'0' * 16}/infer", tensor([SECRET])),
    "address": (404, "there is no such address", "/predict", {"texts": [SECRET]}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_told_why_in_one_line(server: Server, case: str) -> None:
    status, line, path, body = REFUSED[case]
    answer = server.ask(path, body)
    assert answer.status == status
    assert line in answer.document["error"]
    assert "\n" not in answer.document["error"]
    assert SECRET not in answer.body


def test_a_body_without_a_length_is_not_read_further_than_it_may_be_long(server: Server) -> None:
    piece = b"%x\r\n%s\r\n" % (1 << 16, b" " * (1 << 16))
    with socket.create_connection(("127.0.0.1", server.facts["port"])) as connection:
        connection.sendall(b"POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + piece * 2)
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_other_methods_and_binary_tensors_are_refused(server: Server) -> None:
    assert server.ask("/classify", method="GET").status == 405
    answer = server.ask(f"/v2/models/{NAME}/infer", b"\0", headers={"Inference-Header-Content-Length": "1"})
    assert (answer.status, "binary tensors" in answer.body) == (400, True)


def test_requests_texts_and_labels_are_counted(server: Server) -> None:
    names = (
        "asdfd_serving_requests_total",
        "asdfd_serving_texts_total",
        "asdfd_serving_answers_total",
        "asdfd_serving_low_confidence_total",
        "asdfd_serving_batch_texts_sum",
    )
    server.ask("/classify", {"texts": TEXTS})
    before = {name: server.metric(name) for name in names}
    for _ in range(3):
        server.ask("/classify", {"texts": TEXTS})
    server.ask("/classify", {"texts": []})
    after = {name: server.metric(name) for name in names}
    assert [after[name] - before[name] for name in names] == [4, 15, 15, 15, 15], "no label of a tiny model is as sure as the option asks for"
    text = server.ask("/metrics").body
    assert f'asdfd_serving_version_info{{format="pytorch",model="{NAME}",stage="production",version="{server.facts["version"]}"}} 1.0' in text
    assert 'code="400",endpoint="classify"' in text
    assert 'asdfd_serving_request_seconds_bucket{endpoint="infer",le="0.001"' in text


def test_nothing_of_a_text_is_logged(server: Server) -> None:
    server.ask("/classify", {"texts": [SECRET]})
    server.ask(f"/classify?text={SECRET}", {"texts": [SECRET]})
    assert server.ask("/metrics").body.count(SECRET) == 0
    assert server.log.read_text() == ""


def test_a_connection_that_was_idle_is_still_there(server: Server) -> None:
    """Load balancers keep theirs for a minute and more; most servers of Python close them after two or five seconds."""
    connection = http.client.HTTPConnection("127.0.0.1", server.facts["port"], timeout=PATIENCE)
    first = asked(connection, "/classify", {"texts": TEXTS})
    time.sleep(7)
    assert asked(connection, "/classify", {"texts": TEXTS}) == first
    connection.close()


@pytest.mark.parametrize("form", ["int8", "onnx"])
def test_an_export_from_the_registry_answers_over_http_as_it_does_by_itself(form: str, tmp_path: Path) -> None:
    version = push_student(str(tmp_path / "registry"), tmp_path / "made", 3, form)
    with serving(words(tmp_path / "registry"), tmp_path / "log") as server:
        assert (server.facts["version"], server.facts["format"]) == (version, form)
        answer = server.ask("/classify", {"texts": TEXTS})
        assert (answer.status, answer.version) == (200, version)
        rows = [list(prediction["probabilities"].values()) for prediction in answer.document["predictions"]]
        assert_close(rows, probabilities_of_export(tmp_path / "made", TEXTS))
        assert f'format="{form}"' in server.ask("/metrics").body


PAIRS = list(zip(TEXTS, random_texts(5, seed=9), strict=True))


@pytest.fixture(scope="module")
def of_pairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """The server of a student that reads pairs and gives several labels, and the folder of the student."""
    folder = tmp_path_factory.mktemp("pairs")
    push_student(str(folder / "registry"), folder / "made", 2, pairs=True, several=True)
    with serving([*words(folder / "registry"), "--most-texts", "8", "--longest-text", "500"], folder / "log") as running:
        yield running, folder / "made" / "student"


def test_pairs_get_every_label_that_is_more_likely_than_not(of_pairs: tuple[Server, Path]) -> None:
    server, student = of_pairs
    expected, labels = probabilities_of(student, PAIRS), label_names(3)
    sets = [[label for label, probability in zip(labels, row, strict=True) if probability > 0.5] for row in expected]
    assert len({len(one) for one in sets}) > 1
    names = ("asdfd_serving_texts_total", "asdfd_serving_answers_total")
    server.ask("/classify", {"pairs": PAIRS})
    before = [server.metric(name) for name in names]
    answer = server.ask("/classify", {"pairs": PAIRS})
    assert answer.status == 200
    predictions = answer.document["predictions"]
    assert_close([list(prediction["probabilities"].values()) for prediction in predictions], expected)
    assert [prediction["labels"] for prediction in predictions] == sets
    assert_close([prediction["confidence"] for prediction in predictions], [math.prod(max(p, 1 - p) for p in row) for row in expected])
    assert all(prediction.keys() == {"labels", "confidence", "probabilities"} for prediction in predictions)
    assert [server.metric(name) - old for name, old in zip(names, before, strict=True)] == [5, sum(map(len, sets))]

    document = server.ask(f"/v2/models/{NAME}/infer", tensors(PAIRS)).document
    given, confidence, probabilities = document["outputs"]
    assert (given["name"], given["shape"], given["datatype"]) == ("given", [5, 3], "BOOL")
    assert given["data"] == [label in one for one in sets for label in labels]
    assert (confidence["name"], probabilities["name"]) == ("confidence", "probabilities")
    assert_close(probabilities["data"], [value for row in expected for value in row])
    model = server.ask(f"/v2/models/{NAME}").document
    assert [tensor["name"] for tensor in model["inputs"]] == ["text", "text_pair"]
    assert [(tensor["name"], tensor["shape"]) for tensor in model["outputs"]] == [("given", [-1, 3]), ("confidence", [-1]), ("probabilities", [-1, 3])]


WRONG_PAIRS: dict[str, tuple[int, str, str, Any]] = {
    "single texts": (400, f"has one field, `pairs`, since {NAME} reads pairs of texts", "/classify", {"texts": [SECRET]}),
    "one text": (400, "pairs[0]: is not a pair of texts", "/classify", {"pairs": [SECRET]}),
    "three": (400, "pairs[1]: is not a pair of texts", "/classify", {"pairs": [[SECRET, SECRET], [SECRET] * 3]}),
    "none": (400, "a list of at least one pair", "/classify", {"pairs": []}),
    "no text": (400, "pairs[0][1]: is not a string", "/classify", {"pairs": [[SECRET, None]]}),
    "too many": (413, "has 9 pairs, one request may have 8", "/classify", {"pairs": [[SECRET, SECRET]] * 9}),
    "too long": (413, "pairs[0][1]: has 5100 characters, a text may have 500", "/classify", {"pairs": [[SECRET, SECRET * 510]]}),
    "one tensor": (400, "two tensors are needed, of the names `text` and `text_pair`", f"/v2/models/{NAME}/infer", tensor([SECRET])),
    "twice the same": (400, "two tensors are needed", f"/v2/models/{NAME}/infer", {"inputs": tensor([SECRET])["inputs"] * 2}),
    "uneven": (
        400,
        "text has 1 texts and text_pair 2",
        f"/v2/models/{NAME}/infer",
        {"inputs": [*tensor([SECRET])["inputs"], *tensor([SECRET] * 2, name="text_pair")["inputs"]]},
    ),
    "second type": (
        400,
        "inputs[1].datatype: is not BYTES",
        f"/v2/models/{NAME}/infer",
        {"inputs": [*tensor([SECRET])["inputs"], *tensor([SECRET], name="text_pair", datatype="FP32")["inputs"]]},
    ),
    "outputs": (
        400,
        "choose among given, confidence, probabilities",
        f"/v2/models/{NAME}/infer",
        {**tensors([(SECRET, SECRET)]), "outputs": [{"name": "label"}]},
    ),
}


@pytest.mark.parametrize("case", WRONG_PAIRS)
def test_what_does_not_fit_a_model_of_pairs_is_told_why_in_one_line(of_pairs: tuple[Server, Path], case: str) -> None:
    status, line, path, body = WRONG_PAIRS[case]
    answer = of_pairs[0].ask(path, body)
    assert answer.status == status
    assert line in answer.document["error"]
    assert SECRET not in answer.body


def test_it_stops_after_the_request_that_has_come(folder: Path) -> None:
    with serving([*words(folder / "registry"), "--threads", "1", "--most-texts", "4000"], folder / "stopped.log") as server:
        answers: list[Answer] = []
        texts = ["the plot was boring " * 20] * 4000
        client = threading.Thread(target=lambda: answers.append(server.ask("/classify", {"texts": texts})))
        client.start()
        until(lambda: server.metric("asdfd_serving_waiting_texts") > 0 or bool(answers), "the request to come")
        assert server.stop() == 0
        client.join()
        (answer,) = answers
        assert (answer.status, len(answer.document["predictions"])) == (200, 4000)
        assert server.log.read_text() == ""


def test_a_wrong_command_line_is_one_line(folder: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    there = ["--registry", str(folder / "registry")]
    cases = {
        "names no version": ["serve", NAME, *there],
        "no version holds this stage": ["serve", f"{NAME}@staging", *there],
        "nothing can listen there": ["serve", f"{NAME}@production", *there, "--port", str(server.facts["port"])],
        "--every: must be above 0": ["serve", f"{NAME}@production", *there, "--every", "0"],
        "--port is 0 to 65535": ["serve", f"{NAME}@production", *there, "--port", "99999"],
    }
    for line, words in cases.items():
        assert main([*words, "--json"]) == 2, line
        told = capsys.readouterr()
        assert line in told.err
        assert told.err.count("\n") == 1
        assert json.loads(told.out)["exit_code"] == 2
