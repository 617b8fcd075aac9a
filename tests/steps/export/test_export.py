"""The verb `export`: what it writes is whole, small, the same model, and runs with nothing of ours; what is not, is refused."""

from __future__ import annotations

import copy
import itertools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from asdfd import steps
from asdfd.base.artifacts import read
from asdfd.base.config import Evaluation, Gate
from asdfd.base.errors import InputError, RefusedError
from asdfd.cli.main import main
from asdfd.evaluation.logits import predict
from asdfd.evaluation.parity import Parity, check_parity, classifier_logits, parity_on, parity_sequences
from asdfd.evaluation.texts import read_texts
from asdfd.models import onnx
from asdfd.models.classifiers import Classifier, load_student
from asdfd.models.onnx import load_export
from tests.steps.export.conftest import SETTINGS, Exports
from tests.tolerance import FORWARD, assert_close

pytestmark = pytest.mark.slow

OPTIONS = [part for setting in SETTINGS for part in ("--set", setting)]
BLOCKED = """\
import importlib.util, sys
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *package: None if name.partition(".")[0] in {blocked} else real(name, *package)
for name in {blocked}:
    sys.modules[name] = None
"""
"""Makes packages look as if they were not installed."""


def figures_of(folder: Path) -> dict:
    return json.loads((folder / "export.json").read_text(encoding="utf-8"))


def test_an_export_is_a_whole_artifact_with_the_tokenizer_and_the_label_names(exports: Exports) -> None:
    artifact = read(exports.onnx, "export")
    student = read(exports.student, "student")
    assert artifact.recipe.inputs == {"student": student.digest}
    assert {"model.onnx", "config.json", "tokenizer.json", "tokenizer_config.json", "README.md", "export.json"} == set(artifact.files)
    assert artifact.files["config.json"] == student.files["config.json"]
    assert set(artifact.versions) >= {"torch", "onnx", "onnxruntime", "onnxscript"}
    assert figures_of(exports.onnx)["label_names"] == ["complaint", "praise", "question"]
    assert not exports.onnx.with_name("onnx.partial").exists()


def test_int8_is_smaller_and_both_tell_their_true_size(exports: Exports) -> None:
    for folder in (exports.onnx, exports.int8):
        assert figures_of(folder)["export_bytes"] == (folder / "model.onnx").stat().st_size
        assert figures_of(folder)["source_bytes"] == (exports.student / "model.safetensors").stat().st_size
    assert figures_of(exports.int8)["export_bytes"] < 0.75 * figures_of(exports.onnx)["export_bytes"]
    assert (figures_of(exports.onnx)["format"], figures_of(exports.int8)["format"]) == ("onnx", "int8")


def test_the_figures_are_those_of_the_model_in_the_folder(exports: Exports) -> None:
    student = load_student(exports.student)
    sequences = parity_sequences(student, exports.run)
    lengths = [len(sequence) for sequence in sequences]
    assert len(sequences) == 96 + 32
    assert max(lengths) > 100, "inputs of the full length are compared too"
    assert any(shorter < longer for shorter, longer in itertools.pairwise(lengths))
    assert any(shorter > longer for shorter, longer in itertools.pairwise(lengths))
    for folder, near in ((exports.onnx, FORWARD), (exports.int8, 0.05)):  # a value on the edge of two steps of int8 makes a difference of a hundredth
        again = parity_on(student, load_export(folder), sequences, exports.run.evaluation.batch_size)
        told = figures_of(folder)["parity"]["pseudo_samples"]
        assert told["rows"] == again.rows == 128
        assert told["largest_logit"] == pytest.approx(again.largest_logit, rel=FORWARD)
        assert told["largest_logit_difference"] == pytest.approx(again.largest_difference, abs=near)
        assert told["largest_probability_difference"] == pytest.approx(again.largest_probability_difference, abs=near)
        assert told["agreement"] == pytest.approx(again.agreement, abs=1.5 / 128), "but for a class that is level with another"
    float32, int8 = (figures_of(folder)["parity"]["pseudo_samples"] for folder in (exports.onnx, exports.int8))
    assert float32["largest_logit_difference"] < 1e-4
    assert float32["agreement"] == 1
    assert 0.9 < int8["agreement"] <= 1
    assert int8["largest_logit_difference"] > float32["largest_logit_difference"]


