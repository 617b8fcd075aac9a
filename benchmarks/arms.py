"""Every arm of the method on every data set: same teacher, student, steps and schedule; the final accuracy is reported, never the best seen.

    python benchmarks/arms.py                                  # what is missing in results/arms.json; one seed of all, three of trec and ag_news
    python benchmarks/arms.py --datasets trec --arms default --seeds 0 --steps 200 --results /tmp/try.json

Arms: init-only (the student as derived), gaussian / uniform-tokens / zipf-tokens (random inputs labelled by the teacher), asdfd (preset `paper`, the
reconstruction), default (preset `default`), footprint (the same, with the teacher's public encoder named), with-data (the same student distilled on the real
training texts: the ceiling); and what needs no distillation: teacher-int8 (the teacher itself, quantized) and static (the mean of its word
vectors with a linear head that is fitted on the bank of `footprint`). These are not data-free: oracle-unigram (`footprint` with the true counts of words and
lengths in the training texts, a bound) and two declared sources of word order, each with preset `default`: prior-text (public English, see public_text.py)
and prior-model (a public masked language model with the teacher's tokenizer, in the folder that --prior-model names; left out without it).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import teachers
import torch
import transformers
from alternatives import int8_teacher, static_model
from public_text import CACHE as PUBLIC_TEXT
from public_text import public_text
from transformers import PreTrainedConfig, PreTrainedModel

from asdfd.base.config import Run
from asdfd.base.loading import load_run
from asdfd.method import distillation
from asdfd.method.bank import PART, Bank, Entries, part_count, write_part
from asdfd.method.class_words import class_words_of
from asdfd.method.lengths import Lengths
from asdfd.method.narrowing import narrow_student
from asdfd.method.prior import VocabularyPrior, frame_of, vocabulary_prior
from asdfd.method.synthesis import make_guesser, synthesize_part, synthesize_parts
from asdfd.method.word_order import BLOCKS, SWEEPS
from asdfd.models.classifiers import Classifier, load_teacher
from asdfd.models.fetching import fetch
from asdfd.models.layer_maps import parse_layer_map
from asdfd.models.students import derive_student

RESULTS = Path(__file__).resolve().parent / "results" / "arms.json"
PLAIN = ("distillation.forced_share=0", "distillation.learning_rate=4e-4", "distillation.hidden_weight=4")
"""The student's whole chain from the first step, as the preset `paper` has it too."""
ARMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "init-only": ("default", PLAIN),
    "gaussian": ("default", (*PLAIN, "synthesis.initial=gaussian")),
    "uniform-tokens": ("default", (*PLAIN, "synthesis.prior=uniform")),
    "zipf-tokens": ("default", (*PLAIN, "synthesis.prior=zipf")),
    "asdfd": ("paper", ()),
    "default": ("default", ()),
    "replacement": ("guessing", ()),
    "footprint": ("default", ()),
    "oracle-unigram": ("default", ()),
    "with-data": ("default", ()),
    "teacher-int8": ("default", ()),
    "static": ("default", ()),
    "prior-text": ("default", (f"synthesis.prior_text={PUBLIC_TEXT}",)),
    "prior-model": ("default", ()),
}
"""Preset and changes of each arm."""
WITH_BASE = ("footprint", "oracle-unigram", "static")
"""Arms whose teacher comes with its footprint."""
INSTEAD = ("teacher-int8", "static")
"""Arms that are no student: they have no steps."""
STATIC_STEPS = 200
"""Steps whose bank the static model's head is fitted on."""
LAYERS = "every-other"
STUDENT_LAYERS = 3
TEST_ROWS = 2000
"""Most test rows that an accuracy is measured on (a fixed draw), so that AG News does not take most of the time."""


@dataclass(frozen=True)
class Task:
    """One run of one arm."""

    dataset: str
    arm: str
    seed: int
    steps: int
    threads: int
    prior_model: str = ""
    """Folder of the masked language model of the arm `prior-model`."""


@dataclass(frozen=True)
class Record:
    """What one run gave."""

    dataset: str
    arm: str
    seed: int
    student_layers: int
    student_steps: int
    final_accuracy: float
    teacher_accuracy: float
    seconds: float
    flops: float
    """Floating-point operations of synthesis and distillation, counted from the matrix products."""
    device: str


def parameters(task: Task, changes: Iterable[str] = ()) -> Run:
    """The run's parameters: the arm's preset with the benchmark's number of steps; a random arm sees a new sample in every step."""
    preset, settings = ARMS[task.arm]
    run = load_run(preset)
    common = [f"seed={task.seed}", f"distillation.steps={max(1, task.steps)}", f"student.layers={LAYERS}", f"student.count={STUDENT_LAYERS}"]
    share = run.synthesis.samples / (run.distillation.steps * run.distillation.batch_size)  # the preset's own replay, at these steps
    common.append(f"synthesis.samples={max(1, round(share * (task.steps or STATIC_STEPS) * run.distillation.batch_size))}")
    model = [f"synthesis.prior_model={task.prior_model}"] if task.arm == "prior-model" else []
    return load_run(preset, None, [*common, *settings, *model, *changes])


