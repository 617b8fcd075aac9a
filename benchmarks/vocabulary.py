"""What a classifier loses and saves with the words of its training texts alone: the teacher, and a student of three layers, with all words and with fewer.

    python benchmarks/vocabulary.py --datasets trec banking77          # writes results/vocabulary.json, one record a data set

The student is distilled as the arm `footprint`. Accuracy and equal answers are of validation texts, sizes those of the int8 export; nothing is chosen here.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import teachers
import torch
from arms import Task, load_teacher_folder, make_bank, parameters

from asdfd.method import distillation
from asdfd.method.vocabulary import logits_on_texts, with_fewer_words
from asdfd.models.classifiers import Classifier
from asdfd.models.layer_maps import parse_layer_map
from asdfd.models.onnx import write_model
from asdfd.models.students import derive_student, save_student

RESULTS = Path(__file__).resolve().parent / "results" / "vocabulary.json"
ROWS = 1000
"""Most validation texts, the first ones."""


def measured(dataset: str, steps: int) -> dict[str, Any]:
    """The record of a data set; a student of no steps is as it is derived."""
    teacher = load_teacher_folder(teachers.CACHE / dataset, torch.device("cpu"), base=True)
    assert teacher.footprint is not None
    texts, labels = teachers.read_split(dataset, "validation")
    data = teachers.Texts(texts[:ROWS], labels[:ROWS])
    known = np.flatnonzero(teacher.footprint.tokens)
    tokens = np.concatenate(teacher.tokenizer(data.texts, add_special_tokens=False)["input_ids"])
    record: dict[str, Any] = {
        "dataset": dataset,
        "rows": len(data.texts),
        "tokens": len(teacher.tokenizer),
        "tokens_of_the_training_texts": teacher.footprint.moved,
        "share_of_other_tokens": round(float((~np.isin(tokens, known)).mean()), 5),
        "student_steps": steps,
    }
    student = replace(teacher, model=student_of(dataset, teacher, steps))
    for role, model in (("teacher", teacher), ("student", student)):
        record[role] = compared(model, teacher, data)
    return record


def student_of(dataset: str, teacher: Classifier, steps: int) -> Any:
    """A student of the arm `footprint`."""
    task = Task(dataset, "footprint", 0, max(1, steps), torch.get_num_threads())
    run = parameters(task)
    layer_map = parse_layer_map(run.student.layers, run.student.count, teacher.layers)
    student = derive_student(teacher, layer_map)
    if steps:
        with tempfile.TemporaryDirectory() as folder:
            setup = distillation.prepare(teacher, make_bank(task, run, teacher, Path(folder)), layer_map, run.distillation, run.seed)
            distillation.train(setup, distillation.start(setup, student), Path(folder), distillation.Hooks())
    return student


def compared(model: Classifier, teacher: Classifier, data: teachers.Texts) -> dict[str, Any]:
    """A model with all words and with fewer, on the same texts."""
    fewer, truth = with_fewer_words(model, teacher), torch.tensor(data.labels)
    answers = [logits_on_texts(each, data.texts).argmax(-1) for each in (model, fewer.classifier)]
    unknown = [sum(ids.count(each.tokenizer.unk_token_id) for ids in each.tokenizer(data.texts)["input_ids"]) for each in (model, fewer.classifier)]
    return {
        "tokens_kept": fewer.kept,
        "accuracy": [round(float((each == truth).float().mean()), 5) for each in answers],
        "equal_answers": round(float((answers[0] == answers[1]).float().mean()), 5),
        "equal_answers_on_drawn_texts": fewer.equal,
        "unknown_tokens": unknown,
        "int8_bytes": [int8_bytes(each) for each in (model, fewer.classifier)],
    }


def int8_bytes(classifier: Classifier) -> int:
    """Bytes of a classifier's ONNX file with 8-bit weights."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        save_student(classifier.model, classifier, folder / "saved")
        write_model(classifier, folder / "saved", folder / "model.onnx", "int8", folder / "float32.onnx")
        return (folder / "model.onnx").stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", choices=teachers.DATASETS, default=list(teachers.DATASETS))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for dataset in arguments.datasets:
        record = measured(dataset, arguments.steps)
        known = json.loads(arguments.results.read_text(encoding="utf-8")) if arguments.results.is_file() else []
        kept = [each for each in known if each["dataset"] != dataset]
        arguments.results.write_text(json.dumps(sorted([*kept, record], key=lambda each: each["dataset"]), indent=1) + "\n", encoding="utf-8")
        print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
