"""A version that answers: its export where it has one, with 8-bit weights or without, else the student in PyTorch.

Each batch is computed by the one thread that asks for it, and several are computed side by side: beside `threads` batches on a thread each, one batch on all
threads waits for its slowest part in every layer. An export needs neither PyTorch nor transformers.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asdfd.base import artifacts
from asdfd.base.errors import InputError, RefusedError
from asdfd.models.encoding import Encoded, Input
from asdfd.models.onnx import FIGURES, MODEL, open_model
from asdfd.registry.records import Version

PYTORCH = "pytorch"
WARM_UP = ("ready", "is every length of a text answered, and does a batch of several give as many answers")
"""What a version has to answer before it is asked anything else: texts of two lengths, so that one of them is padded."""


@dataclass(frozen=True)
class Model:
    """A loaded version."""

    name: str
    version: str
    form: str
    """What answers: the format of the export, or pytorch."""
    labels: tuple[str, ...]
    """Name of each class, in the order of the columns."""
    logits: Callable[[Sequence[Input]], np.ndarray]
    """Logits [N, C] of texts, or of pairs of them, on the thread that calls."""
    pairs: bool = False
    """Whether it reads pairs of texts."""
    several: bool = False
    """Whether a text has any number of the labels, each decided by itself, and not one of them."""

    def probabilities(self, inputs: Sequence[Input]) -> np.ndarray:
        """Probabilities [N, C] of a batch: of the classes, or of each label by itself.

        Raises:
            RefusedError: some are not finite.
        """
        logits = np.asarray(self.logits(inputs), dtype=np.float64)
        if self.several:
            return 0.5 * (1 + np.tanh(logits / 2))
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        return shifted / shifted.sum(axis=1, keepdims=True)

    def given(self, probabilities: np.ndarray) -> np.ndarray:
        """Which labels are given for probabilities [N, C], bool [N, C]: the best one, or each that is more likely than not, as in an evaluation."""
        if self.several:
            return probabilities > 0.5
        return np.arange(len(self.labels)) == probabilities.argmax(axis=1)[:, None]

    def confidences(self, probabilities: np.ndarray) -> np.ndarray:
        """Probability [N] of the answers that are given for probabilities [N, C]; labels that are decided by themselves are independent."""
        return np.maximum(probabilities, 1 - probabilities).prod(axis=1) if self.several else probabilities.max(axis=1)


def load(folder: Path, version: Version) -> Model:
    """The version that was pulled to a folder, after it has answered a first time.

    Raises:
        InputError: it is damaged, is not what its manifest says, or needs a library that is not installed.
        RefusedError: its answers are not finite.
    """
    export = folder / "export"
    model = _export(export, version) if (export / MODEL).is_file() else _student(folder / "student", version)
    first, second = WARM_UP
    asked: Sequence[Input] = [(first, second), (second, first)] if model.pairs else WARM_UP
    answers = model.probabilities(asked)
    if answers.shape != (len(asked), len(model.labels)):
        raise InputError(
            f"{version.name}@{version.version}: answers {answers.shape[1]} classes and names {len(model.labels)}; push the version again with `asdfd push`"
        )
    return model


def _export(folder: Path, version: Version) -> Model:
    """An export as the model that answers."""
    from tokenizers import Tokenizer

    found = artifacts.read(folder, "export")
    figures = json.loads((folder / FIGURES).read_text(encoding="utf-8"))
    if found.recipe.inputs.get("student") != version.digests["student"]:
        raise InputError(f"{version.name}@{version.version}: its export was made from another student; push the version again with `asdfd push`")
    exported = open_model(folder / MODEL, padding=figures["padding"], form=figures["format"], threads=1)
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(figures["maximum_length"])
    except Exception as error:  # the library raises bare Exception for a file that it cannot read
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{folder / 'tokenizer.json'}: the tokenizer cannot be loaded ({reason}); export the student again with `asdfd export`") from None

    def logits(inputs: Sequence[Input]) -> np.ndarray:
        sequences = []
        for one, encoding in zip(inputs, tokenizer.encode_batch(list(inputs)), strict=True):
            sequences.append(Encoded(encoding.ids))
            sequences[-1].types = encoding.type_ids if isinstance(one, tuple) else ()
        return exported.logits(sequences, len(inputs))

    labels, pairs, several = tuple(figures["label_names"]), figures.get("pairs", False), figures.get("several_labels", False)
    return Model(version.name, version.version, exported.format, labels, logits, pairs, several)


def _student(folder: Path, version: Version) -> Model:
    """A student in PyTorch as the model that answers."""
    try:
        import torch
    except ImportError:
        raise InputError(
            f"{version.name}@{version.version}: has no export, and PyTorch is not installed here; "
            "push a version with an export (`asdfd push --export DIR`), or serve it where PyTorch is"
        ) from None
    from asdfd.models.classifiers import load_student
    from asdfd.models.encoding import encode, pad

    classifier = load_student(artifacts.read(folder, "student"))
    made = json.loads((folder / "distillation.json").read_text(encoding="utf-8")).get("parameters", {}).get("synthesis", {})
    torch.set_num_threads(1)
    longest = version.parameters.get("evaluation", {}).get("maximum_length", 0)  # 0: as much as the model takes
    one_at_a_time = threading.Lock()  # transformers writes into the tokenizer how the batch at hand is cut

    def logits(inputs: Sequence[Input]) -> np.ndarray:
        with one_at_a_time:
            sequences = encode(classifier, inputs, longest)
        with torch.inference_mode():
            answers = classifier.model(**pad(classifier, sequences)).logits.float().numpy()
        if not np.isfinite(answers).all():
            raise RefusedError(f"{version.name}@{version.version}: gives logits that are not finite; serve another version")
        return answers

    return Model(version.name, version.version, PYTORCH, classifier.label_names, logits, bool(made.get("pairs")), classifier.several)