def run_task(task: Task, changes: Iterable[str] = ()) -> Record:
    """Make the bank, distil, and evaluate the student after its last step."""
    torch.set_num_threads(task.threads)
    run = parameters(task, changes)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    teacher = load_teacher_folder(teachers.CACHE / task.dataset, device, base=task.arm in WITH_BASE)
    data = sample(teachers.read_split(task.dataset, "test"))
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        made = instead(task, run, teacher, Path(folder)) if task.arm in INSTEAD else distilled(task, run, teacher, Path(folder))
        seconds = time.perf_counter() - started
        accuracy, teacher_accuracy = (
            round(teachers.accuracy(model, teacher.tokenizer, data, teachers.maximum_length(task.dataset)), 5) for model in (made.model, teacher.model)
        )
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"cpu, {task.threads} thread(s)"
    return Record(task.dataset, task.arm, task.seed, made.layers, task.steps, accuracy, teacher_accuracy, round(seconds, 1), made.flops, name)


@dataclass(frozen=True)
class Made:
    """What an arm ends with."""

    model: Callable[..., Any]
    layers: int
    flops: float = 0.0


def distilled(task: Task, run: Run, teacher: Classifier, folder: Path) -> Made:
    """The student of an arm."""
    layer_map = parse_layer_map(run.student.layers, run.student.count, teacher.layers)
    narrow = narrow_student(teacher, layer_map, run.student.width, run.seed) if run.student.width else None
    student = narrow.student if narrow else derive_student(teacher, layer_map)
    if task.arm == "init-only":
        return Made(student, len(layer_map))
    bank = make_bank(task, run, teacher, folder)
    setup = distillation.prepare(teacher, bank, layer_map, run.distillation, run.seed)
    state = distillation.start(setup, student, narrow.projection if narrow else None)
    distillation.train(setup, state, folder, distillation.Hooks())
    return Made(student, len(layer_map), count_flops(run, teacher, student, setup, task.arm))


def instead(task: Task, run: Run, teacher: Classifier, folder: Path) -> Made:
    """What is made instead of a student."""
    if task.arm == "static":
        return Made(static_model(teacher, make_bank(task, run, teacher, folder)), 0)
    return Made(int8_teacher(teacher, teachers.CACHE / task.dataset, folder), teacher.layers)


def load_teacher_folder(folder: Path, device: torch.device, base: bool = False) -> Classifier:
    """The fine-tuned teacher, fetched once into an artifact beside it; with its `base`, the package encoder, it has a footprint."""
    artifact = folder.with_name(f"{folder.name}.{'footprint' if base else 'artifact'}")
    fetch(str(folder), artifact, base=str(teachers.encoder_folder()) if base else "")
    return load_teacher(artifact, device)


def make_bank(task: Task, run: Run, teacher: Classifier, folder: Path) -> Bank:
    """The arm's bank: synthesized, or the real training texts for with-data."""
    if task.arm == "with-data":
        write_text_bank(teacher, task.dataset, folder)
    elif task.arm == "oracle-unigram":
        write_oracle_bank(teacher, task.dataset, run, folder)
    else:
        synthesize_parts(teacher, run.synthesis, run.seed, folder, list(range(part_count(run.synthesis.samples))))
    return Bank(folder)


def write_oracle_bank(teacher: Classifier, dataset: str, run: Run, folder: Path) -> None:
    """The bank that a footprint would give that told the counts of words and lengths exactly; the rest is the product's own."""
    guesser = make_guesser(teacher, run.synthesis, run.seed)
    rows = training_tokens(teacher, dataset, guesser.frame.length)
    ordinary = vocabulary_prior(teacher.tokenizer, "uniform").token_ids
    counts = np.bincount(np.concatenate([np.array(row, dtype=np.int64) for row in rows]), minlength=len(teacher.embedding_table))[ordinary]
    prior = VocabularyPrior(ordinary[counts > 0], counts[counts > 0] / counts.sum())
    found, times = np.unique([max(len(row), run.synthesis.minimum_length) for row in rows], return_counts=True)
    exact = replace(guesser, prior=prior, lengths=Lengths(found, times / times.sum()), class_words=class_words_of(teacher, guesser.frame, prior))
    for part in range(part_count(run.synthesis.samples)):
        write_part(folder, part, synthesize_part(exact, part))


def training_tokens(teacher: Classifier, dataset: str, special: int) -> list[list[int]]:
    """Token ids of the real training texts, cut where the teacher's fine-tuning cut them, with room for the `special` tokens."""
    texts, longest = teachers.read_split(dataset, "train").texts, teachers.maximum_length(dataset) - special
    return teacher.tokenizer(texts, add_special_tokens=False, truncation=True, max_length=longest)["input_ids"]


def write_text_bank(teacher: Classifier, dataset: str, folder: Path) -> None:
    """Real texts in a bank's form: their token ids."""
    rows = training_tokens(teacher, dataset, frame_of(teacher.tokenizer).length)
    for part, start in enumerate(range(0, len(rows), PART)):
        piece = rows[start : start + PART]
        write_part(
            folder,
            part,
            Entries(
                lengths=torch.tensor([len(row) for row in piece], dtype=torch.int32),
                content=torch.tensor([token for row in piece for token in row], dtype=torch.int32),
            ),
        )


