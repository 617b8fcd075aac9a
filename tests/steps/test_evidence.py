"""The three levels of evidence, each through a whole run to the registry and on to production: labelled texts, texts without labels, none."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from asdfd import steps
from asdfd.base.artifacts import Artifact, read
from asdfd.base.config import Run
from asdfd.base.errors import InputError
from asdfd.base.loading import load_run
from asdfd.cli.presentation import figures, metrics_table, rendered
from asdfd.cli.registry_tables import description_text, versions_table
from asdfd.registry.listing import description, summaries
from asdfd.registry.publication import Pushed
from asdfd.registry.versions import resolve
from asdfd.steps.promotion import Request, promote, read_wanted
from asdfd.storage.objects import open_objects
from tests.tiny_models import random_texts

LEVELS = ("none", "texts", "labels")
WORDS = {"none": "Judged without texts", "texts": "24 texts without labels", "labels": "24 labelled texts"}
JUDGED_ON = {"none": "no texts", "texts": "texts without labels", "labels": "labelled texts"}
ACCURACY = ("accuracy", "retention", "f1", "calibration", "per_class", "confusion")
"""Parts of the names of figures that need labels."""


@dataclass(frozen=True)
class Registered:
    """A run with the default gate, and what the registry has of it."""

    run: Run
    made: dict[str, Artifact]
    metrics: dict[str, Any]
    verdict: dict[str, Any]
    pushed: Pushed


@pytest.fixture(scope="module")
def data(teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same texts with labels and without; every label is the teacher's answer."""
    from asdfd.evaluation.logits import predict
    from asdfd.models.classifiers import load_classifier

    teacher, texts, folder = load_classifier(teacher_folder, "teacher"), random_texts(24, seed=5), tmp_path_factory.mktemp("data")
    labels = [teacher.label_names[row] for row in predict(teacher, texts, batch_size=8, maximum_length=0).argmax(axis=1)]
    files = {"texts": folder / "traffic.csv", "labels": folder / "labelled.csv"}
    with files["texts"].open("w", newline="") as stream:
        csv.writer(stream).writerows([["text"], *([text] for text in texts)])
    with files["labels"].open("w", newline="") as stream:
        csv.writer(stream).writerows([["text", "label"], *zip(texts, labels, strict=True)])
    return files


def parameters(level: str, teacher: Path, data: dict[str, Path], registry: Path, *more: str) -> Run:
    """The default gate, on a student that is its teacher: what passes depends on the evidence alone."""
    small = ("evaluation.pseudo_samples=64", "evaluation.latency_runs=1", "synthesis.samples=64", "student.layers=all", "export=none", "device=cpu")
    named = [f"evaluation.data={data[level]}"] if level != "none" else []
    return load_run(settings=[f"teacher.reference={teacher}", f"registry.location={registry}", "registry.name=desk", *small, *named, *more])


def registered(run: Run, out: Path) -> Registered:
    made = steps.compress(run, out)
    verdict = steps.judge(run, made["evaluation"].path, out / "verdict")
    pushed = steps.push(run, made["teacher"].path, made["student"].path, made["evaluation"].path, verdict.path, {})
    metrics, document = (
        json.loads((folder / name).read_text()) for folder, name in ((made["evaluation"].path, "metrics.json"), (verdict.path, "verdict.json"))
    )
    return Registered(run, {**made, "verdict": verdict}, metrics, document, pushed)


