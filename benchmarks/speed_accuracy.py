"""Part (a) of speed.py: time to the same final accuracy, the preset `default` against the loop of straightforward.py.

asdfd makes its bank and trains for a fixed number of steps; the accuracy A of its last student and the time t until then are what the other has to beat. The
straightforward loop gets ten times t for one complete run with a learning-rate schedule of its own, and is looked at along the way: the first look at which it
has reached A counts, even if it falls behind again, which favours it. Time is processor time of one thread, so other work on the machine does not lengthen it;
loading the teacher and measuring accuracies are not counted for either.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import arms
import straightforward
import teachers
import torch
from measuring import Stopwatch, circumstances
from torch import nn

from asdfd.method import distillation
from asdfd.models.layer_maps import parse_layer_map
from asdfd.models.students import derive_student

LOOKS = 10


def time_to_accuracy(dataset: str, steps: int, budget: float) -> dict[str, Any]:
    """Both ways on one data set, the straightforward one for `budget` times asdfd's processor time."""
    teacher = arms.load_teacher_folder(teachers.CACHE / dataset, torch.device("cpu"))
    texts = arms.sample(teachers.read_split(dataset, "test"))

    def accuracy(student: nn.Module) -> float:
        return round(teachers.accuracy(student, teacher.tokenizer, texts), 5)

    ours = asdfd_run(dataset, steps, accuracy)
    print(f"{dataset} asdfd: {ours['final_accuracy']:.4f} after {ours['processor_seconds']:.0f} s of processor time", flush=True)

    def told(student: nn.Module) -> float:
        found = accuracy(student)
        print(f"{dataset} straightforward: {found:.4f}", flush=True)
        return found

    layers = parse_layer_map(arms.LAYERS, arms.STUDENT_LAYERS, teacher.layers)
    looks = straightforward.distil(teachers.CACHE / dataset, layers, budget * ours["processor_seconds"], LOOKS, told, enough=ours["final_accuracy"])
    return {"dataset": dataset, "budget": budget, "asdfd": ours, "straightforward": [asdict(look) for look in looks], **verdict(ours, looks), **circumstances()}


def asdfd_run(dataset: str, steps: int, accuracy: Callable[[nn.Module], float]) -> dict[str, Any]:
    """The benchmark's arm `default` at so many steps: final accuracy, and seconds of synthesis and distillation together."""
    task = arms.Task(dataset, "default", 0, steps, 1)
    run = arms.parameters(task)
    teacher = arms.load_teacher_folder(teachers.CACHE / dataset, torch.device("cpu"))
    layer_map = parse_layer_map(run.student.layers, run.student.count, teacher.layers)
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder, watch.running():
        bank = arms.make_bank(task, run, teacher, Path(folder))
        setup = distillation.prepare(teacher, bank, layer_map, run.distillation, run.seed)
        state = distillation.start(setup, derive_student(teacher, layer_map))
        distillation.train(setup, state, Path(folder), distillation.Hooks())
    times = {"processor_seconds": round(watch.processor, 2), "wall_seconds": round(watch.wall, 2)}
    return {"steps": steps, "samples": run.synthesis.samples, "final_accuracy": accuracy(state.student), **times}


def verdict(ours: dict[str, Any], looks: list[straightforward.Look]) -> dict[str, Any]:
    """When the straightforward loop first reached asdfd's final accuracy: seconds and how many times asdfd's, both None where it did not within its budget."""
    reached = next((look for look in looks if look.accuracy >= ours["final_accuracy"]), None)
    seconds = None if reached is None else round(reached.seconds, 2)
    return {"reached_after_seconds": seconds, "times_as_long": None if seconds is None else round(seconds / ours["processor_seconds"], 2)}
