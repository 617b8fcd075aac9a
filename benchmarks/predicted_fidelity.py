"""Whether held-out samples predict how often a student gives its teacher's class on real texts: the constants of src/asdfd/evaluation/prediction.py.

    python benchmarks/predicted_fidelity.py make trec banking77      # students and what they and their teachers say, kept in benchmarks/cache
    python benchmarks/predicted_fidelity.py fit                      # writes results/predicted_fidelity.json and prints the constants

`make` distils students of many qualities of each benchmark teacher (few and more steps, words by the footprint and by general frequency, without class words,
one layer), and asks each on validation texts and on held-out samples of several kinds. `fit` fits the prediction on all data sets and, to see what it is worth
on one that had no part in it, on all but one in turn. No test text is read.

Beside the benchmark's teachers there are quick ones of parts of the same sets (SMALLER): fewer classes or fewer training texts make another teacher.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import arms
import numpy as np
import teachers
import torch

from asdfd.base.config import Run
from asdfd.base.loading import load_run
from asdfd.evaluation.logits import logits_of, predict
from asdfd.method import distillation, synthesis
from asdfd.method.bank import Bank, part_count, write_part
from asdfd.method.class_words import LEARNING, Mixture
from asdfd.method.held_out import held_out_sequences
from asdfd.models.classifiers import Classifier
from asdfd.models.layer_maps import parse_layer_map
from asdfd.models.students import derive_student

RESULTS = Path(__file__).resolve().parent / "results" / "predicted_fidelity.json"
CACHE = teachers.HERE / "cache" / "students"
SAMPLES = 800
"""Held-out samples of each kind."""
TEXTS = 500
"""Most validation texts."""


@dataclass(frozen=True)
class Smaller:
    """A teacher of a part of a data set."""

    dataset: str
    classes: int
    """The first so many classes."""
    rows: int
    """Most training texts."""
    epochs: int


SMALLER: Mapping[str, Smaller] = {
    "banking_12": Smaller("banking77", 12, 10_000, 5),
    "banking_30": Smaller("banking77", 30, 10_000, 5),
    "ag_news_small": Smaller("ag_news", 4, 2500, 3),
    "trec_small": Smaller("trec", 6, 1500, 4),
}


@dataclass(frozen=True)
class Plan:
    """A distillation, and the steps after which a student is taken from it."""

    name: str
    footprint: bool
    steps: int
    taken: tuple[int, ...]
    seed: int = 0
    layers: int = 3
    mixture: Mixture = LEARNING


PLANS = (
    Plan("footprint", True, 200, (60, 120, 200)),
    Plan("zipf", False, 100, (40, 100)),
    Plan("one-layer", True, 40, (40,), layers=1),
    Plan("no-class-words", True, 60, (60,), mixture=Mixture(0.0, 0.0, 0.0)),
)
UNTRAINED = ((0, 1, 2, 3, 5), (0, 1, 3, 4, 5), (0, 2, 3, 4, 5), (0, 1, 3, 5))
"""Layers of the teacher that are students as they are."""
KINDS: Mapping[str, tuple[bool, Mixture]] = {
    "footprint": (True, Mixture(0.0, 0.0, 0.0)),
    "footprint s=.6 b=2": (True, Mixture(1.0, 0.6, 2.0)),
    "footprint s=.8 b=3": (True, Mixture(1.0, 0.8, 3.0)),
    "zipf": (False, Mixture(0.0, 0.0, 0.0)),
    "zipf s=.8 b=3": (False, Mixture(1.0, 0.8, 3.0)),
}
"""Kinds of held-out samples: by the footprint or by general frequency, and how much of them is drawn for a class."""


def read_split(dataset: str, split: str) -> teachers.Texts:
    """Texts of a set, also of a part of one."""
    if dataset not in SMALLER:
        return teachers.read_split(dataset, split)
    part = SMALLER[dataset]
    whole = teachers.read_split(part.dataset, split)
    rows = [row for row, label in enumerate(whole.labels) if label < part.classes]
    if split == "train":
        rows = np.random.default_rng(0).permutation(rows)[: part.rows].tolist()
    return teachers.Texts([whole.texts[row] for row in rows], [whole.labels[row] for row in rows])


def make_teacher(dataset: str) -> None:
    """Fine-tune the teacher of a part of a set, by the benchmark's recipe."""
    out = teachers.CACHE / dataset
    if dataset not in SMALLER or (out / "model.safetensors").exists():
        return
    part, read, names = SMALLER[dataset], teachers.read_split, teachers.DATA
    with tempfile.TemporaryDirectory() as folder:
        labels = json.loads((names / part.dataset / "labels.json").read_text())["names"][: part.classes]
        (Path(folder) / dataset).mkdir()
        (Path(folder) / dataset / "labels.json").write_text(json.dumps({"names": labels}))
        teachers.DATA, teachers.read_split = Path(folder), lambda name, split: _read(read, names, name, split)
        try:
            teachers.train_teacher(dataset, out, part.epochs)
        finally:
            teachers.DATA, teachers.read_split = names, read


