"""An export beside teacher and student: in metrics.json, in the report, in the metrics of the stage and before the gate."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from asdfd import steps
from asdfd.base.artifacts import content_digest, file_entries
from asdfd.base.config import Gate
from asdfd.base.errors import InputError
from asdfd.base.telemetry import read_records
from asdfd.cli.main import main
from asdfd.models.onnx import load_export
from asdfd.monitoring.metrics import evaluation_samples
from asdfd.registry.evidence import read_evidence
from asdfd.registry.gate import judge
from tests.steps.export.conftest import SETTINGS, Exports

pytestmark = pytest.mark.slow

OPTIONS = [part for setting in SETTINGS for part in ("--set", setting)]
LOOSE = {
    "largest_drop": 1.0,
    "champion_margin": 1.0,
    "minimum_agreement": 0.0,
    "minimum_parity": 0.0,
    "largest_parity_difference": 0.0,
    "largest_export_drop": 1.0,
}
"""Every rule of the gate switched off."""


def evaluated(exports: Exports, out: Path, *words: str) -> dict[str, Any]:
    """The metrics.json of an evaluation that the command line makes."""
    base = ["evaluate", "--teacher", str(exports.teacher), "--student", str(exports.student), "--out", str(out)]
    assert main([*base, *OPTIONS, *words]) == 0
    return json.loads((out / "metrics.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def labelled(exports: Exports, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation with the int8 export, on labelled texts."""
    out = tmp_path_factory.mktemp("evaluations") / "labelled"
    evaluated(exports, out, "--data", str(exports.data), "--export", str(exports.int8))
    return out


def test_the_export_is_measured_with_the_other_two(exports: Exports, labelled: Path) -> None:
    metrics = json.loads((labelled / "metrics.json").read_text(encoding="utf-8"))
    found = json.loads((exports.int8 / "export.json").read_text(encoding="utf-8"))
    assert (metrics["export_format"], metrics["export_bytes"]) == ("int8", found["export_bytes"])
    assert metrics["export_digest"] == load_export(exports.int8).digest
    assert metrics["export_compression"] == metrics["teacher_bytes"] / metrics["export_bytes"]
    near = 1.5 / 60  # but for a class that is level with another
    assert metrics["export_accuracy"] == pytest.approx(found["parity"]["labelled_text"]["export_accuracy"], abs=near)
    assert metrics["student_accuracy"] == pytest.approx(found["parity"]["labelled_text"]["student_accuracy"], abs=near)
    assert metrics["export_agreement_with_student"] == pytest.approx(found["parity"]["labelled_text"]["agreement"], abs=near)
    assert 0 < metrics["export_latency_p50_seconds"] <= metrics["export_latency_p95_seconds"]
    weighted = sum(row["export_recall"] * row["support"] for row in metrics["per_class"])
    assert weighted / metrics["data"]["rows"] == pytest.approx(metrics["export_accuracy"])


def test_the_report_shows_the_export(labelled: Path) -> None:
    page, metrics = (labelled / "report.html").read_text(encoding="utf-8"), json.loads((labelled / "metrics.json").read_text(encoding="utf-8"))
    assert '<th scope="col">teacher</th><th scope="col">student</th><th scope="col">student int8</th>' in page
    row = page.partition("Weights on disk")[2].partition("</tr>")[0]
    assert [f"{metrics[f'{role}_bytes'] / 1e6:,.2f} MB" in row for role in ("teacher", "student", "export")] == [True] * 3
    assert f"int8, digest {metrics['export_digest']}" in page
    assert "Parity: agreement of export and student</th>" in page


def test_its_metrics_are_exported_under_its_role(labelled: Path) -> None:
    samples = list(evaluation_samples(json.loads((labelled / "metrics.json").read_text(encoding="utf-8"))))
    sizes = {sample.labels["role"]: sample.value for sample in samples if sample.metric.name == "asdfd_model_size_bytes"}
    assert set(sizes) == {"teacher", "student", "export"}
    assert sizes["export"] < sizes["student"] < sizes["teacher"]


