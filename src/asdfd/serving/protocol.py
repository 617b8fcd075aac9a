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
from asdfd.serving.answering import Model

OUTPUTS = ("label", "confidence", "probabilities")
"""Tensors that answer an input tensor `text`, in this order."""
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
    characters: int
    """Of each text. The model reads the beginning of a long one; what is beyond it costs time all the same."""

    @property
    def bytes(self) -> int:
        """Largest body: as many texts of that length as are allowed come near it only if all of their characters are escaped."""
        return 4096 + self.texts * (self.characters * BYTES_OF_A_CHARACTER + 8)


@dataclass(frozen=True)
class Inference:
    """An inference request of the protocol."""

    texts: list[str]
    identity: str
    """Repeated in the answer; empty where there is none."""
    outputs: tuple[str, ...]
    """Tensors that are wanted."""


def read_classify(body: bytes, limits: Limits) -> list[str]:
    """The texts of {"texts": [...]}.

    Raises:
        Refusal: it is not that, or too much.
    """
    document = _object(body, '{"texts": ["..."]}')
    if document.keys() != {"texts"}:
        raise Refusal(400, 'the body is not of the form {"texts": ["..."]}; it has one field, `texts`')
    return _checked(document["texts"], "texts", limits)


def read_inference(body: bytes, limits: Limits) -> Inference:
    """A request of the protocol with one input tensor `text` of the type BYTES.

    Raises:
        Refusal: it is not that, or too much.
    """
    document = _object(body, '{"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["..."]}]}')
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict) or inputs[0].get("name") != "text":
        raise Refusal(400, "inputs: one tensor is needed, of the name `text`")
    tensor = inputs[0]
    if tensor.get("datatype") != "BYTES":
        raise Refusal(400, "inputs[0].datatype: is not BYTES; texts are given as strings")
    data = tensor.get("data")
    if isinstance(data, list):  # a column may come as rows of one
        data = [row[0] if isinstance(row, list) and len(row) == 1 else row for row in data]
    texts = _checked(data, "inputs[0].data", limits)
    if tensor.get("shape") not in ([len(texts)], [len(texts), 1]):
        raise Refusal(400, f"inputs[0].shape: does not fit the data, which has {len(texts)} texts; write [{len(texts)}]")
    identity = document.get("id", "")
    if not isinstance(identity, str):
        raise Refusal(400, "id: is not a string")
    return Inference(texts, identity, _outputs(document.get("outputs")))


def classified(model: Model, probabilities: np.ndarray) -> dict[str, Any]:
    """The answer to /classify: for each text the label, and the probability of every label."""
    best = probabilities.argmax(axis=1)
    rows = zip(best.tolist(), probabilities.tolist(), strict=True)
    predictions = [{"label": model.labels[label], "confidence": row[label], "probabilities": dict(zip(model.labels, row, strict=True))} for label, row in rows]
    return {"model": model.name, "version": model.version, "predictions": predictions}


def inferred(model: Model, inference: Inference, probabilities: np.ndarray) -> dict[str, Any]:
    """The answer of the protocol, with the tensors that are wanted."""
    count, best = len(probabilities), probabilities.argmax(axis=1)
    tensors: dict[str, dict[str, Any]] = {
        "label": {"shape": [count], "datatype": "BYTES", "data": [model.labels[index] for index in best]},
        "confidence": {"shape": [count], "datatype": "FP32", "data": probabilities.max(axis=1).tolist()},
        "probabilities": {"shape": [count, len(model.labels)], "datatype": "FP32", "data": probabilities.ravel().tolist()},
    }
    outputs = [{"name": name, **tensors[name]} for name in inference.outputs]
    identity = {"id": inference.identity} if inference.identity else {}
    return {"model_name": model.name, "model_version": model.version, **identity, "outputs": outputs}


def server_metadata() -> dict[str, Any]:
    """What the server is."""
    return {"name": "asdfd", "version": __version__, "extensions": []}


def model_metadata(model: Model) -> dict[str, Any]:
    """What is asked of the model and what it answers; `labels` names the columns of `probabilities`."""
    outputs = [
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
        {"name": "confidence", "datatype": "FP32", "shape": [-1]},
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, len(model.labels)]},
    ]
    inputs = [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
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


def _checked(texts: Any, place: str, limits: Limits) -> list[str]:
    """The texts, if they are texts and not too many or too long."""
    if not isinstance(texts, list) or not texts:
        raise Refusal(400, f"{place}: a list of at least one text is needed")
    if len(texts) > limits.texts:
        raise Refusal(413, f"{place}: has {len(texts)} texts, one request may have {limits.texts}; send several")
    for place_in_list, text in enumerate(texts):
        if not isinstance(text, str):
            raise Refusal(400, f"{place}[{place_in_list}]: is not a string")
        if len(text) > limits.characters:
            raise Refusal(413, f"{place}[{place_in_list}]: has {len(text)} characters, a text may have {limits.characters}; send its beginning")
        if not _is_unicode(text):
            raise Refusal(400, f"{place}[{place_in_list}]: holds half of a surrogate pair, which is no character")
    return texts


def _is_unicode(text: str) -> bool:
    """Whether all of a text can be encoded: JSON can write what no encoding can."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _outputs(wanted: Any) -> tuple[str, ...]:
    """The tensors that a request wants; all of them where it names none."""
    if wanted is None or wanted == []:
        return OUTPUTS
    names: Sequence[Any] = [one.get("name") if isinstance(one, dict) else None for one in wanted] if isinstance(wanted, list) else [None]
    if any(name not in OUTPUTS for name in names):
        raise Refusal(400, f"outputs: names a tensor that there is not; choose among {', '.join(OUTPUTS)}")
    return tuple(names)