def _read(read: Callable[[str, str], teachers.Texts], data: Path, dataset: str, split: str) -> teachers.Texts:
    """Texts of a part of a set while its teacher is trained; its accuracy is told on validation texts."""
    here = teachers.DATA
    teachers.DATA, teachers.read_split = data, read
    try:
        return read_split(dataset, "validation" if split == "test" else split)
    finally:
        teachers.DATA, teachers.read_split = here, lambda name, which: _read(read, data, name, which)


def make_students(dataset: str, plan: Plan) -> None:
    """Distil, and keep the weights of the students that are taken, without the teacher's word table."""
    if all(weights_path(dataset, plan, step).exists() for step in plan.taken):
        return
    teacher = arms.load_teacher_folder(teachers.CACHE / dataset, torch.device("cpu"), base=plan.footprint)
    run, layer_map = parameters(plan), parse_layer_map("every-other", plan.layers, teacher.layers)
    student = derive_student(teacher, layer_map)
    with tempfile.TemporaryDirectory() as folder:
        guesser = synthesis.make_guesser(teacher, run.synthesis, run.seed)
        if guesser.class_words is not None:
            guesser = replace(guesser, class_words=replace(guesser.class_words, mixture=plan.mixture))
        for part in range(part_count(run.synthesis.samples)):
            write_part(Path(folder), part, synthesis.synthesize_part(guesser, part))
        setup = distillation.prepare(teacher, Bank(Path(folder)), layer_map, run.distillation, run.seed)
        state = distillation.start(setup, student)
        hooks = distillation.Hooks(on_record=lambda _: keep(dataset, plan, state) if state.step in plan.taken else None)
        distillation.train(setup, state, Path(folder), hooks)
        keep(dataset, plan, state)


def parameters(plan: Plan) -> Run:
    """The default preset, with fewer steps and as many fewer samples."""
    steps = [f"distillation.steps={plan.steps}", f"synthesis.samples={32 * plan.steps}", "distillation.log_every=20", "distillation.checkpoint_seconds=1e9"]
    return load_run("default", None, [*steps, f"seed={plan.seed}"])


def weights_path(dataset: str, plan: Plan, step: int) -> Path:
    """Where a student's weights are kept."""
    return CACHE / dataset / f"{plan.name}-{step}.pt"


def keep(dataset: str, plan: Plan, state: distillation.State) -> None:
    """Keep a student's weights, without the teacher's table."""
    path = weights_path(dataset, plan, state.step)
    path.parent.mkdir(parents=True, exist_ok=True)
    table = state.student.get_input_embeddings().get_parameter("weight").data_ptr()
    torch.save({name: value.clone() for name, value in state.student.state_dict().items() if value.data_ptr() != table}, path)


def load_student(dataset: str, plan: Plan, step: int, teacher: Classifier) -> Classifier:
    """A student that was kept."""
    student = derive_student(teacher, parse_layer_map("every-other", plan.layers, teacher.layers))
    student.load_state_dict(torch.load(weights_path(dataset, plan, step), weights_only=True), strict=False)
    return replace(teacher, model=student.eval())


def ask(dataset: str) -> None:
    """Keep the logits of a teacher and its students on validation texts and on held-out samples of every kind."""
    texts = read_split(dataset, "validation").texts[:TEXTS]
    by_footprint = {base: arms.load_teacher_folder(teachers.CACHE / dataset, torch.device("cpu"), base=base) for base in (True, False)}
    teacher, config = by_footprint[True], load_run("default").synthesis
    sequences = {kind: held_out_sequences(by_footprint[base], config, SAMPLES, 0, mixture) for kind, (base, mixture) in KINDS.items()}
    length = teachers.maximum_length(SMALLER[dataset].dataset if dataset in SMALLER else dataset)

    def answer(name: str, model: Classifier) -> None:
        path = CACHE / dataset / f"{name}.npz"
        if not path.exists():
            found = {kind: logits_of(model, ids, batch_size=64) for kind, ids in sequences.items()}
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, texts=predict(model, texts, batch_size=64, maximum_length=length), **found)  # pyright: ignore[reportArgumentType]

    answer("teacher", teacher)
    for layer_map in UNTRAINED:
        answer(f"layers-{''.join(map(str, layer_map))}", replace(teacher, model=derive_student(teacher, layer_map).eval()))
    for plan in PLANS:
        for step in plan.taken:
            if weights_path(dataset, plan, step).exists():
                answer(f"{plan.name}-{step}", load_student(dataset, plan, step, teacher))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["make", "ask", "fit"])
    parser.add_argument("datasets", nargs="*")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for dataset in arguments.datasets:
        started = time.perf_counter()
        make_teacher(dataset)
        for plan in PLANS if arguments.stage == "make" else ():
            make_students(dataset, plan)
            print(f"{dataset} {plan.name}: {time.perf_counter() - started:.0f} s", flush=True)
        ask(dataset)
        print(f"{dataset}: asked after {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