@pytest.fixture(scope="module", params=LEVELS)
def level(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def done(level: str, teacher_folder: Path, data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Registered:
    folder = tmp_path_factory.mktemp(level)
    return registered(parameters(level, teacher_folder, data, folder / "registry"), folder / "run")


def test_the_default_run_of_each_level_is_registered_in_staging(level: str, done: Registered) -> None:
    assert (done.pushed.stage, done.pushed.previous) == ("staging", None)
    assert done.verdict["evidence"] == level
    rules = {check["check"] for check in done.verdict["checks"]}
    assert ("largest_drop" in rules) == (level == "labels"), "what is lost is known with labels only"
    assert "minimum_agreement" in rules


def test_every_place_says_what_was_judged_on(level: str, done: Registered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    store = open_objects(done.pushed.location)
    version, evaluation = resolve(store, "desk@staging", signed=False), done.made["evaluation"]
    (row,), facts = summaries(store, "desk"), description(store, version)
    assert (version.evidence, row["evidence"], facts["evidence"]) == (level, level, level)
    places = {
        "report": (evaluation.path / "report.html").read_text(),
        "card": (evaluation.path / "README.md").read_text(),
        "verdict": (done.made["verdict"].path / "verdict.md").read_text(),
        "terminal": " ".join(value for _, value in figures(evaluation)),
        "gate": " ".join(value for _, value in figures(done.made["verdict"])),
    }
    silent = [place for place, text in places.items() if WORDS[level] not in text]
    assert silent == [], places
    assert JUDGED_ON[level] in rendered(versions_table([row]))
    assert f"judged on                   {JUDGED_ON[level]}\n" in description_text(facts)


def test_only_labels_tell_accuracy(level: str, done: Registered) -> None:
    numbers = {name for name in done.metrics if any(part in name for part in ACCURACY)}
    shown = rendered(metrics_table(done.metrics))
    predictions = done.made["evaluation"].path / "predictions.csv"
    assert predictions.exists() == (level != "none")
    if level == "labels":
        assert done.metrics["student_accuracy"] == 1
        assert "Accuracy" in shown
        return
    assert numbers == set()
    assert "accuracy" not in shown.lower()
    if level == "texts":
        with predictions.open() as stream:
            assert list(next(csv.DictReader(stream))) == ["index", "teacher", "student", "student_confidence"]


def test_fidelity_comes_with_its_interval(level: str, done: Registered) -> None:
    name = "predicted_agreement" if level == "none" else "agreement"
    value, low, high = (done.metrics[key] for key in (name, f"{name}_low", f"{name}_high"))
    assert low <= value <= high
    assert low < high
    report, card = ((done.made["evaluation"].path / file).read_text() for file in ("report.html", "README.md"))
    assert f"{100 * value:.1f} % ({100 * low:.1f} % to {100 * high:.1f} %)" in report
    assert f"{value:.4f} ({low:.4f} to {high:.4f})" in card
    version = resolve(open_objects(done.pushed.location), "desk@staging", signed=False)
    assert (version.metrics[name], version.metrics[f"{name}_low"]) == (value, low)


def test_a_second_student_of_the_same_level_is_compared_with_the_first(
    level: str, done: Registered, teacher_folder: Path, data: dict[str, Path], tmp_path: Path
) -> None:
    """The same weights under another recipe: they are no worse."""
    second = parameters(level, teacher_folder, data, Path(done.pushed.location), "seed=1")
    again = registered(second.changed(evaluation=second.evaluation.changed(latency_runs=2)), tmp_path / "run")
    (check,) = [check for check in again.verdict["checks"] if check["check"] == "champion_margin"]
    assert check["passed"]


@pytest.mark.slow
def test_no_texts_do_not_take_the_stage_from_a_version_that_had_some(teacher_folder: Path, data: dict[str, Path], tmp_path: Path) -> None:
    registered(parameters("texts", teacher_folder, data, tmp_path / "registry"), tmp_path / "first")
    run = parameters("none", teacher_folder, data, tmp_path / "registry", "student.layers=1,3", "distillation.steps=2", "gate.minimum_agreement=0")
    made = steps.compress(run, tmp_path / "second")
    verdict = json.loads((steps.judge(run, made["evaluation"].path, tmp_path / "verdict").path / "verdict.json").read_text())
    assert [reason.partition(":")[0] for reason in verdict["reasons"]] == ["champion_margin"]
    assert "was judged on texts and this one on no texts" in verdict["reasons"][0]


@pytest.mark.slow
def test_production_asks_for_texts_unless_the_wanted_file_says_otherwise(level: str, done: Registered, tmp_path: Path) -> None:
    request = Request("desk@staging", "production", "the first one", teacher=done.run.teacher.reference)
    if level == "none":
        with pytest.raises(InputError, match=r"name the fixed texts that decide with --data; evidence: none in models/NAME\.yaml does without"):
            promote(done.run, request, check=True)
    else:
        assert promote(done.run, request, check=True).verdict.passed
    wanted = tmp_path / "desk.yaml"
    wanted.write_text(f"version: '{done.pushed.version}'\nreason: small\nevidence: none\n")
    _, found = read_wanted(wanted)
    assert (found.data, found.evidence) == ("", "none")
    without = done.run.changed(evaluation=done.run.evaluation.changed(data=""))
    checked = promote(without, Request("desk@staging", "production", "small", done.run.teacher.reference, found.evidence), check=True)
    assert (checked.verdict.passed, checked.verdict.evidence) == (True, "none")
    strict = without.changed(gate=without.gate.changed(evidence="labels"))
    rejected = promote(strict, Request("desk@staging", "production", "small", done.run.teacher.reference, found.evidence), check=True)
    assert [reason.partition(":")[0] for reason in rejected.verdict.reasons] == ["evidence"], "the rules of the gate count, whatever the file says"


@pytest.mark.slow
def test_an_export_is_judged_on_texts_without_labels_as_its_student_is(
    teacher_folder: Path, data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = parameters("texts", teacher_folder, data, tmp_path / "registry", "export=int8", "gate.minimum_parity=0", "gate.largest_parity_difference=0")
    made = steps.compress(run, tmp_path / "run")
    assert "24 texts without labels: judged by fidelity" in capsys.readouterr().err
    metrics = json.loads((made["evaluation"].path / "metrics.json").read_text())
    for role in ("export", "teacher_int8"):
        assert metrics[f"{role}_agreement_low"] <= metrics[f"{role}_agreement"] <= metrics[f"{role}_agreement_high"]
        assert f"{role}_accuracy" not in metrics
    found = json.loads((made["export"].path / "export.json").read_text())["parity"]
    assert set(found) == {"pseudo_samples", "unlabelled_text"}
    assert "student_accuracy" not in found["unlabelled_text"]
    assert "24 unlabelled texts" in (made["export"].path / "README.md").read_text()
    with (made["evaluation"].path / "predictions.csv").open() as stream:
        assert list(next(csv.DictReader(stream))) == ["index", "teacher", "student", "student_confidence", "export"]
    verdict = read(steps.judge(run, made["evaluation"].path, tmp_path / "verdict").path, "verdict")
    document = json.loads((verdict.path / "verdict.json").read_text())
    assert document["judged"] == f"{metrics['export_format']} export"
    (check,) = [check for check in document["checks"] if check["check"] == "minimum_agreement"]
    assert check["value"] == metrics["export_agreement"]