def test_on_labelled_texts_the_accuracy_of_both_is_told(exports: Exports) -> None:
    student = load_student(exports.student)
    data = read_texts(Evaluation(data=str(exports.data)), student.label_names)
    found = figures_of(exports.int8)["parity"]["labelled_text"]
    right = predict(student, data.texts, batch_size=16, maximum_length=256).argmax(axis=1) == np.asarray(data.labels)
    assert (found["name"], found["digest"], found["rows"]) == ("texts.csv", data.digest, 60)
    assert found["student_accuracy"] == pytest.approx(right.mean())
    assert abs(found["export_accuracy"] - found["student_accuracy"]) <= 1 - found["agreement"] + 1e-9


def test_the_example_of_the_readme_runs_without_pytorch_and_without_asdfd(exports: Exports) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", (exports.onnx / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    texts = ["where is my refund", "it is wonderful, i like it very much and the team too", "the screen is broken"]
    code = code.replace("FOLDER_OF_THIS_EXPORT", str(exports.onnx)).replace('["A text to classify."]', json.dumps(texts))
    program = BLOCKED.format(blocked=("torch", "asdfd")) + code + "\nprint(logits.tolist())\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names, logits = done.stdout.splitlines()[-2:]
    student = load_student(exports.student)
    expected = predict(student, texts, batch_size=3, maximum_length=128)
    assert eval(names) == [student.label_names[index] for index in expected.argmax(axis=1)]
    assert_close(np.array(json.loads(logits)), expected)


def test_the_same_student_gives_the_same_bytes_which_name_no_file_of_this_machine(exports: Exports, tmp_path: Path) -> None:
    student = load_student(exports.student)
    onnx.write_model(student, exports.student, tmp_path / "model.onnx", "onnx", tmp_path / "scratch")
    content = (tmp_path / "model.onnx").read_bytes()
    assert content == (exports.onnx / "model.onnx").read_bytes()
    assert not re.search(rb"site-packages|\.py\b", content)


