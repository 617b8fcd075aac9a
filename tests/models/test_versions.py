"""Students load, make the same tokens and give the same logits in transformers 4.57, the oldest 5 and the newest, but where the card says otherwise."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from asdfd.models.classifiers import Classifier, load_classifier, load_teacher
from asdfd.models.fetching import fetch
from asdfd.models.model_card import ModelCardContent, model_card
from asdfd.models.pruning import prune
from asdfd.models.students import derive_student, oldest_version, save_student
from asdfd.models.tokenization_check import TELLING
from tests import tiny_models
from tests.models.versions import PINS, python_with
from tests.tiny_models import make_teacher, random_texts
from tests.tolerance import assert_close

pytestmark = pytest.mark.slow

TEXTS = [*random_texts(30, seed=5, longest=20), *TELLING]
NEAR = 1e-5
"""Most that a logit may differ, as a share of the largest."""
READING = """
import contextlib, io, json, sys, warnings
warnings.filterwarnings("ignore")
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging
logging.set_verbosity_error()
torch.set_num_threads(1)
texts, folders, programs = json.load(sys.stdin)
found, printed = {}, []
for folder in folders:
    try:
        model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(folder)
        ids = [tokenizer(text, truncation=True)["input_ids"] for text in texts]
        with torch.inference_mode():
            logits = [model(**tokenizer(text, truncation=True, return_tensors="pt"), return_dict=True).logits[0].tolist() for text in texts]
        found[folder] = {"ids": ids, "logits": logits}
    except Exception as error:
        found[folder] = {"error": f"{type(error).__name__}: {error}"}
for program in programs:
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(program, {})
    printed.append(output.getvalue())
print(json.dumps([found, printed]))
"""
"""In one process of each version: the students that load there and what they answer, and what the lines of cards print."""


@dataclass(frozen=True)
class Student:
    folder: Path
    needs: str
    """The oldest version that the card names."""
    ids: list[list[int]]
    logits: torch.Tensor


def saved(teacher: Classifier, layers: tuple[int, ...], folder: Path) -> Student:
    """A student as it is saved, with its card, and what it answers here when it is loaded again."""
    derived = derive_student(teacher, layers)
    dtype = save_student(derived, teacher, folder)
    loaded = load_classifier(folder, "student")
    ids = [loaded.tokenizer(text, truncation=True)["input_ids"] for text in TEXTS]
    with torch.inference_mode():
        logits = torch.cat([loaded.model(input_ids=torch.tensor([row])).logits for row in ids])
    needs = oldest_version(derived.config)
    about: dict[str, Any] = {"label_names": teacher.label_names, "layer_map": layers, "teacher_layers": teacher.layers, "maximum_length": 20, "parameters": {}}
    card = ModelCardContent("folder:", "0" * 64, derived.config.model_type, **about, dtype=str(dtype).removeprefix("torch."), oldest_version=needs)
    (folder / "README.md").write_text(model_card(card), encoding="utf-8")
    return Student(folder, needs, ids, logits)


LONG_TEXT = "the wonderful movie " * 200
CARDS = ("endless", "half")
LAYER_KINDS = {"alike": (0, 2), "in turn": (0, 1), "of no period": (1, 3)}
"""Students of ModernBERT: layers that all attend to everything, every other one, and none, which older versions cannot say."""


@pytest.fixture(scope="module")
def students(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Student]:
    """A student of every family, some of ModernBERT, one with fewer tokens of each kind of tokenizer, one in half precision, and one of a teacher that names no
    length of its texts."""
    folder = tmp_path_factory.mktemp("students")
    made: dict[str, Student] = {}
    for family in tiny_models.FAMILIES:
        teacher = load_teacher(fetch(str(make_teacher(folder / f"{family}.model", family)), folder / f"{family}.teacher").path)
        maps = LAYER_KINDS if family == "modernbert" else {"": (1, 3)}
        for kind, layers in maps.items():
            name = f"{family} {kind}".strip()
            made[name] = saved(teacher, layers, folder / name.replace(" ", "-"))
        if family in tiny_models.TOKENIZERS:
            fewer = prune(teacher, {token for text in TEXTS[:8] for token in teacher.tokenizer(text)["input_ids"]})
            made[f"{family} pruned"] = saved(fewer, (0, 2), folder / f"{family}.pruned")
    half = make_teacher(folder / "half.model")
    AutoModelForSequenceClassification.from_pretrained(half).to(torch.float16).save_pretrained(half)
    endless = make_teacher(folder / "endless.model", "roberta")
    config = endless / "tokenizer_config.json"
    config.write_text(json.dumps({name: value for name, value in json.loads(config.read_text()).items() if name != "model_max_length"}))
    for name in ("half", "endless"):
        made[name] = saved(load_teacher(fetch(str(folder / f"{name}.model"), folder / f"{name}.teacher").path), (1, 3), folder / name)
    return made


def lines_of(student: Student) -> list[str]:
    """The card's two programs, for a text that is longer than the model takes."""
    codes = re.findall(r"```python\n(.*?)```", (student.folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    pipeline, model = (code.replace("FOLDER_OR_NAME_OF_THIS_MODEL", str(student.folder)).replace("A text to classify.", LONG_TEXT) for code in codes)
    return [pipeline.replace("classify(", "print(classify(", 1).rstrip() + ")", model]


@pytest.fixture(scope="module", params=PINS)
def answers(request: pytest.FixtureRequest, students: dict[str, Student]) -> tuple[str, dict[str, Any], list[str]]:
    """A version, what it makes of each student by the student's name, and what the cards' lines print in it; isolated from the tests' own packages."""
    given = [TEXTS, [str(student.folder) for student in students.values()], [line for name in CARDS for line in lines_of(students[name])]]
    command = [python_with(request.param), "-I", "-c", READING]
    result = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    found, printed = json.loads(result.stdout.splitlines()[-1])
    return request.param, {name: found[str(student.folder)] for name, student in students.items()}, printed


def ordered(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def test_students_answer_alike_in_every_version_that_the_card_names_and_in_no_other(
    answers: tuple[str, dict[str, Any], list[str]], students: dict[str, Student]
) -> None:
    version, found, _ = answers
    for name, student in students.items():
        loads = ordered(version) >= ordered(student.needs)
        assert ("error" not in found[name]) == loads, f"{name}: {found[name].get('error', 'it loads')}"
        if loads:
            assert found[name]["ids"] == student.ids, name
            assert_close(found[name]["logits"], student.logits, NEAR, name)
    assert sum("error" not in answer for answer in found.values()) > len(tiny_models.FAMILIES) - 2


def test_the_cards_lines_run_on_a_long_text(answers: tuple[str, dict[str, Any], list[str]]) -> None:
    _, _, printed = answers
    assert len(printed) == 2 * len(CARDS)
    for of_pipeline, of_model in zip(printed[::2], printed[1::2], strict=True):
        assert of_model.strip() in tiny_models.label_names(3)
        assert of_model.strip() in of_pipeline


def test_the_card_names_the_oldest_version(students: dict[str, Student]) -> None:
    needs = {name: student.needs for name, student in students.items()}
    assert {name: version for name, version in needs.items() if version != "4.57"} == {"nomic_bert": "5.5", "modernbert of no period": "5.1"}
    for student in students.values():
        assert f"With transformers {student.needs} or later." in (student.folder / "README.md").read_text(encoding="utf-8")
