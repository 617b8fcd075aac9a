"""What is asked and answered: the Open Inference Protocol v2, which KServe speaks, and a plain form for people and scripts.

A request that is refused is told why in one line, which names places and never repeats a text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from asdfd import __version__
from asdfd.models.encoding import Input
from asdfd.serving.answering import Model

TENSORS = ("text", "text_pair")
"""Input tensors, the second for a model of pairs only; transformers calls its tokenizers' arguments so."""
OF_ONE_LABEL = ("label", "confidence", "probabilities")
"""Tensors that answer, in this order."""
OF_SEVERAL_LABELS = ("given", "confidence", "probabilities")
"""The same where a text has any number of the labels."""
BYTES_OF_A_CHARACTER = 6
"""What JSON needs at the most for one: an escape such as \\u00e9."""


class Refusal(Exception):  # noqa: N818  # an answer, and nobody's error here
    """A request that is answered by a status of HTTP and one line."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status


@dataclass(frozen=True)
class Limits:
    """What one request may ask."""

    texts: int
    """Or pairs of them."""
    characters: int
    """Of each text. The model reads the beginning of a long one; what is beyond it costs time all the same."""

    def bytes(self, model: Model) -> int:
        """Largest body: as many texts of that length as are allowed come near it only if all of their characters are escaped."""
        return 4096 + self.texts * (2 if model.pairs else 1) * (self.characters * BYTES_OF_A_CHARACTER + 16)


@dataclass(frozen=True)
class Inference:
    """An inference request of the protocol."""

    inputs: Sequence[Input]
    identity: str
    """Repeated in the answer; empty where there is none."""
    outputs: tuple[str, ...]
    """Tensors that are wanted."""


def read_classify(body: bytes, model: Model, limits: Limits) -> Sequence[Input]:
    """The texts of {"texts": [...]}, or for a model of pairs the pairs of {"pairs": [[..., ...]]}.

    Raises:
        Refusal: it is not that, or too much.
    """
    field, form = ("pairs", '{"pairs": [["...", "..."]]}') if model.pairs else ("texts", '{"texts": ["..."]}')
    document = _object(body, form)
    if document.keys() != {field}:
        reads = f"{model.name} reads {'pairs of texts' if model.pairs else 'single texts'}"
        raise Refusal(400, f"the body is not of the form {form}; it has one field, `{field}`, since {reads}")
    return _pairs(document["pairs"], limits) if model.pairs else _checked(document["texts"], "texts", limits)


def read_inference(body: bytes, model: Model, limits: Limits) -> Inference:
    """A request of the protocol with one input tensor `text` of the type BYTES, and for a model of pairs a second one, `text_pair`.

    Raises:
        Refusal: it is not that, or too much.
    """
    document = _object(body, '{"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["..."]}]}')
    wanted = TENSORS if model.pairs else TENSORS[:1]
    given = document.get("inputs")
    inputs = {str(one.get("name")): (place, one) for place, one in enumerate(given) if isinstance(one, dict)} if isinstance(given, list) else {}
    if not isinstance(given, list) or len(given) != len(wanted) or inputs.keys() != set(wanted):
        needed = "two tensors are needed, of the names `text` and `text_pair`" if model.pairs else "one tensor is needed, of the name `text`"
        raise Refusal(400, f"inputs: {needed}, since {model.name} reads {'pairs of texts' if model.pairs else 'single texts'}")
    columns = [_column(inputs[name][1], f"inputs[{inputs[name][0]}]", limits) for name in wanted]
    if len({len(column) for column in columns}) > 1:
        raise Refusal(400, f"inputs: text has {len(columns[0])} texts and text_pair {len(columns[1])}; a pair needs one of each")
    identity = document.get("id", "")
    if not isinstance(identity, str):
        raise Refusal(400, "id: is not a string")
    return Inference(list(zip(*columns, strict=True)) if model.pairs else columns[0], identity, _outputs(document.get("outputs"), outputs_of(model)))


def outputs_of(model: Model) -> tuple[str, ...]:
    """The tensors that a model answers."""
    return OF_SEVERAL_LABELS if model.several else OF_ONE_LABEL


def classified(model: Model, probabilities: np.ndarray) -> dict[str, Any]:
    """The answer to /classify: for each text the label, or the labels, that it has, and the probability of every label."""
    predictions = []
    for given, confidence, row in zip(model.given(probabilities), model.confidences(probabilities).tolist(), probabilities.tolist(), strict=True):
        names = [model.labels[index] for index in np.flatnonzero(given)]
        label = {"labels": names} if model.several else {"label": names[0]}
        predictions.append({**label, "confidence": confidence, "probabilities": dict(zip(model.labels, row, strict=True))})
    return {"model": model.name, "version": model.version, "predictions": predictions}


def inferred(model: Model, inference: Inference, probabilities: np.ndarray) -> dict[str, Any]:
    """The answer of the protocol, with the tensors that are wanted."""
    count, classes, given = len(probabilities), len(model.labels), model.given(probabilities)
    tensors: dict[str, dict[str, Any]] = {
        "given": {"shape": [count, classes], "datatype": "BOOL", "data": given.ravel().tolist()},
        "label": {"shape": [count], "datatype": "BYTES", "data": [model.labels[index] for index in given.argmax(axis=1)]},
        "confidence": {"shape": [count], "datatype": "FP32", "data": model.confidences(probabilities).tolist()},
        "probabilities": {"shape": [count, classes], "datatype": "FP32", "data": probabilities.ravel().tolist()},
    }
    outputs = [{"name": name, **tensors[name]} for name in inference.outputs]
    identity = {"id": inference.identity} if inference.identity else {}
    return {"model_name": model.name, "model_version": model.version, **identity, "outputs": outputs}


def server_metadata() -> dict[str, Any]:
    """What the server is."""
    return {"name": "asdfd", "version": __version__, "extensions": []}


def model_metadata(model: Model) -> dict[str, Any]:
    """What is asked of the model and what it answers; `labels` names the columns of `given` and `probabilities`."""
    columns = [-1, len(model.labels)]
    shapes = {"given": ("BOOL", columns), "label": ("BYTES", [-1]), "confidence": ("FP32", [-1]), "probabilities": ("FP32", columns)}
    outputs = [{"name": name, "datatype": shapes[name][0], "shape": shapes[name][1]} for name in outputs_of(model)]
    inputs = [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in (TENSORS if model.pairs else TENSORS[:1])]
    return {"name": model.name, "versions": [model.version], "platform": model.form, "inputs": inputs, "outputs": outputs, "labels": list(model.labels)}


def _object(body: bytes, form: str) -> dict[str, Any]:
    """The JSON object of a body."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(400, f"the body is not valid JSON; write {form}") from None
    if not isinstance(document, dict):
        raise Refusal(400, f"the body is not a JSON object; write {form}")
    return document


