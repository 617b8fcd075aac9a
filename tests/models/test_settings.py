"""What a teacher's config and weights say of how it is run, how long its texts may be, and what type its numbers are saved in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from asdfd.evaluation.comparison import evaluate_text
from asdfd.evaluation.documents import metrics_document
from asdfd.evaluation.latency import measure
from asdfd.evaluation.logits import predict
from asdfd.evaluation.texts import Texts
from asdfd.models.classifiers import Classifier, load_classifier, load_teacher
from asdfd.models.encoding import encode, rows_at_once
from asdfd.models.fetching import fetch
from asdfd.models.sizes import Size, like_export, size
from asdfd.models.students import derive_student, save_student
from asdfd.models.tokenization import load_tokenizer
from tests.tiny_models import POSITIONS, make_teacher, random_texts
from tests.tolerance import assert_close

pytestmark = pytest.mark.slow  # dozens of small ones that together take long

SWITCHES = {
    "output_attentions": True,
    "output_hidden_states": True,
    "return_dict": False,
    "torchscript": True,
    "use_cache": True,
    "gradient_checkpointing": True,
    "chunk_size_feed_forward": 7,
}
OTHERS = {"problem_type": "single_label_classification", "hidden_dropout_prob": 0.5, "attention_probs_dropout_prob": 0.5, "classifier_dropout": 0.5}


def fetched(folder: Path, out: Path) -> Classifier:
    return load_teacher(fetch(str(folder), out).path)


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("family", ["bert", "distilbert", "albert", "deberta-v3", "modernbert", "roberta"])
def test_switches_of_a_config_change_nothing_here_and_reach_the_student(family: str, tmp_path: Path) -> None:
    plain = fetched(make_teacher(tmp_path / "plain", family), tmp_path / "plain.teacher")
    folder = make_teacher(tmp_path / "model", family)
    edit(folder / "config.json", **SWITCHES, **OTHERS)
    teacher = fetched(folder, tmp_path / "teacher")
    texts = random_texts(6, seed=2)
    assert_close(predict(teacher, texts, batch_size=2, maximum_length=0), predict(plain, texts, batch_size=2, maximum_length=0))
    save_student(derive_student(teacher, (1, 3)), teacher, tmp_path / "student")
    config = json.loads((tmp_path / "student" / "config.json").read_text())
    assert {name: config[name] for name in {**SWITCHES, **OTHERS}} == {**SWITCHES, **OTHERS}
    save_student(derive_student(plain, (1, 3)), plain, tmp_path / "other")
    expected = load_classifier(tmp_path / "other", "other")
    student = load_classifier(tmp_path / "student", "student")
    assert_close(predict(student, texts, batch_size=2, maximum_length=0), predict(expected, texts, batch_size=2, maximum_length=0))
    named = [json.loads((folder / "config.json").read_text()).keys() & SWITCHES.keys() for folder in (tmp_path / "other", tmp_path / "plain")]
    assert named[0] == named[1], "what the teacher does not say, its student does not"


LENGTHS: dict[str, tuple[object, int, int]] = {
    "none": (None, POSITIONS, POSITIONS),
    "minus one": (-1, POSITIONS, POSITIONS),
    "no limit": (1e30, POSITIONS, POSITIONS),
    "a word": ("many", POSITIONS, POSITIONS),
    "less than the special tokens": (1, POSITIONS, POSITIONS),
    "a fraction": (64.0, 64, 64),
    "shorter": (20, 20, 20),
    "longer than the positions": (300, POSITIONS, 300),
}
"""What a tokenizer says, what becomes of it with a table of positions, and without one."""


@pytest.mark.parametrize("name", LENGTHS)
def test_texts_are_as_long_as_the_model_takes_them_unless_the_tokenizer_says_less(name: str, tmp_path: Path) -> None:
    said, *expected = LENGTHS[name]
    for family, longest in zip(("roberta", "deberta-v3"), expected, strict=True):
        folder = make_teacher(tmp_path / family, family, layers=1)
        edit(folder / "tokenizer_config.json", model_max_length=said)
        teacher = fetched(folder, tmp_path / f"{family}.teacher")
        assert [len(encode(teacher, ["time " * 500], limit)[0]) for limit in (0, 10, 1000)] == [longest, 10, longest]
        save_student(derive_student(teacher, (0,)), teacher, tmp_path / f"{family}.student")
        saved = json.loads((tmp_path / f"{family}.student" / "tokenizer_config.json").read_text())["model_max_length"]
        assert (saved, type(saved)) == (longest, int)
        tokenizer = load_tokenizer(tmp_path / f"{family}.student", "student")
        assert len(tokenizer("time " * 500, truncation=True)["input_ids"]) == longest


def test_an_evaluation_tells_how_many_texts_were_cut_and_where(teacher_folder: Path) -> None:
    teacher = load_classifier(teacher_folder, "teacher")
    texts = ("time " * 200, "time " * 126, "time " * 127, "time")
    data = Texts(texts, (0, 1, 2, 0), "d" * 64, "texts.csv")
    result = evaluate_text(teacher, teacher, data, batch_size=2, maximum_length=0)
    assert (result.source.texts_cut, result.source.maximum_length) == (2, POSITIONS), "126 words and two special tokens fit"
    assert result.source.remarks[-1] == f"2 of 4 texts have more than {POSITIONS} tokens and were cut there"
    found = metrics_document(result, teacher_size=SIZE, student_size=SIZE, latency=measure(teacher, teacher, texts, runs=1, batch_size=2, maximum_length=0))
    assert (found["data"]["texts_cut"], found["data"]["maximum_length"]) == (2, POSITIONS)
    shorter = evaluate_text(teacher, teacher, data, batch_size=2, maximum_length=50)
    assert (shorter.source.texts_cut, shorter.source.maximum_length) == (3, 50)
    whole = evaluate_text(teacher, teacher, replace(data, texts=("time",) * 4), batch_size=2, maximum_length=0)
    assert whole.source.texts_cut == 0
    assert not [remark for remark in whole.source.remarks if "cut" in remark]


def test_fewer_long_texts_share_a_batch() -> None:
    assert [rows_at_once(64, length) for length in (1, 512, 1024, 8192, 10**6)] == [64, 64, 32, 4, 1]


HALVES = [torch.float16, torch.bfloat16]


def halved(folder: Path, dtype: torch.dtype) -> Path:
    AutoModelForSequenceClassification.from_pretrained(make_teacher(folder)).to(dtype).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("dtype", HALVES)
def test_a_student_is_saved_in_its_teachers_type_unless_another_is_asked_for(dtype: torch.dtype, tmp_path: Path) -> None:
    teacher = fetched(halved(tmp_path / "model", dtype), tmp_path / "teacher")
    assert {parameter.dtype for parameter in teacher.model.parameters()} == {torch.float32}, "all is computed in float32"
    student = derive_student(teacher, (1, 3))
    for asked, expected in ((None, dtype), (torch.float32, torch.float32)):
        folder = tmp_path / f"student-{asked}"
        assert save_student(student, teacher, folder, asked) == expected
        weights = load_file(folder / "model.safetensors")
        assert {tensor.dtype for tensor in weights.values()} == {expected}
        assert all(torch.equal(tensor, student.state_dict()[name].to(expected)) for name, tensor in weights.items())
        assert json.loads((folder / "config.json").read_text())["dtype"] == str(expected).removeprefix("torch.")
        assert load_classifier(folder, "student").saved.dtype == expected
    assert {parameter.dtype for parameter in student.parameters()} == {torch.float32}, "the model in memory stays as it was"


def test_what_most_weights_are_saved_in_is_the_teachers_type_whatever_its_config_says(tmp_path: Path) -> None:
    folder = halved(tmp_path / "model", torch.float16)
    edit(folder / "config.json", dtype="float32", torch_dtype="float32")
    assert fetched(folder, tmp_path / "teacher").saved.dtype == torch.float16


def test_a_weight_beyond_half_precision_is_saved_in_float32(tmp_path: Path) -> None:
    teacher = fetched(halved(tmp_path / "model", torch.float16), tmp_path / "teacher")
    student = derive_student(teacher, (1, 3))
    with torch.no_grad():
        student.get_parameter("classifier.bias")[0] = 1e5
    assert save_student(student, teacher, tmp_path / "student") == torch.float32
    assert load_file(tmp_path / "student" / "model.safetensors")["classifier.bias"][0] == 1e5


SIZE = Size(1000, 4000)
"""Of a model that no test weighs."""


def test_sizes_are_compared_in_one_type(tmp_path: Path) -> None:
    whole = fetched(make_teacher(tmp_path / "whole"), tmp_path / "whole.teacher")
    half = fetched(halved(tmp_path / "half", torch.float16), tmp_path / "half.teacher")
    sizes = {}
    for name, teacher, asked in (("whole", whole, None), ("half", half, None), ("grown", half, torch.float32)):
        save_student(derive_student(teacher, (1, 3)), teacher, tmp_path / f"{name}.student", asked)
        student = size(load_classifier(tmp_path / f"{name}.student", name), tmp_path / f"{name}.student")
        sizes[name] = size(teacher, tmp_path / f"{'half' if teacher is half else 'whole'}.teacher").bytes_in(student.dtype) / student.bytes
    assert sizes["whole"] > 1.4
    assert sizes["half"] == pytest.approx(sizes["whole"], rel=0.05), "but for the headers of the files"
    assert sizes["grown"] == pytest.approx(sizes["whole"], rel=0.1)
    assert (like_export(100, "float16", "onnx"), like_export(100, "float16", "int8"), like_export(100, "float32", "onnx")) == (200, 100, 100)
