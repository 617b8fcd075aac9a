"""What was judged is what is stored, compared and fetched: an export beside its student. And whether a student is worth it against its teacher's own int8."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from asdfd.base import artifacts
from asdfd.base.config import Gate
from asdfd.base.errors import InputError, RefusedError
from asdfd.base.figures import columns
from asdfd.cli.main import main
from asdfd.registry.evidence import Evidence, read_evidence
from asdfd.registry.gate import judge
from asdfd.registry.publication import judge_evaluation, push
from asdfd.registry.verdict import Check, Verdict
from asdfd.registry.versions import resolve, verify
from asdfd.storage.folder import FolderObjects
from tests.registry.makers import make_folders, make_judged, run_of

WORTH = {"largest_drop": 0.05, "champion_margin": 1.0, "minimum_agreement": 0.0, "minimum_parity": 0.0, "largest_export_drop": 1.0}
ONE_OF_EACH = {
    "teacher_bytes": 91_000_000,
    "teacher_accuracy": 0.95,
    "teacher_int8_bytes": 23_100_000,
    "teacher_int8_accuracy": 0.948,
    "teacher_int8_latency_p50_seconds": 0.0009,
    "teacher_int8_one_thread_latency_p50_seconds": 0.0016,
    "student_bytes": 69_700_000,
    "student_accuracy": 0.91,
    "export_format": "int8",
    "export_bytes": 17_600_000,
    "export_accuracy": 0.91,
    "export_latency_p50_seconds": 0.0009,
    "export_one_thread_latency_p50_seconds": 0.001,
    "export_largest_difference": 0.1,
}


def test_a_version_holds_the_export_that_was_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(str(tmp_path / "registry"))
    folders = make_judged(run, tmp_path / "run", "one", export="int8 of one")
    document = json.loads((folders["verdict"] / "verdict.json").read_text(encoding="utf-8"))
    assert (document["judged"], document["passed"]) == ("int8 export", True)
    assert "int8 export of student" in (folders["verdict"] / "verdict.md").read_text(encoding="utf-8")
    pushed = push(run, folders, {})
    store = FolderObjects(tmp_path / "registry")
    version = resolve(store, "tiny@staging", signed=False)
    verify(store, version)
    assert version.digests["export"] == artifacts.read(folders["export"], "export").digest
    assert {"student/model.safetensors", "export/model.onnx"} < {*version.files}
    assert (version.metrics["export_accuracy"], version.metrics["export_bytes"]) == (1.0, 250)
    assert columns(version.metrics)["accuracy"] == 1.0, "of what was judged"
    words = ["registry", "pull", "tiny@staging", "--registry", str(tmp_path / "registry"), "--out", str(tmp_path / "pulled")]
    assert main(words) == 0
    assert f"the model that was judged is {tmp_path / 'pulled' / 'export'}" in capsys.readouterr().out
    assert (tmp_path / "pulled" / "export" / "model.onnx").read_text(encoding="utf-8") == "int8 of one"
    assert resolve(store, f"tiny@{pushed.version}", signed=False) == version


def test_another_export_of_a_student_is_another_version_and_the_student_alone_keeps_its_own(tmp_path: Path) -> None:
    run = run_of(str(tmp_path / "registry"))
    found = [push(run, make_judged(run, tmp_path / str(number), "one", export=export), {}).version for number, export in enumerate(("", "a", "b", "a"))]
    assert len({*found}) == 3
    assert found[1] == found[3]
    student = artifacts.sha256_of(tmp_path / "0" / "student" / "manifest.json")
    assert found[0] == student[:16]


def test_a_push_without_the_export_that_was_judged_is_refused(tmp_path: Path) -> None:
    run = run_of(str(tmp_path / "registry"))
    folders = make_judged(run, tmp_path / "run", "one", export="a")
    other = make_folders(tmp_path / "other", "one", export="b")
    with pytest.raises(InputError, match=r"was made with an export of the student, which is what was judged; name its folder with --export"):
        push(run, {kind: path for kind, path in folders.items() if kind != "export"}, {})
    assert other.export is not None
    with pytest.raises(InputError, match="was made from another export than"):
        push(run, {**folders, "export": other.export}, {})
    assert not (tmp_path / "registry" / "aliases").exists()


def test_an_export_that_nobody_judged_is_not_stored(tmp_path: Path) -> None:
    run = run_of(str(tmp_path / "registry"))
    unjudged = make_folders(tmp_path / "other", "one", export="a").export
    assert unjudged is not None
    push(run, {**make_judged(run, tmp_path / "run", "one"), "export": unjudged}, {})
    assert "export" not in resolve(FolderObjects(tmp_path / "registry"), "tiny@staging", signed=False).digests


def test_champions_are_compared_by_what_they_serve(tmp_path: Path) -> None:
    """The challenger's student errs often, and its export never: what is served is as good as the champion."""
    run = run_of(str(tmp_path / "registry"), gate={"largest_export_drop": 1.0})
    push(run, make_judged(run, tmp_path / "champion", "one", export="a"), {})
    challenger = make_folders(tmp_path / "challenger", "two", wrong=range(100), export="b")
    verdict = judge_evaluation(run, challenger.evaluation, tmp_path / "verdict").path
    (check,) = [check for check in json.loads((verdict / "verdict.json").read_text(encoding="utf-8"))["checks"] if check["check"] == "champion_margin"]
    assert (check["value"], check["passed"]) == (0.0, True)
    assert [answer for _, answer in read_evidence(challenger.evaluation).answers] == [label for label, _ in read_evidence(challenger.evaluation).answers]
    same = judge_evaluation(run, make_folders(tmp_path / "same", "one", export="c").evaluation, tmp_path / "same-verdict").path
    assert "the same int8" not in (same / "verdict.md").read_text(encoding="utf-8"), "the same student with another export is not the same"