def _column(tensor: dict[str, Any], place: str, limits: Limits) -> list[str]:
    """The texts of an input tensor."""
    if tensor.get("datatype") != "BYTES":
        raise Refusal(400, f"{place}.datatype: is not BYTES; texts are given as strings")
    data = tensor.get("data")
    if isinstance(data, list):  # a column may come as rows of one
        data = [row[0] if isinstance(row, list) and len(row) == 1 else row for row in data]
    texts = _checked(data, f"{place}.data", limits)
    if tensor.get("shape") not in ([len(texts)], [len(texts), 1]):
        raise Refusal(400, f"{place}.shape: does not fit the data, which has {len(texts)} texts; write [{len(texts)}]")
    return texts


def _pairs(pairs: Any, limits: Limits) -> list[tuple[str, str]]:
    """The pairs, if they are pairs of texts and not too many or too long."""
    _check_count(pairs, "pairs", "pair", limits)
    for place, pair in enumerate(pairs):
        if not isinstance(pair, list) or len(pair) != 2:
            raise Refusal(400, f'pairs[{place}]: is not a pair of texts; write ["...", "..."]')
        for side, text in enumerate(pair):
            _check_text(text, f"pairs[{place}][{side}]", limits)
    return [(first, second) for first, second in pairs]


def _checked(texts: Any, place: str, limits: Limits) -> list[str]:
    """The texts, if they are texts and not too many or too long."""
    _check_count(texts, place, "text", limits)
    for place_in_list, text in enumerate(texts):
        _check_text(text, f"{place}[{place_in_list}]", limits)
    return texts


def _check_count(inputs: Any, place: str, what: str, limits: Limits) -> None:
    """Refuse what is not a list, or has nothing in it, or too much."""
    if not isinstance(inputs, list) or not inputs:
        raise Refusal(400, f"{place}: a list of at least one {what} is needed")
    if len(inputs) > limits.texts:
        raise Refusal(413, f"{place}: has {len(inputs)} {what}s, one request may have {limits.texts}; send several")


def _check_text(text: Any, place: str, limits: Limits) -> None:
    """Refuse what is no text, or too long."""
    if not isinstance(text, str):
        raise Refusal(400, f"{place}: is not a string")
    if len(text) > limits.characters:
        raise Refusal(413, f"{place}: has {len(text)} characters, a text may have {limits.characters}; send its beginning")
    if not _is_unicode(text):
        raise Refusal(400, f"{place}: holds half of a surrogate pair, which is no character")


def _is_unicode(text: str) -> bool:
    """Whether all of a text can be encoded: JSON can write what no encoding can."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _outputs(wanted: Any, known: tuple[str, ...]) -> tuple[str, ...]:
    """The tensors that a request wants; all of them where it names none."""
    if wanted is None or wanted == []:
        return known
    names: Sequence[Any] = [one.get("name") if isinstance(one, dict) else None for one in wanted] if isinstance(wanted, list) else [None]
    if any(name not in known for name in names):
        raise Refusal(400, f"outputs: names a tensor that there is not; choose among {', '.join(known)}")
    return tuple(names)
