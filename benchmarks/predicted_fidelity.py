"""Whether held-out samples predict how often a student gives its teacher's class on real texts: the constants of src/asdfd/evaluation/prediction.py.

    python benchmarks/predicted_fidelity.py make trec banking77      # students and what they and their teachers say, kept in benchmarks/cache
    python benchmarks/predicted_fidelity.py fit                      # writes results/predicted_fidelity.json and prints the constants

`make` distils students of many qualities of each benchmark teacher (few and more steps, words by the footprint and by general frequency, without class words,
one layer), and asks each on validation texts and on held-out samples of several kinds. `fit` fits the prediction on all data sets and, to see what it is worth
on one that had no part in it, on all but one in turn. No test text is read.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import arms
import numpy as np
import teachers
import torch

from asdfd.base.config import Run, Synthesis
from asdfd.base.evidence import INTERVAL
from asdfd.base.loading import load_run
from asdfd.evaluation.logits import logits_of, predict
from asdfd.evaluation.prediction import SMALLEST, sigmoid
from asdfd.evaluation.scores import mean_kl
from asdfd.method import distillation, synthesis
from asdfd.method.bank import Bank, part_count, write_part
from asdfd.method.class_words import LEARNING, Mixture, class_words_of
from asdfd.method.held_out import OF_ONE_LENGTH, held_out_seed
from asdfd.models.classifiers import Classifier
from asdfd.models.encoding import Encoded
from asdfd.models.layer_maps import parse_layer_map
from asdfd.models.students import derive_student

RESULTS = Path(__file__).resolve().parent / "results" / "predicted_fidelity.json"
CACHE = teachers.HERE / "cache" / "students"
TAKEN = "divergence, zipf s=.8 b=3"
"""What the product predicts from; chosen on these data sets, since it is the best of one figure."""
USABLE = 0.6
"""Agreement below which nobody would serve a student."""
SAMPLES = 800
"""Held-out samples of each kind."""
TEXTS = 500
"""Most validation texts."""


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
KINDS: Mapping[str, tuple[bool, Mixture]] = {
    "footprint": (True, Mixture(0.0, 0.0, 0.0)),
    "footprint s=.6 b=2": (True, Mixture(1.0, 0.6, 2.0)),
    "footprint s=.8 b=3": (True, Mixture(1.0, 0.8, 3.0)),
    "zipf": (False, Mixture(0.0, 0.0, 0.0)),
    "zipf s=.8 b=3": (False, Mixture(1.0, 0.8, 3.0)),
}
"""Kinds of held-out samples: by the footprint or by general frequency, and how much of them is drawn for a class."""


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
    texts = teachers.read_split(dataset, "validation").texts[:TEXTS]
    teacher = arms.load_teacher_folder(teachers.CACHE / dataset, torch.device("cpu"), base=True)
    sequences = {kind: drawn(teacher if base else replace(teacher, footprint=None), mixture) for kind, (base, mixture) in KINDS.items()}
    length = teachers.maximum_length(dataset)

    def answer(name: str, model: Classifier) -> None:
        path = CACHE / dataset / f"{name}.npz"
        if not path.exists():
            found = {kind: logits_of(model, ids, batch_size=64) for kind, ids in sequences.items()}
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, texts=predict(model, texts, batch_size=64, maximum_length=length), **found)  # pyright: ignore[reportArgumentType]

    answer("teacher", teacher)
    for plan in PLANS:
        for step in plan.taken:
            if weights_path(dataset, plan, step).exists():
                answer(f"{plan.name}-{step}", load_student(dataset, plan, step, teacher))


def drawn(teacher: Classifier, mixture: Mixture) -> list[Encoded]:
    """Held-out samples as the product draws them, of another mixture, and by the footprint where the teacher comes with one."""
    guesser = synthesis.make_guesser(teacher, Synthesis(samples=SAMPLES), held_out_seed(0))
    guesser = replace(guesser, class_words=class_words_of(teacher, guesser.frame, guesser.prior, mixture))
    groups = [synthesis.draw_group(guesser, start // OF_ONE_LENGTH, synthesis.GROUP) for start in range(0, SAMPLES, OF_ONE_LENGTH)]
    return [guesser.frame.sequence(tokens) for group in groups for tokens in group.content[:OF_ONE_LENGTH].tolist()]


@dataclass(frozen=True)
class Measured:
    """What one student shows."""

    dataset: str
    student: str
    agreement: float
    """On validation texts."""
    texts: int
    agreements: Mapping[str, float]
    """On held-out samples of each kind."""
    divergences: Mapping[str, float]
    """Mean KL there, in nats."""


def measured() -> list[Measured]:
    """All students that were asked."""
    found = []
    for folder in sorted(CACHE.iterdir()):
        if not (folder / "teacher.npz").exists():
            continue
        with np.load(folder / "teacher.npz") as file:
            teacher = {kind: file[kind] for kind in ("texts", *KINDS)}
        for plan in PLANS:
            for path in (folder / f"{plan.name}-{step}.npz" for step in plan.taken):
                if not path.exists():
                    continue
                with np.load(path) as file:
                    student = {kind: file[kind] for kind in teacher}
                agreements = {kind: float((student[kind].argmax(1) == teacher[kind].argmax(1)).mean()) for kind in teacher}
                kl = {kind: mean_kl(teacher[kind], student[kind]) for kind in KINDS}
                found.append(Measured(folder.name, path.stem, agreements.pop("texts"), len(teacher["texts"]), agreements, kl))
    return found


Feature = Callable[[Measured], float]


def truth(one: Measured) -> float:
    """The logit of what is to be predicted; half a text on both sides keeps it finite."""
    return math.log((one.agreement * one.texts + 0.5) / ((1 - one.agreement) * one.texts + 0.5))


def line(rows: Sequence[Measured], feature: Feature) -> tuple[float, float]:
    """Constant and slope by least squares, every data set with the same weight."""
    weights = np.array([1 / sum(other.dataset == one.dataset for other in rows) for one in rows]) ** 0.5
    columns = np.array([[1.0, feature(one)] for one in rows])
    constant, slope = np.linalg.lstsq(columns * weights[:, None], np.array([truth(one) for one in rows]) * weights, rcond=None)[0]
    return float(constant), float(slope)


def left_out(rows: Sequence[Measured], feature: Feature) -> list[float]:
    """How far each student is off the line of the other data sets, in logits."""
    lines = {name: line([one for one in rows if one.dataset != name], feature) for name in {one.dataset for one in rows}}
    return [truth(one) - lines[one.dataset][0] - lines[one.dataset][1] * feature(one) for one in rows]


def reach(residuals: Sequence[float]) -> float:
    """The distance that nine of ten residuals do not exceed, of as many as there are and one more (the quantile of conformal prediction)."""
    ordered = sorted(map(abs, residuals))
    return ordered[min(len(ordered) - 1, math.ceil(INTERVAL * (len(ordered) + 1)) - 1)]


def worth(rows: Sequence[Measured], feature: Feature) -> dict[str, Any]:
    """What predictions of data sets that had no part in the line are worth; the interval of each has its reach from the others, too."""
    residuals, errors, held = left_out(rows, feature), [], []
    for one, residual in zip(rows, residuals, strict=True):
        errors.append(sigmoid(truth(one) - residual) - one.agreement)
        others = [other for other in rows if other.dataset != one.dataset]
        held.append(abs(residual) <= reach(left_out(others, feature)))
    by_set = {
        name: round(float(np.mean([abs(error) for error, one in zip(errors, rows, strict=True) if one.dataset == name])), 4)
        for name in {one.dataset for one in rows}
    }
    return {
        "mean_error": round(float(np.mean(np.abs(errors))), 4),
        "largest_error": round(float(np.max(np.abs(errors))), 4),
        "coverage": round(float(np.mean(held)), 4),
        "reach": round(reach(residuals), 3),
        "mean_error_by_data_set": dict(sorted(by_set.items())),
    }


def fit() -> None:
    """Write the constants, what they are worth, and what other kinds of samples would be."""
    rows = measured()
    features: dict[str, Feature] = {}
    for kind in KINDS:
        features[f"divergence, {kind}"] = lambda one, kind=kind: math.log(one.divergences[kind] + SMALLEST)
        features[f"agreement, {kind}"] = lambda one, kind=kind: math.log((one.agreements[kind] * SAMPLES + 0.5) / ((1 - one.agreements[kind]) * SAMPLES + 0.5))
    constant, slope = line(rows, features[TAKEN])
    usable = [one for one in rows if one.agreement >= USABLE]
    found = {"constant": round(constant, 3), "slope": round(slope, 3), "reach": round(reach(left_out(rows, features[TAKEN])), 2)}
    document = {
        "calibration": found,
        "from": TAKEN,
        "left_out": worth(rows, features[TAKEN]),
        f"left_out_of_students_that_agree_on_{USABLE}_at_least": worth(usable, features[TAKEN]),
        "other_kinds": {name: worth(rows, feature) for name, feature in features.items() if name != TAKEN},
        "students": [asdict(one) for one in rows],
    }
    RESULTS.write_text(json.dumps(document, indent=1) + "\n")
    for name in ("calibration", "left_out", f"left_out_of_students_that_agree_on_{USABLE}_at_least"):
        print(name, document[name])
    for name, one in document["other_kinds"].items():
        print(f"{name}: {one['mean_error']:.4f}, coverage {one['coverage']:.2f}, reach {one['reach']:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["make", "ask", "fit"])
    parser.add_argument("datasets", nargs="*")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.stage == "fit":
        fit()
    for dataset in arguments.datasets:
        started = time.perf_counter()
        for plan in PLANS if arguments.stage == "make" else ():
            make_students(dataset, plan)
            print(f"{dataset} {plan.name}: {time.perf_counter() - started:.0f} s", flush=True)
        ask(dataset)
        print(f"{dataset}: asked after {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
