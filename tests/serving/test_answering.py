"""What answers: an export as its student does, without PyTorch; the student where there is no export; nothing that does not belong to the version."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from asdfd.base import artifacts
from asdfd.base.artifacts import Artifact
from asdfd.base.errors import InputError
from asdfd.evaluation.scores import answers_of
from asdfd.models.onnx import FIGURES, FORMATS
from asdfd.registry.records import Version
from asdfd.serving.answering import load
from tests.serving.makers import make_export, make_pruned, make_student, probabilities_of
from tests.tiny_models import label_names, random_texts
from tests.tolerance import assert_close, difference

TEXTS = [*random_texts(6, seed=3), "a" * 5000]
"""The last one is longer than the model can take."""


def version_of(student: Artifact) -> Version:
    """A version as far as loading looks at it."""
    return Version("tiny", "0" * 16, {"student": student.digest}, "", "", {}, {}, {}, {}, "", "")


@dataclass(frozen=True)
class Made:
    """A student and its exports."""

    student: Artifact
    exports: Mapping[str, Artifact]

    def pulled(self, folder: Path, form: str) -> Path:
        """The folder of a version that answers so."""
        shutil.copytree(self.student.path, folder / "student")
        if form in self.exports:
            shutil.copytree(self.exports[form].path, folder / "export")
        return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("made")
    student = make_student(folder / "student")
    return Made(student, {form: make_export(folder / form, student, form) for form in FORMATS})


@pytest.mark.slow
@pytest.mark.parametrize("form", ["pytorch", "onnx"])
def test_a_student_with_fewer_tokens_answers_by_its_own_tokenizer(made: Made, form: str, tmp_path: Path) -> None:
    student = make_pruned(tmp_path / "pruned", made.student, TEXTS)
    fewer = Made(student, {"onnx": make_export(tmp_path / "onnx", student, "onnx")} if form == "onnx" else {})
    model = load(fewer.pulled(tmp_path / "version", form), version_of(student))
    assert model.form == form
    assert_close(model.probabilities(TEXTS), probabilities_of(made.student.path, TEXTS), 1e-5)
    assert (student.path / "model.safetensors").stat().st_size < 0.9 * (made.student.path / "model.safetensors").stat().st_size


@pytest.mark.parametrize("form", ["pytorch", *FORMATS])
def test_the_export_answers_as_the_student_does_and_without_one_the_student(made: Made, form: str, tmp_path: Path) -> None:
    model = load(made.pulled(tmp_path / "version", form), version_of(made.student))
    assert (model.form, model.labels) == (form, label_names(3))
    expected = probabilities_of(made.student.path, TEXTS)
    if "int8" in form:  # eight bits of a tiny random model: near, and no more
        assert difference(model.probabilities(TEXTS), expected) < 0.3
    else:
        assert_close(model.probabilities(TEXTS), expected)


def test_an_export_answers_where_there_is_no_pytorch(made: Made, tmp_path: Path) -> None:
    made.pulled(tmp_path / "version", "onnx")
    code = f"""
import sys
for name in ("torch", "transformers", "safetensors", "datasets", "sklearn", "matplotlib", "onnx", "onnxscript"):
    sys.modules[name] = None  # importing it fails
from pathlib import Path
import asdfd.cli.main, asdfd.serving.server
from asdfd.base.errors import InputError
from asdfd.registry.records import Version
from asdfd.serving.answering import load
version = Version("tiny", "0" * 16, {{"student": {made.student.digest!r}}}, "", "", {{}}, {{}}, {{}}, {{}}, "", "")
folder = Path({str(tmp_path / "version")!r})
print(load(folder, version).form)
(folder / "export").rename(folder / "elsewhere")
try:
    load(folder, version)
except InputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "onnx"
    assert "has no export, and PyTorch is not installed here" in second


def test_an_export_of_another_student_is_refused(made: Made, tmp_path: Path) -> None:
    folder = made.pulled(tmp_path / "version", "onnx")
    with pytest.raises(InputError, match="its export was made from another student"):
        load(folder, version_of(make_student(tmp_path / "other", seed=5)))


PAIRS = [(first, second) for first, second in zip(random_texts(5, seed=7), [*random_texts(4, seed=8), "a" * 5000], strict=True)]
"""The last one is longer than the model can take."""


@pytest.mark.slow
@pytest.mark.parametrize("form", ["pytorch", "onnx"])
@pytest.mark.parametrize(("pairs", "several"), [(True, False), (False, True), (True, True)], ids=["pairs", "several labels", "both"])
def test_pairs_and_several_labels_are_answered_as_the_student_does(form: str, pairs: bool, several: bool, tmp_path: Path) -> None:
    student = make_student(tmp_path / "made", pairs=pairs, several=several)
    exports = {form: make_export(tmp_path / form, student, form, pairs=pairs)} if form != "pytorch" else {}
    model = load(Made(student, exports).pulled(tmp_path / "version", form), version_of(student))
    assert (model.form, model.pairs, model.several) == (form, pairs, several)
    inputs = PAIRS if pairs else TEXTS
    found = model.probabilities(inputs)
    assert_close(found, probabilities_of(student.path, inputs))
    if pairs:
        assert difference(found, model.probabilities([(second, first) for first, second in PAIRS])) > 0.01, "the order of a pair counts"
    given = model.given(found)
    assert (given == answers_of(np.log(found / (1 - found)), several=True)).all() if several else (given.sum(axis=1) == 1).all()
    confidence = model.confidences(found)
    assert_close(confidence, np.where(given, found, 1 - found).prod(axis=1) if several else found.max(axis=1))


def test_an_export_that_is_damaged_is_refused(made: Made, tmp_path: Path) -> None:
    folder = made.pulled(tmp_path / "version", "onnx")
    (folder / "export" / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=r"tokenizer\.json: is not the file that the manifest describes"):
        load(folder, version_of(made.student))


def test_more_labels_than_answers_are_refused(made: Made, tmp_path: Path) -> None:
    folder = made.pulled(tmp_path / "version", "onnx")
    figures = folder / "export" / FIGURES
    figures.write_text(figures.read_text(encoding="utf-8").replace('"complaint"', '"complaint", "another"'), encoding="utf-8")
    manifest = folder / "export" / artifacts.MANIFEST
    recipe = artifacts.read(made.exports["onnx"].path, "export").recipe
    manifest.unlink()
    again = artifacts.open_workspace(tmp_path / "again", recipe)
    assert not isinstance(again, Artifact)
    shutil.copytree(folder / "export", again.artifact, dirs_exist_ok=True)
    shutil.rmtree(folder / "export")
    again.finish({}).path.rename(folder / "export")
    with pytest.raises(InputError, match="answers 3 classes and names 4"):
        load(folder, version_of(made.student))
