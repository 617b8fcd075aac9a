"""Every supported family is exported by PyTorch's exporter and run by onnxruntime: the same logits for every length, in every batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from asdfd.evaluation.parity import classifier_logits, parity_on
from asdfd.models.classifiers import Classifier, load_classifier
from asdfd.models.encoding import Encoded, encode
from asdfd.models.lengths import positions
from asdfd.models.onnx import open_model, write_model
from tests.tiny_models import FAMILIES, make_teacher, random_texts
from tests.tolerance import FORWARD, assert_close

pytestmark = pytest.mark.slow


def sequences_of(classifier: Classifier) -> list[Encoded]:
    """Token ids of texts of all lengths: none, one word, and up to all positions that the model has."""
    longest = positions(classifier.model)
    texts = ["", "the", *random_texts(12, seed=3), *random_texts(3, seed=4, longest=60), " ".join(random_texts(40, seed=2))]
    sequences = encode(classifier, texts, longest)
    assert len(sequences[-1]) == min(longest, classifier.tokenizer.model_max_length)
    assert len({len(sequence) for sequence in sequences}) > 6
    return sequences


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "electra-narrow"])  # ALBERT's embeddings are narrow too
def test_a_family_answers_in_onnxruntime_as_in_pytorch(family: str, tmp_path: Path) -> None:
    folder = make_teacher(
        tmp_path / family, family, layers=2 if hasattr(FAMILIES[family][0](), "layer_types") else 1
    )  # ModernBERT's second layer has the other attention
    classifier = load_classifier(folder, family)
    write_model(classifier, folder, tmp_path / "model.onnx", "onnx", tmp_path / "scratch.onnx")
    padding = classifier.tokenizer.pad_token_id
    assert isinstance(padding, int)
    exported = open_model(tmp_path / "model.onnx", padding=padding, form="onnx")
    sequences = sequences_of(classifier)
    together = parity_on(classifier, exported, sequences, batch_size=7)
    assert together.largest_difference < FORWARD * max(1, together.largest_logit)
    assert together.agreement == 1
    assert together.largest_logit > 0.5
    alone = np.concatenate([exported.logits([sequence], 1) for sequence in sequences])
    assert_close(alone, classifier_logits(classifier, sequences, len(sequences)), told="with and without padding")
    assert len(set(alone.argmax(axis=1))) > 1
    names = [entry.name for entry in exported.session.get_inputs()]
    typed = "token_type_ids" in classifier.tokenizer("the") and any("token_type" in name for name in classifier.model.state_dict())
    assert names == ["input_ids", "attention_mask", *(["token_type_ids"] if typed else [])]
    assert [entry.shape for entry in exported.session.get_inputs()] == [["batch", "sequence"]] * len(names)
