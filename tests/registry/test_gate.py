"""Every rule of the gate, at its limit, and all that cannot be judged."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asdfd.base.config import Gate
from asdfd.registry.champion import bootstrap_interval
from asdfd.registry.evidence import Champion, Evidence, read_evidence
from asdfd.registry.gate import judge
from asdfd.registry.publication import judge_evaluation, push
from asdfd.registry.verdict import Check
from tests.registry.makers import make_folders, make_judged, run_of

LOOSE = {"largest_drop": 1.0, "champion_margin": 1.0, "minimum_agreement": 0.0}
"""Gate settings that switch every rule off that is on by default."""

LABELLED, UNLABELLED = ({"kind": kind, "rows": 400, "name": "texts.csv"} for kind in ("labelled_text", "unlabelled_text"))
NO_TEXTS = {"kind": "pseudo_samples", "rows": 1024}


def evidence_of(wrong: Sequence[int] = (), rows: int = 400, student: str = "s", data: str = "d", **metrics: Any) -> Evidence:
    errors = set(wrong)
    known = {"data": LABELLED, "teacher_accuracy": 0.9, "student_accuracy": 0.88, "agreement": 0.85, "student_bytes": 1000, "student_latency_p50_seconds": 0.01}
    return Evidence(student, data, {**known, **metrics}, [("a", "b" if row in errors else "a") for row in range(rows)], "e")


def only(evidence: Evidence, champion: Champion | None = None, /, **rules: Any) -> Check:
    """The check of the one rule that is switched on."""
    verdict = judge(Gate.model_validate({**LOOSE, **rules}), evidence, champion)
    (check,) = verdict.checks
    assert verdict.passed == check.passed
    return check


@pytest.mark.parametrize(
    ("rule", "met", "missed"),
    [
        ("minimum_accuracy", 0.88, 0.8801),
        ("largest_drop", 0.02, 0.0199),
        ("minimum_agreement", 0.85, 0.8501),
        ("largest_bytes", 1000, 999),
        ("largest_latency_seconds", 0.01, 0.0099),
    ],
)
def test_a_rule_is_met_up_to_its_limit(rule: str, met: float, missed: float) -> None:
    assert only(evidence_of(), **{rule: met}).passed
    check = only(evidence_of(), **{rule: missed})
    assert not check.passed
    assert (check.check, check.limit) == (rule, missed)
    assert f"the limit is {missed:g}" in check.reason


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "0.9", True])
@pytest.mark.parametrize(
    ("rule", "limit", "metric"),
    [
        ("minimum_accuracy", 0.5, "student_accuracy"),
        ("largest_drop", 0.5, "teacher_accuracy"),
        ("largest_drop", 0.5, "student_accuracy"),
        ("minimum_agreement", 0.5, "agreement"),
        ("largest_bytes", 10**9, "student_bytes"),
        ("largest_latency_seconds", 9.0, "student_latency_p50_seconds"),
    ],
)
def test_what_is_no_finite_number_rejects(rule: str, limit: float, metric: str, value: Any) -> None:
    check = only(evidence_of(**{metric: value}), **{rule: limit})
    assert (check.passed, check.value, check.reason) == (False, None, f"{metric} is not a finite number; evaluate again")


def test_a_missing_metric_rejects_and_says_what_to_do() -> None:
    labelled = Evidence("s", "d", {"data": LABELLED}, [], "e")
    assert only(labelled, minimum_accuracy=0.5).reason == "student_accuracy is missing from the evaluation; evaluate again"
    for evidence, had in ((unlabelled(), "no labels"), (without_texts(), "no labelled texts"), (Evidence("s", "", {}, [], "e"), "no labelled texts")):
        check = only(evidence, minimum_accuracy=0.5)
        assert not check.passed
        assert check.reason == f"student_accuracy is missing: the evaluation had {had}; name labelled texts with evaluation.data, or switch the rule off"


def unlabelled(agreed: Sequence[int] = range(400), student: str = "s", **metrics: Any) -> Evidence:
    """An evaluation on texts without labels, whose teacher always answers `a`."""
    figures = {"data": UNLABELLED, "agreement": 0.85, "agreement_low": 0.82, "agreement_high": 0.88, "student_bytes": 1000, **metrics}
    return Evidence(student, "d", figures, [("a", "a" if row in set(agreed) else "b") for row in range(400)], "e")


def without_texts(predicted: float = 0.85, student: str = "s", **metrics: Any) -> Evidence:
    """An evaluation on held-out pseudo samples."""
    figures = {"predicted_agreement": predicted, "predicted_agreement_low": predicted - 0.06, "predicted_agreement_high": predicted + 0.04}
    return Evidence(student, "", {"data": NO_TEXTS, "agreement_on_pseudo_samples": 0.5, **figures, **metrics}, [], "e")


@pytest.mark.parametrize(("evidence", "metric"), [(unlabelled(), "agreement"), (without_texts(), "predicted_agreement")], ids=["texts", "no texts"])
def test_without_labels_the_default_rules_judge_fidelity_alone(evidence: Evidence, metric: str) -> None:
    verdict = judge(Gate(), evidence, None)
    assert verdict.passed
    (check,) = verdict.checks
    assert (check.check, check.value) == ("minimum_agreement", 0.85), "what a student loses is not known, so no rule asks for it"
    assert check.reason.startswith(f"{metric} is 0.8500, 90% interval")
    rejected = judge(Gate(minimum_agreement=0.86), evidence, None)
    assert [reason.partition(":")[0] for reason in rejected.reasons] == ["minimum_agreement"]
    assert f"{metric} is 0.8500" in rejected.reasons[0]
    assert "the limit is 0.86" in rejected.reasons[0]


def test_a_limit_that_the_interval_does_not_clear_is_a_warning_without_labels() -> None:
    assert judge(Gate(minimum_agreement=0.82), unlabelled(), None).warnings == []
    verdict = judge(Gate(minimum_agreement=0.83), unlabelled(), None)
    assert verdict.passed
    assert verdict.warnings == [
        "minimum_agreement: agreement is 0.8500, 90% interval 0.8200 to 0.8800: less than 0.83 cannot be ruled out",
    ]
    labelled = evidence_of(agreement_low=0.1, agreement_high=0.9)
    assert judge(Gate(minimum_agreement=0.83), labelled, None).warnings == [], "there accuracy judges"


def test_what_is_not_predicted_is_judged_on_pseudo_samples_themselves() -> None:
    uncalibrated = Evidence("s", "", {"data": NO_TEXTS, "predicted_agreement_missing": "pairs", "agreement_on_pseudo_samples": 0.9}, [], "e")
    check = only(uncalibrated, minimum_agreement=0.9)
    assert (check.passed, check.reason) == (True, "agreement_on_pseudo_samples is 0.9000")


@pytest.mark.parametrize("evidence", [without_texts(), unlabelled(), evidence_of()], ids=["none", "texts", "labels"])
@pytest.mark.parametrize("asked", ["texts", "labels"])
def test_more_evidence_can_be_asked_for(evidence: Evidence, asked: str) -> None:
    levels = ("none", "texts", "labels")
    check = only(evidence, evidence=asked)
    assert check.passed == (levels.index(evidence.level) >= levels.index(asked))
    if not check.passed:
        assert check.reason.endswith("are asked for; name some with --data")


def test_the_verdict_says_what_it_rests_on() -> None:
    for evidence, level, words in (
        (evidence_of(), "labels", "Judged on 400 labelled texts."),
        (unlabelled(), "texts", "Judged on 400 texts without labels, by fidelity to the teacher: "),
        (without_texts(), "none", "Judged without texts: fidelity to the teacher on real texts is predicted from 1,024 held-out pseudo samples"),
    ):
        verdict = judge(Gate(), evidence, None)
        assert verdict.document()["evidence"] == verdict.evidence == level
        assert verdict.document()["statement"].startswith(words)
        assert f"\n\n{verdict.statement}\n\n" in verdict.markdown()


def test_on_texts_without_labels_each_is_compared_with_its_own_teacher() -> None:
    holder = Champion("0123456789abcdef", "champion", unlabelled(range(390), "champion"))
    assert only(unlabelled(range(390)), holder, champion_margin=0.0).passed
    worse = only(unlabelled(range(350)), holder, champion_margin=0.01)
    assert not worse.passed
    assert "agreement with the teacher differs by -0.1000 from version 0123456789abcdef" in worse.reason
    other_teacher = Evidence("champion", "d", {"data": UNLABELLED}, [("c", "c" if row < 390 else "b") for row in range(400)], "e")
    assert only(unlabelled(range(390)), Champion("v", "champion", other_teacher), champion_margin=0.0).passed


def test_without_texts_predicted_agreements_are_compared() -> None:
    holder = Champion("0123456789abcdef", "champion", without_texts(0.87, "champion"))
    assert only(without_texts(0.86), holder, champion_margin=0.01).passed
    worse = only(without_texts(0.85), holder, champion_margin=0.01)
    assert not worse.passed
    assert worse.reason.startswith("predicted_agreement differs by -0.0200 from version 0123456789abcdef, 0.8500 against 0.8700; improve the student")
    assert "is missing from this evaluation" in only(without_texts(predicted_agreement=None), holder, champion_margin=0.01).reason


@pytest.mark.parametrize("theirs", [evidence_of(student="champion"), unlabelled(student="champion"), None], ids=["labels", "texts", "not readable"])
def test_no_texts_never_replace_a_version_that_was_judged_on_some(theirs: Evidence | None) -> None:
    check = only(without_texts(0.99), Champion("v", "champion", theirs), champion_margin=0.5)
    assert not check.passed
    assert check.reason.startswith("version v was judged on texts and this one on no texts; name the texts with evaluation.data")


def test_the_class_with_the_lowest_recall_decides() -> None:
    classes = [
        {"name": "a", "support": 5, "student_recall": 0.9},
        {"name": "b", "support": 5, "student_recall": 0.6},
        {"name": "c", "support": 0, "student_recall": 0.0},
    ]
    assert only(evidence_of(per_class=classes), minimum_class_recall=0.6).passed
    check = only(evidence_of(per_class=classes), minimum_class_recall=0.61)
    assert (check.passed, check.value, check.reason) == (False, 0.6, "class 'b' has the lowest recall, 0.6000, the limit is 0.61")
    classes[0]["student_recall"] = math.nan
    assert "student_recall of class 'a' is missing or not finite" in only(evidence_of(per_class=classes), minimum_class_recall=0.1).reason
    assert not only(evidence_of(), minimum_class_recall=0.1).passed


def test_the_interval_is_that_of_a_bootstrap_over_pairs() -> None:
    draw = np.random.default_rng(3)
    differences = draw.choice([-1, 0, 1], size=300, p=[0.08, 0.88, 0.04])
    means = np.array([draw.choice(differences, size=300).mean() for _ in range(4000)])
    expected = np.quantile(means, [0.05, 0.95])
    assert bootstrap_interval(differences.tolist(), 0.9) == pytest.approx(tuple(expected), abs=0.004)
    assert bootstrap_interval([0] * 50, 0.95) == (0.0, 0.0)
    assert bootstrap_interval([-1] * 50, 0.95) == (-1.0, -1.0)
    wide, narrow = bootstrap_interval(differences.tolist(), 0.99), bootstrap_interval(differences.tolist(), 0.5)
    assert wide[0] < narrow[0] < differences.mean() < narrow[1] < wide[1]


def champion(wrong: Sequence[int] = (), **more: Any) -> Champion:
    return Champion("0123456789abcdef", "champion", evidence_of(wrong, student="champion", **more))


def test_not_worse_than_the_champion_has_to_be_shown() -> None:
    assert only(evidence_of(), champion(range(5)), champion_margin=0.0).passed
    worse = only(evidence_of(range(20)), champion(), champion_margin=0.01)
    assert not worse.passed
    assert "accuracy differs by -0.0500 from version 0123456789abcdef" in worse.reason
    assert worse.value is not None
    assert worse.value < -0.05 < -0.01
    assert only(evidence_of(range(20)), champion(), champion_margin=0.08).passed
    swapped = only(evidence_of(range(20)), champion(range(20, 40)), champion_margin=0.01)  # equal in number, wrong on other texts
    assert not swapped.passed
    assert "cannot be ruled out on 400 texts" in swapped.reason
    many = only(evidence_of(range(20), rows=40_000), champion(range(20, 40), rows=40_000), champion_margin=0.01)
    assert many.passed


def test_other_data_than_the_champions_rejects() -> None:
    assert "was not evaluated on this data" in only(evidence_of(data="e"), champion(), champion_margin=0.5).reason
    assert "was not evaluated on this data" in only(evidence_of(), Champion("v", "c", None), champion_margin=0.5).reason
    assert "400 predictions cannot be compared with 399" in only(evidence_of(), champion(rows=399), champion_margin=0.5).reason
    other = Evidence("champion", "d", {"data": LABELLED}, [("b", "b")] * 400, "e")
    assert "the labels are not those" in only(evidence_of(), Champion("v", "c", other), champion_margin=0.5).reason
    assert only(evidence_of(), Champion("v", "c", None, "its files are gone"), champion_margin=0.5).reason.startswith("its files are gone; roll the stage back")


def test_the_champion_itself_is_not_worse_than_itself() -> None:
    assert only(evidence_of(student="champion", data="other"), champion(), champion_margin=0.0).passed


def test_a_rule_that_is_not_known_rejects() -> None:
    class GateOfTomorrow(Gate):
        largest_energy: float = 1.0
        """A rule that this version does not have."""

    verdict = judge(GateOfTomorrow.model_validate(LOOSE), evidence_of(), None)
    assert verdict.reasons == ["largest_energy: this version of asdfd does not know the rule; update asdfd or remove the rule"]


def test_every_rule_of_the_parameters_is_judged() -> None:
    lowest = dict.fromkeys(("minimum_accuracy", "minimum_macro_f1", "minimum_micro_f1", "minimum_class_recall"), 0.1)
    on = {**lowest, "evidence": "labels", "largest_bytes": 1, "largest_latency_seconds": 1.0}
    evidence = evidence_of(per_class=[], export_format="int8", export_bytes=250, teacher_int8_missing="it cannot be exported")
    verdict = judge(Gate.model_validate(on), evidence, champion())
    assert {check.check for check in verdict.checks} == set(Gate.model_fields) - {"confidence_level", "worth_speedup", "worth_compression"}


def test_the_verdict_is_json_and_a_table_that_holds_any_name(tmp_path: Path) -> None:
    classes = [{"name": "a|b\n<script>", "support": 5, "student_recall": 0.2}]
    folders = make_folders(tmp_path, "one", changes={"per_class": classes, "student_bytes": 20_000})
    run = run_of(str(tmp_path / "registry"), gate={"minimum_class_recall": 0.5, "largest_bytes": 1_000_000})
    artifact = judge_evaluation(run, folders.evaluation, tmp_path / "verdict")
    document = json.loads((artifact.path / "verdict.json").read_text())
    assert document["passed"] is False
    assert document["champion"] is None
    assert document["student"] == read_evidence(folders.evaluation).student
    assert [reason.partition(":")[0] for reason in document["reasons"]] == ["minimum_class_recall"]
    table = (artifact.path / "verdict.md").read_text()
    assert table.startswith("**Rejected**: student `")
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert table.splitlines()[2] == "Judged on 400 labelled texts."
    assert len(rows) == 2 + len(document["checks"])
    assert all(row.replace("\\|", "").count("|") == 6 for row in rows)
    assert "<script>" not in table
    assert "| largest_bytes | 20,000 | 1,000,000 | yes |" in table
    assert judge_evaluation(run, folders.evaluation, tmp_path / "verdict").digest == artifact.digest


def test_a_champion_whose_files_are_gone_rejects_and_says_so(tmp_path: Path) -> None:
    run = run_of(str(tmp_path / "registry"))
    pushed = push(run, make_judged(run, tmp_path / "one", "one"), {})
    (tmp_path / "registry" / "models" / "tiny" / "versions" / pushed.version / "manifest.json").unlink()
    folders = make_folders(tmp_path / "two", "two")
    document = json.loads((judge_evaluation(run, folders.evaluation, tmp_path / "verdict").path / "verdict.json").read_text())
    assert document["passed"] is False
    assert f"tiny@{pushed.version}: is not in" in document["reasons"][0]