def test_the_same_command_again_returns_what_is_finished(exports: Exports, capsys: pytest.CaptureFixture[str]) -> None:
    before = (exports.onnx / "model.onnx").stat()
    words = ["export", "--student", str(exports.student), "--format", "onnx", "--out", str(exports.onnx)]
    assert main([*words, *OPTIONS, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["step"], document["kind"], document["digest"]) == ("export", "export", read(exports.onnx, "export").digest)
    assert document["metrics"] == figures_of(exports.onnx)
    after = (exports.onnx / "model.onnx").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert main([*words, *OPTIONS]) == 0
    shown = capsys.readouterr().out
    assert "format          onnx, opset" in shown
    assert re.search(r"size +[\d.]+ MB, [\d.]+ times smaller than the student", shown)


def test_the_format_is_part_of_the_recipe(exports: Exports) -> None:
    with pytest.raises(InputError, match="holds a export made from other inputs"):
        steps.export(exports.run, exports.student, exports.onnx, "int8")


@pytest.mark.parametrize(
    ("student", "form", "message"),
    [
        ("teacher", "onnx", "is a teacher, a student is needed here"),
        ("student", "onnx-int4", "--format 'onnx-int4' is unknown; choose one of onnx, int8"),
    ],
)
def test_a_wrong_command_is_told_in_one_line(
    exports: Exports, tmp_path: Path, capsys: pytest.CaptureFixture[str], student: str, form: str, message: str
) -> None:
    assert main(["export", "--student", str(getattr(exports, student)), "--format", form, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_export_is_not_used(exports: Exports, tmp_path: Path) -> None:
    folder = shutil.copytree(exports.onnx, tmp_path / "onnx")
    content = bytearray((folder / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.onnx").write_bytes(content)
    with pytest.raises(InputError, match=r"model\.onnx: is not the file that the manifest describes"):
        load_export(folder)


def test_a_file_that_is_no_model_is_told_in_one_line(tmp_path: Path) -> None:
    from asdfd.models.onnx import open_model

    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(InputError, match=r"model\.onnx: onnxruntime cannot load it \(.*\); export the student again with `asdfd export`$"):
        open_model(tmp_path / "model.onnx", padding=0, form="onnx")


def export_another_model(monkeypatch: pytest.MonkeyPatch, bias: float) -> None:
    """Give the real exporter a model with another bias of the first class, as a fault in it would make."""
    real = onnx._write_float32

    def faulty(classifier: Classifier, folder: Path, path: Path) -> None:
        model = copy.deepcopy(classifier.model)
        with torch.no_grad():
            model.get_parameter("classifier.bias")[0] += bias
        real(Classifier(model, classifier.tokenizer, classifier.label_names), folder, path)

    monkeypatch.setattr(onnx, "_write_float32", faulty)


def test_an_export_with_other_answers_is_refused_and_nothing_is_left(exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export_another_model(monkeypatch, bias=0.02)
    with pytest.raises(RefusedError, match=r"logits differ from the student's by 0\.02 on 128 pseudo samples, 0\.00\d+ are allowed"):
        steps.export(exports.run, exports.student, tmp_path / "out", "onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_cannot_be_exported_is_refused_in_one_line(exports: Exports, tmp_path: Path) -> None:
    student = load_student(exports.student)
    forward = student.model.forward

    def branching(input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor):
        return forward(input_ids=input_ids if bool(input_ids.sum() > 40) else input_ids + 1, attention_mask=attention_mask, token_type_ids=token_type_ids)

    student.model.forward = branching  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(RefusedError, match="PyTorch cannot export this BERT as ONNX") as caught:
        onnx.write_model(student, exports.student, tmp_path / "model.onnx", "onnx", tmp_path / "scratch")
    assert "\n" not in str(caught.value)


def test_int8_answers_must_agree_as_often_as_the_gate_asks(
    exports: Exports, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    export_another_model(monkeypatch, bias=100.0)
    student = load_student(exports.student)
    first = (classifier_logits(student, parity_sequences(student, exports.run), 16).argmax(axis=1) == 0).mean()
    assert 0.05 < first < 0.95
    words = ["export", "--student", str(exports.student), "--format", "int8", "--out", str(tmp_path / "out"), *OPTIONS]
    assert main([*words, "--set", "gate.minimum_parity=0.96"]) == 3
    (agreement,) = re.findall(r"the student's class on (0\.\d{4}) on 128 pseudo samples, gate.minimum_parity asks for 0.96", capsys.readouterr().err)
    assert float(agreement) == pytest.approx(first, abs=1.5 / 128), "it always answers the first class"
    assert list(tmp_path.iterdir()) == []


def test_what_breaks_the_rule_falls_back_to_float32_and_then_to_none_with_a_line(
    exports: Exports, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = exports.run.changed(gate=exports.run.gate.changed(minimum_parity=0.5, largest_parity_difference=1e-9))
    fallen = steps.export(strict, exports.student, tmp_path / "float32")
    assert figures_of(fallen.path)["format"] == "onnx"
    assert (fallen.path / "model.onnx").read_bytes() == (exports.onnx / "model.onnx").read_bytes()
    line = r"asdfd: export int8: a probability of the int8 model differs from the student's by 0\.\d+ on 128 pseudo samples, .* allows 1e-09\n"
    assert re.fullmatch(line, capsys.readouterr().err)
    assert steps.export(strict, exports.student, tmp_path / "float32").digest == fallen.digest, "it is not tried again"
    export_another_model(monkeypatch, bias=0.5)
    none = steps.export(strict, exports.student, tmp_path / "none")
    assert {*none.files} == {"export.json"}
    assert figures_of(none.path)["format"] == "none"
    assert "logits differ from the student's by 0.5" in figures_of(none.path)["reason"]
    assert capsys.readouterr().err.endswith("asdfd: export: there is none, so the student itself is judged and registered\n")
    with pytest.raises(InputError, match=r"none: holds no model: the exported model's logits differ"):
        load_export(none.path)


def test_what_the_parameter_says_is_exported(exports: Exports, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    switched_off = steps.export(exports.run.changed(export="none"), exports.student, tmp_path / "none")
    assert figures_of(switched_off.path) == {"format": "none", "reason": "export is none"}
    assert capsys.readouterr().err == "", "that is no news to who switched it off"
    made = steps.export(exports.run, exports.student, tmp_path / "int8")
    assert figures_of(made.path)["format"] == "int8"
    assert (made.path / "model.onnx").read_bytes() == (exports.int8 / "model.onnx").read_bytes()


def test_the_teacher_has_an_int8_of_its_own(exports: Exports, tmp_path: Path) -> None:
    made = steps.export_teacher(exports.run, exports.teacher, tmp_path / "int8")
    assert made.recipe.inputs == {"teacher": read(exports.teacher, "teacher").digest}
    found = figures_of(made.path)
    assert (found["format"], found["source"], found["parity"]) == ("int8", "teacher", {})
    assert found["export_bytes"] < found["source_bytes"]
    assert load_export(made).logits([[2, 30, 31, 3]], 1).shape == (1, 3)
    off = steps.export_teacher(exports.run.changed(export="none"), exports.teacher, tmp_path / "off")
    assert figures_of(off.path) == {"format": "none", "reason": "export is none"}


def test_the_limits_are_those_that_the_documentation_gives() -> None:
    gate = Gate()
    check_parity(Parity(10, 0.00999, 0.9, 10.0, 0.1), "pseudo_samples", "onnx", gate)
    check_parity(Parity(10, 0.00099, 0.9, 0.1, 0.1), "pseudo_samples", "onnx", gate)
    check_parity(Parity(10, 3.0, 0.5, 10.0, 0.9), "pseudo_samples", "int8", gate)
    check_parity(Parity(10, 3.0, 0.5, 10.0, 0.9, student_accuracy=0.9, export_accuracy=0.89), "labelled_text", "int8", gate)
    for wrong in (Parity(10, 0.0101, 0.0, 10.0, 1.0), Parity(10, 0.00101, 0.0, 0.1, 1.0), Parity(10, float("nan"), 0.0, 1.0, 1.0)):
        with pytest.raises(RefusedError, match="logits differ"):
            check_parity(wrong, "pseudo_samples", "onnx", gate)
    with pytest.raises(RefusedError, match=r"on 0\.8900 on 10 labelled texts, gate\.minimum_parity asks for 0\.9"):
        check_parity(Parity(10, 0.0, 0.0, 1.0, 0.89), "labelled_text", "int8", gate)
    with pytest.raises(RefusedError, match=r"differs from the student's by 0\.51 on 10 labelled texts, gate\.largest_parity_difference allows 0\.5"):
        check_parity(Parity(10, 0.0, 0.51, 1.0, 1.0), "labelled_text", "int8", gate)
    with pytest.raises(RefusedError, match=r"loses 0\.0200 of the student's accuracy on 10 labelled texts, gate\.largest_export_drop allows 0\.01"):
        check_parity(Parity(10, 0.0, 0.0, 1.0, 1.0, student_accuracy=0.9, export_accuracy=0.88), "labelled_text", "int8", gate)


def test_padding_does_not_change_an_answer(exports: Exports) -> None:
    exported, student = load_export(exports.onnx), load_student(exports.student)
    short, long = [2, 30, 31, 3], [2, *range(20, 120), 3]
    alone, beside = exported.logits([short], 1), exported.logits([short, long], 2)
    assert_close(alone, beside[:1])
    assert_close(alone, classifier_logits(student, [short], 1))