def test_without_data_a_float32_export_agrees_with_the_teacher_as_its_student_does(exports: Exports, tmp_path: Path) -> None:
    metrics = evaluated(exports, tmp_path / "evaluation", "--export", str(exports.onnx))
    near = 1.5 / 96  # but for a class that is level with another
    assert metrics["export_agreement_on_pseudo_samples"] == pytest.approx(metrics["agreement_on_pseudo_samples"], abs=near)
    assert metrics["export_agreement_with_student"] == pytest.approx(1, abs=near)
    assert "export_accuracy" not in metrics
    page = (tmp_path / "evaluation" / "report.html").read_text(encoding="utf-8")
    assert "Fidelity: agreement with the teacher on pseudo samples</th><td>–</td>" in page


def test_an_evaluation_without_an_export_knows_of_none(exports: Exports, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = evaluated(exports, tmp_path / "evaluation", "--data", str(exports.data))
    assert [name for name in metrics if "export" in name] == []
    assert "export" not in metrics["per_class"][0]
    assert "export" not in capsys.readouterr().out
    assert '<th scope="col">student</th></tr>' in (tmp_path / "evaluation" / "report.html").read_text(encoding="utf-8")


def test_the_gate_looks_at_what_is_deployed(labelled: Path) -> None:
    evidence = read_evidence(labelled)
    metrics = evidence.metrics
    between = (metrics["export_bytes"] + metrics["student_bytes"]) // 2
    for rule, limit, value in (
        ("largest_bytes", between, metrics["export_bytes"]),
        ("largest_latency_seconds", 3600.0, metrics["export_latency_p50_seconds"]),
        ("minimum_agreement", 0.01, metrics["export_agreement"]),
        ("minimum_accuracy", 0.01, metrics["export_accuracy"]),
        ("largest_drop", 0.99, metrics["teacher_accuracy"] - metrics["export_accuracy"]),
        ("minimum_parity", 0.01, metrics["export_agreement_with_student"]),
        ("largest_parity_difference", 1.0, metrics["export_largest_difference"]),
        ("largest_export_drop", 0.99, metrics["student_accuracy"] - metrics["export_accuracy"]),
    ):
        (check,) = judge(Gate.model_validate({**LOOSE, rule: limit}), evidence, None).checks
        assert (check.check, check.value, check.passed) == (rule, pytest.approx(value), True)
    (check,) = judge(Gate.model_validate({**LOOSE, "minimum_class_recall": 1.0}), evidence, None).checks
    assert check.value == min(row["export_recall"] for row in metrics["per_class"])
    student_only = {name: value for name, value in metrics.items() if not name.startswith("export_")}
    (check,) = judge(Gate.model_validate({**LOOSE, "largest_bytes": between}), type(evidence)("s", "d", student_only, [], "e"), None).checks
    assert (check.value, check.passed) == (metrics["student_bytes"], False)


def test_an_export_that_lost_a_figure_is_rejected(labelled: Path) -> None:
    evidence = read_evidence(labelled)
    without = {name: value for name, value in evidence.metrics.items() if name != "export_agreement"}
    (check,) = judge(Gate.model_validate({**LOOSE, "minimum_agreement": 0.1}), type(evidence)("s", "d", without, [], "e"), None).checks
    assert (check.passed, check.value) == (False, None)
    assert "export_agreement is missing" in check.reason


def test_a_verdict_on_an_export_is_one_of_the_steps(exports: Exports, labelled: Path, tmp_path: Path) -> None:
    gate = exports.run.gate.changed(largest_bytes=1, largest_drop=1.0)
    registry = exports.run.registry.changed(location=str(tmp_path / "registry"))
    verdict = steps.judge(exports.run.changed(gate=gate, registry=registry), labelled, tmp_path / "verdict").path
    (reason,) = [line for line in json.loads((verdict / "verdict.json").read_text(encoding="utf-8"))["reasons"] if "bytes" in line]
    assert reason.startswith("largest_bytes: export_bytes is ")


def test_an_export_of_another_student_is_refused(exports: Exports, tmp_path: Path) -> None:
    other = shutil.copytree(exports.student, tmp_path / "other")
    manifest = json.loads((other / "manifest.json").read_text(encoding="utf-8"))
    text = (other / "README.md").read_text(encoding="utf-8") + "\n"
    (other / "README.md").write_text(text, encoding="utf-8")
    files = file_entries(other)
    manifest["files"] = {name: vars(entry) for name, entry in files.items()}
    manifest["digest"] = content_digest("student", files)
    (other / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(InputError, match="was exported from another student than"):
        steps.evaluate(exports.run, exports.teacher, other, tmp_path / "evaluation", beside=steps.Beside(exports.onnx))
    assert not (tmp_path / "evaluation").exists()


@pytest.fixture(scope="module")
def all_four(exports: Exports, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation of teacher, teacher int8, student and student int8 on labelled texts."""
    folder = tmp_path_factory.mktemp("evaluations")
    int8 = steps.export_teacher(exports.run, exports.teacher, folder / "teacher-int8").path
    words = ["--data", str(exports.data), "--export", str(exports.int8), "--teacher-int8", str(int8)]
    metrics = evaluated(exports, folder / "four", *words)
    assert metrics["teacher_int8_digest"] == load_export(int8).digest
    return folder / "four"


def test_the_teachers_int8_is_measured_beside_the_others_on_one_and_on_all_threads(all_four: Path) -> None:
    metrics = json.loads((all_four / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["latency_batch_size"] == 32
    for role in ("teacher", "teacher_int8", "student", "export"):
        for name in ("latency_p50_seconds", "throughput_per_second", "one_thread_latency_p50_seconds", "one_thread_throughput_per_second", "bytes"):
            assert metrics[f"{role}_{name}"] > 0
        assert 0 <= metrics[f"{role}_accuracy"] <= 1
    assert metrics["teacher_int8_compression"] == metrics["teacher_bytes"] / metrics["teacher_int8_bytes"]
    assert 0.5 < metrics["teacher_int8_agreement"] <= 1
    assert metrics["export_bytes"] < metrics["teacher_int8_bytes"] < metrics["teacher_bytes"]
    assert metrics["export_is_teacher_int8"] is False
    assert {"export", "student"} <= {*(all_four / "predictions.csv").read_text(encoding="utf-8").partition("\n")[0].split(",")}


def test_report_and_card_show_one_table_and_its_drawings(all_four: Path) -> None:
    page, card = ((all_four / name).read_text(encoding="utf-8") for name in ("report.html", "README.md"))
    metrics = json.loads((all_four / "metrics.json").read_text(encoding="utf-8"))
    columns = ("teacher", "teacher int8", "student", "student int8")
    assert "".join(f'<th scope="col">{name}</th>' for name in columns) in page
    assert "What the gate judges is the student int8. It is " in page
    assert page.count("Accuracy against ") >= 2
    assert f"|  | {' | '.join(columns)} |\n| --- | ---: | ---: | ---: | ---: |\n| Accuracy | {100 * metrics['teacher_accuracy']:.1f} % |" in card
    drawings = re.findall(r"!\[(Accuracy against .*?)\]\((.*?)\)", card)
    assert [title for title, _ in drawings] == ["Accuracy against size", "Accuracy against time of one text on one thread"]
    for _, name in drawings:
        root = ElementTree.fromstring((all_four / name).read_text(encoding="utf-8"))
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert all(role in root.attrib["aria-label"] for role in columns)


def test_all_layers_are_the_teacher_and_their_export_is_its_int8(exports: Exports, tmp_path: Path) -> None:
    """Nothing is learned, and the rule `worth` knows what it sees."""
    run = exports.run.changed(student=exports.run.student.changed(layers="all"), evaluation=exports.run.evaluation.changed(data=str(exports.data)))
    bank = steps.synthesize(run, exports.teacher, tmp_path / "bank")
    student = steps.distill(run, exports.teacher, bank, tmp_path / "student")
    assert student.recipe.config["distillation"]["steps"] == 0
    assert read_records(steps.metrics_path(student.path)) == [{"step": 0}]
    exported = steps.export(run, student, tmp_path / "export")
    int8 = steps.export_teacher(run, exports.teacher, tmp_path / "teacher-int8")
    assert (exported.path / "model.onnx").read_bytes() == (int8.path / "model.onnx").read_bytes()
    evaluation = steps.evaluate(run, exports.teacher, student, tmp_path / "evaluation", beside=steps.Beside(exported, int8))
    evidence = read_evidence(evaluation)
    assert evidence.metrics["agreement"] == 1
    (check,) = judge(Gate.model_validate({**LOOSE, "worth": "reject"}), evidence, None).checks
    assert (check.passed, check.reason) == (True, "the export is the teacher's own int8")
