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
    logits: Callable[[Sequence[str]], np.ndarray]
    """Logits [N, C] of texts, on the thread that calls."""

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """Probabilities [N, C] of a batch.

        Raises:
            RefusedError: some are not finite.
        """
        logits = np.asarray(self.logits(texts), dtype=np.float64)
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        return shifted / shifted.sum(axis=1, keepdims=True)


def load(folder: Path, version: Version) -> Model:
    """The version that was pulled to a folder, after it has answered a first time.

    Raises:
        InputError: it is damaged, is not what its manifest says, or needs a library that is not installed.
        RefusedError: its answers are not finite, or it reads pairs or gives several labels.
    """
    export = folder / "export"
    form, labels, logits = _export(export, version) if (export / MODEL).is_file() else _student(folder / "student", version)
    model = Model(version.name, version.version, form, labels, logits)
    answers = model.probabilities(WARM_UP)
    if answers.shape != (len(WARM_UP), len(labels)):
        raise InputError(
            f"{version.name}@{version.version}: answers {answers.shape[1]} classes and names {len(labels)}; push the version again with `asdfd push`"
        )
    return model


Parts = tuple[str, tuple[str, ...], Callable[[Sequence[str]], np.ndarray]]
"""Form, labels and forward pass of a model."""


def check_served(version: Version, *, pairs: bool, several: bool) -> None:
    """Refuse a student that the server would answer for wrongly: requests hold single texts, and answers one class each.

    Raises:
        RefusedError: it reads pairs of texts, or a text can have several of its labels.
    """
    if pairs or several:
        what = "reads pairs of texts" if pairs else "gives a text several labels"
        raise RefusedError(f"{version.name}@{version.version}: {what}, and the server answers single texts with one class; use it as its README.md says")


def _export(folder: Path, version: Version) -> Parts:
    """The parts of an export."""
    from tokenizers import Tokenizer

    found = artifacts.read(folder, "export")
    figures = json.loads((folder / FIGURES).read_text(encoding="utf-8"))
    if found.recipe.inputs.get("student") != version.digests["student"]:
        raise InputError(f"{version.name}@{version.version}: its export was made from another student; push the version again with `asdfd push`")
    check_served(version, pairs=figures.get("pairs", False), several=figures.get("several_labels", False))
    exported = open_model(folder / MODEL, padding=figures["padding"], form=figures["format"], threads=1)
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(figures["maximum_length"])
    except Exception as error:  # the library raises bare Exception for a file that it cannot read
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{folder / 'tokenizer.json'}: the tokenizer cannot be loaded ({reason}); export the student again with `asdfd export`") from None

    def logits(texts: Sequence[str]) -> np.ndarray:
        return exported.logits([encoding.ids for encoding in tokenizer.encode_batch(list(texts))], len(texts))

    return exported.format, tuple(figures["label_names"]), logits


def _student(folder: Path, version: Version) -> Parts:
    """The parts of a student in PyTorch."""
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
    check_served(version, pairs=bool(made.get("pairs")), several=classifier.several)
    torch.set_num_threads(1)
    longest = version.parameters.get("evaluation", {}).get("maximum_length", 0)  # 0: as much as the model takes
    one_at_a_time = threading.Lock()  # transformers writes into the tokenizer how the batch at hand is cut

    def logits(texts: Sequence[str]) -> np.ndarray:
        with one_at_a_time:
            sequences = encode(classifier, texts, longest)
        with torch.inference_mode():
            answers = classifier.model(**pad(classifier, sequences)).logits.float().numpy()
        if not np.isfinite(answers).all():
            raise RefusedError(f"{version.name}@{version.version}: gives logits that are not finite; serve another version")
        return answers

    return PYTORCH, classifier.label_names, logits
