"""The rule `worth`: does a student beat what its teacher gives at once?"""

from __future__ import annotations

from asdfd.base.figures import against_teacher_int8, drawn, limited_by
from asdfd.registry.cases import SMALLEST_DIFFERENCE, Case, number
from asdfd.registry.verdict import Check

INSTEAD = "register that instead by the same run with --set student.layers=all, which learns nothing and needs no bank"


def worth(case: Case) -> Check | None:
    """Does the student beat what its teacher gives at once: its own int8, which needs no data and no distillation?

    It warns by default. The student meets every other rule, so that nothing bad is served; and the ratio of two times moves with whatever else the machine
    does, so that a stage would be moved by chance.
    """
    gate, metrics, name = case.gate, case.evidence.metrics, "worth"
    rivals = against_teacher_int8(metrics)
    if gate.worth == "ignore" or (rivals is None and gate.worth == "warn" and "teacher_int8_missing" not in metrics):
        return None
    if rivals is None:
        why = metrics.get("teacher_int8_missing", "evaluate with --teacher-int8")
        return Check(name, None, gate.worth_speedup, gate.worth == "warn", f"the teacher's int8 was not measured: {why}")
    if rivals.same:
        return Check(name, rivals.faster, gate.worth_speedup, True, "the export is the teacher's own int8")
    student = f"the {case.deployed} is {rivals.faster:.2f} times as fast as the teacher's int8 and {rivals.smaller:.2f} times smaller"
    asked = f"{gate.worth_speedup:g} times as fast or {gate.worth_compression:g} times smaller is asked for"
    if why := _no_choice(case):
        return Check(name, rivals.faster, gate.worth_speedup, True, f"{student}; {why}, so it is no choice")
    if rivals.faster >= gate.worth_speedup or rivals.smaller >= gate.worth_compression:
        return Check(name, rivals.faster, gate.worth_speedup, True, student)
    answers = _answers_of_both(case)
    reason = f"the teacher's int8 is the better choice{answers}: {student}, {asked}; {INSTEAD}"
    return Check(name, rivals.faster, gate.worth_speedup, gate.worth == "warn", reason, warning=gate.worth == "warn")


def _no_choice(case: Case) -> str:
    """Why the teacher's int8 would not pass the gate itself; empty where it would."""
    gate, metrics = case.gate, case.evidence.metrics
    teacher, int8 = (number(metrics, f"{role}_accuracy") for role in ("teacher", "teacher_int8"))
    if teacher is not None and int8 is not None and teacher - int8 > gate.largest_drop + SMALLEST_DIFFERENCE:
        return f"that one loses {teacher - int8:.4f} of the teacher's accuracy, gate.largest_drop allows {gate.largest_drop:g}"
    limited = limited_by("minimum_agreement", metrics)
    agreement = None if limited is None else number(metrics, limited.of_role("teacher_int8"))
    if agreement is not None and agreement < gate.minimum_agreement - SMALLEST_DIFFERENCE:
        return f"that one agrees with the teacher on {agreement:.4f}, gate.minimum_agreement asks for {gate.minimum_agreement:g}"
    return ""


def _answers_of_both(case: Case) -> str:
    """How well the teacher's int8 and what is judged do, as a part of a sentence."""
    figure, _ = drawn(case.evidence.metrics)
    int8, judged = (number(case.evidence.metrics, figure.of_role(role)) for role in ("teacher_int8", case.deployed))
    return "" if int8 is None or judged is None else f" ({figure.name.replace('_', ' ')} {int8:.4f} against {judged:.4f})"