def count_flops(run: Run, teacher: Classifier, student: PreTrainedModel, setup: distillation.Setup, arm: str) -> float:
    """Operations of the matrix products: a forward pass of the layers, twice that for gradients of inputs, three times for those of weights too."""
    synthesis, config, bank = run.synthesis, run.distillation, setup.bank
    length = float(bank.lengths.mean()) + frame_of(teacher.tokenizer).length
    learned = sum(len(setup.batches.rows(step)) for step in range(config.steps))
    teacher_pass, student_pass = layers_pass(teacher.model.config, length), layers_pass(student.config, length)
    made = 0 if arm == "with-data" else len(bank)
    labelled = 0 if synthesis.guessing == "none" else teacher_pass
    scoring = 2 * synthesis.pool * length * synthesis.replaced_share * teacher.embedding_table.shape[1] if synthesis.guessing == "replacement" else 0
    guessed = 0 if synthesis.guessing == "none" else synthesis.rounds * (2 * teacher_pass + scoring)
    selfsup = 3 * student_pass if distillation.uses_selfsup(config) else 0
    turns = sum(distillation.adversary_turn(config, step) for step in range(config.steps)) / config.steps
    drawn = language_model_pass(run, length, teacher.embedding_table.shape[0]) * SWEEPS * BLOCKS
    ascent = turns * ((2 + 2 * config.ascent_rounds) * teacher_pass + (2 + 2 * config.ascent_rounds) * student_pass)
    return made * (drawn + guessed + labelled) + learned * (teacher_pass + 3 * student_pass + selfsup + ascent)


def layers_pass(config: PreTrainedConfig, length: float) -> float:
    """Operations of one forward pass of all layers on a sample of so many tokens."""
    width, inner = config.hidden_size, config.intermediate_size
    return config.num_hidden_layers * (2 * length * (4 * width**2 + 2 * width * inner) + 4 * length**2 * width)


def language_model_pass(run: Run, length: float, vocabulary: int) -> float:
    """Operations of one forward pass of the declared language model on a sample of so many tokens; 0 without one."""
    if not run.synthesis.prior_model:
        return 0.0
    config = transformers.AutoConfig.from_pretrained(run.synthesis.prior_model)
    return layers_pass(config, length) + 2 * length * config.hidden_size * (config.hidden_size + vocabulary)


def sample(data: teachers.Texts) -> teachers.Texts:
    """A fixed draw of at most TEST_ROWS rows."""
    rows = np.random.default_rng(0).permutation(len(data.texts))[:TEST_ROWS]
    return teachers.Texts([data.texts[i] for i in rows], [data.labels[i] for i in rows])


def tasks(arguments: argparse.Namespace, done: list[dict]) -> list[Task]:
    """What is not yet in the results: seed 0 of everything first, further seeds of trec and ag_news after it."""
    finished = {(record["dataset"], record["arm"], record["seed"], record["student_steps"]) for record in done}
    found = []
    for seed in arguments.seeds:
        for dataset in arguments.datasets:
            if seed == arguments.seeds[0] or dataset in arguments.all_seeds:
                for arm in arguments.arms:
                    steps = 0 if arm in ("init-only", *INSTEAD) else arguments.steps
                    found.append(Task(dataset, arm, seed, steps, arguments.threads, arguments.prior_model))
    return [task for task in found if (task.dataset, task.arm, task.seed, task.steps) not in finished]


def machine() -> dict[str, str]:
    """Where and with what the numbers were made."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    processor = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    versions = {"python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__}
    return {"processor": processor, "cores": str(multiprocessing.cpu_count()), **versions}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", default=["trec", "sst2", "banking77", "ag_news"], choices=teachers.DATASETS)
    parser.add_argument("--all-seeds", nargs="*", default=["trec", "ag_news"], help="data sets that every seed is run on; the others get the first one")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--threads", type=int, default=1, help="threads of each")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--prior-model", metavar="FOLDER", default="", help="public masked language model with the teachers' tokenizer")
    arguments = parser.parse_args()
    if "prior-model" in arguments.arms and not arguments.prior_model:
        print("prior-model: left out, it needs a public masked language model with the teachers' tokenizer; name its folder with --prior-model", flush=True)
        arguments.arms.remove("prior-model")
    if "prior-text" in arguments.arms:
        public_text()
    records = json.loads(arguments.results.read_text())["records"] if arguments.results.exists() else []
    todo = tasks(arguments, records)
    with multiprocessing.get_context("spawn").Pool(arguments.jobs) as pool:
        for record in pool.imap_unordered(run_task, todo):
            records.append(asdict(record))
            arguments.results.parent.mkdir(parents=True, exist_ok=True)
            arguments.results.write_text(json.dumps({"machine": machine(), "records": records}, indent=1) + "\n")
            accuracies = f"{record.final_accuracy:.4f} (teacher {record.teacher_accuracy:.4f})"
            print(f"{record.dataset} {record.arm} seed {record.seed}: {accuracies} in {record.seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