def verdict_on(changes: dict[str, Any] | None = None, **gate: Any) -> Verdict:
    """The verdict on figures that are changed a little."""
    metrics = {name: value for name, value in {"data": {"kind": "labelled_text"}, **ONE_OF_EACH, **(changes or {})}.items() if value is not None}
    return judge(Gate.model_validate({**WORTH, **gate}), Evidence("s", "d", metrics, [], "e", "x"), None)


def worth(verdict: Verdict) -> Check:
    """What the rule says."""
    (check,) = [check for check in verdict.checks if check.check == "worth"]
    return check


def test_a_student_that_does_not_beat_the_teachers_int8_is_warned_of_in_one_sentence() -> None:
    verdict = verdict_on()
    check = worth(verdict)
    assert (verdict.passed, check.passed, check.warning) == (True, True, True)
    assert check.value == pytest.approx(1.6), "on one thread, where that was measured"
    assert verdict.warnings == [
        "worth: the teacher's int8 is the better choice (accuracy 0.9480 against 0.9100): the export is 1.60 times as fast as the teacher's int8 and 1.31 "
        "times smaller, 2 times as fast or 3 times smaller is asked for; register that instead by the same run with --set "
        "student.layers=all, which learns nothing and needs no bank"
    ]
    assert "| worth | 1.6 | 2 | warning |" in verdict.markdown()
    assert verdict.document()["warnings"] == verdict.warnings


def test_it_rejects_where_that_is_wanted_and_says_nothing_where_it_is_not() -> None:
    verdict = verdict_on(worth="reject")
    assert not verdict.passed
    assert verdict.reasons[0].startswith("worth: the teacher's int8 is the better choice")
    assert [check.check for check in verdict_on(worth="ignore").checks if check.check == "worth"] == []


@pytest.mark.parametrize(
    ("changes", "gate"),
    [
        ({"export_one_thread_latency_p50_seconds": 0.0008}, {}),
        ({"export_bytes": 7_700_000}, {}),
        ({}, {"worth_speedup": 1.6}),
        ({}, {"worth_compression": 1.3}),
    ],
)
def test_faster_or_smaller_by_as_much_as_is_asked_for_is_worth_it(changes: dict[str, Any], gate: dict[str, Any]) -> None:
    check = worth(verdict_on(changes, **gate))
    assert (check.passed, check.warning) == (True, False)
    assert re.fullmatch(r"the export is [\d.]+ times as fast as the teacher's int8 and [\d.]+ times smaller", check.reason)


def test_an_int8_teacher_that_the_gate_would_reject_is_no_rival() -> None:
    check = worth(verdict_on({"teacher_int8_accuracy": 0.89}))
    assert (check.passed, check.warning) == (True, False)
    assert "that one loses 0.0600 of the teacher's accuracy, gate.largest_drop allows 0.05, so it is no choice" in check.reason
    check = worth(verdict_on({"teacher_int8_agreement": 0.7}, minimum_agreement=0.8))
    assert "that one agrees with the teacher on 0.7000, gate.minimum_agreement asks for 0.8" in check.reason


def test_the_teachers_int8_itself_is_a_legitimate_answer() -> None:
    check = worth(verdict_on({"export_is_teacher_int8": True}, worth="reject"))
    assert (check.passed, check.warning, check.reason) == (True, False, "the export is the teacher's own int8")


def test_what_was_not_measured_is_told_and_rejects_only_where_the_rule_does() -> None:
    missing = {"teacher_int8_bytes": None, "teacher_int8_missing": "export is none"}
    assert worth(verdict_on(missing)) == Check("worth", None, 2.0, True, "the teacher's int8 was not measured: export is none")
    assert not worth(verdict_on(missing, worth="reject")).passed
    assert [check.check for check in verdict_on({"teacher_int8_bytes": None}).checks if check.check == "worth"] == []


def test_the_verdict_shows_the_table_of_what_can_be_served() -> None:
    table = verdict_on().markdown().partition("\n\n|  |")[2].splitlines()
    assert table[0] == " teacher | teacher int8 | student | student int8 |"
    assert "| Accuracy | 95.0 % | 94.8 % | 91.0 % | 91.0 % |" in table
    assert "| Weights on disk | 91.00 MB | 23.10 MB | 69.70 MB | 17.60 MB |" in table
    assert "| Time of one text on one thread, median | – | 1.6 ms | – | 1 ms |" in table
    alone = judge(Gate.model_validate(WORTH), Evidence("s", "d", {"teacher_bytes": 2, "student_bytes": 1}, [], "e"), None)
    assert "Weights" not in alone.markdown(), "teacher and student alone are compared in the report"


def test_a_rejected_export_is_not_pushed(tmp_path: Path) -> None:
    run = run_of(str(tmp_path / "registry"))
    folders = make_judged(run, tmp_path / "run", "one", export="a", changes={"export_agreement_with_student": 0.5})
    with pytest.raises(RefusedError, match=r"minimum_parity: export_agreement_with_student is 0\.5000, the limit is 0\.9"):
        push(run, folders, {})
