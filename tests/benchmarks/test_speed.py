"""The parts of benchmarks/speed.py on tiny models: what they measure is what they say, and the page shows the committed results."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import speed
import speed_accuracy
import speed_gpu
import speed_plot
import speed_point
import speed_step
import speed_tables
import speed_textbrewer
import straightforward
import tables
import torch
from measuring import in_turns, medians, ratio
from products import Operand, Product, operations, record, replay
from random_models import random_bank
from torch import nn
from torch.nn import functional as F

from asdfd.method import distillation
from asdfd.models.classifiers import Classifier, load_teacher

RESULTS = json.loads(speed.RESULTS.read_text())
LAYERS = (1, 3)


@pytest.fixture(scope="module")
def teacher(teacher_artifact: Path) -> Classifier:
    return load_teacher(teacher_artifact)


@pytest.fixture
def setup(teacher: Classifier, tmp_path: Path) -> distillation.Setup:
    """A run on 64 random entries of five tokens each, in batches of 16."""
    random_bank(tmp_path, 64, 5, 5, len(teacher.embedding_table))
    return speed_step.prepared(teacher, tmp_path, LAYERS, 16)


@pytest.fixture
def models(teacher_folder: Path) -> straightforward.Models:
    torch.manual_seed(0)
    return straightforward.load(teacher_folder, LAYERS)


def test_the_straightforward_loop_guesses_the_class_and_hardens(models: straightforward.Models) -> None:
    embeddings, mask = straightforward.draw(models)
    targets = torch.arange(len(mask)) % models.classes

    def class_loss(content: torch.Tensor) -> float:
        return F.cross_entropy(models.teacher(inputs_embeds=content, attention_mask=mask).logits, targets).item()

    guessed = straightforward.guess(models, embeddings, mask, targets)
    assert class_loss(guessed) < class_loss(embeddings)
    for row, length in enumerate(mask.sum(1).tolist()):  # the special tokens stay where they are
        assert torch.equal(guessed[row, 0], models.special[0])
        assert torch.equal(guessed[row, length - 1], models.special[1])
    elsewhere = torch.where(mask[:, :, None].bool(), guessed, 9.0)
    assert class_loss(elsewhere) == pytest.approx(class_loss(guessed), rel=1e-4)

    torch.manual_seed(1)
    before = straightforward.selfsup_loss(models, guessed, mask).item()
    harder = straightforward.harden(models, guessed, mask, targets)
    torch.manual_seed(1)
    assert straightforward.selfsup_loss(models, harder, mask).item() > before


@pytest.mark.slow
def test_the_straightforward_loop_learns(models: straightforward.Models) -> None:
    trained = [*models.student.parameters(), *models.head.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=2e-3)
    losses = [straightforward.one_round(models, optimizer, trained, adversary=number > 10) for number in range(14)]
    assert np.mean(losses[-4:]) < np.mean(losses[:4])
    assert models.teacher.get_parameter("classifier.weight").requires_grad  # as it was loaded


def test_the_straightforward_loop_has_a_budget_and_ends_early(teacher_folder: Path) -> None:
    answers = iter([0.2, 0.5, 0.9])
    looks = straightforward.distil(teacher_folder, LAYERS, 0.6, 3, lambda _: next(answers), enough=0.95)
    assert [look.accuracy for look in looks] == [0.2, 0.5, 0.9]
    assert looks[0].seconds >= 0.2
    assert looks[-1].seconds >= 0.6
    assert looks[-1].rounds >= looks[0].rounds > 0
    assert len(straightforward.distil(teacher_folder, LAYERS, 0.2, 10, lambda _: 0.5, enough=0.5)) == 1


def test_when_the_accuracy_was_reached() -> None:
    ours = {"final_accuracy": 0.8, "processor_seconds": 10.0}
    looks = [straightforward.Look(20.0, 5, 0.7), straightforward.Look(40.0, 10, 0.8), straightforward.Look(60.0, 15, 0.75)]
    assert speed_accuracy.verdict(ours, looks) == {"reached_after_seconds": 40.0, "times_as_long": 4.0}
    assert speed_accuracy.verdict(ours, looks[:1]) == {"reached_after_seconds": None, "times_as_long": None}


def test_seconds_are_taken_in_turns() -> None:
    order: list[str] = []
    ticks = iter([-1.0, -1.0, 0.0, 2.0, 2.0, 3.0, 3.0, 9.0, 9.0, 10.0])  # in a round that does not count it is looked at once
    seconds = in_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=2, warmup=1, clock=lambda: next(ticks))
    assert order == ["a", "b"] * 3
    assert seconds == {"a": [2.0, 6.0], "b": [1.0, 1.0]}
    assert medians(seconds) == {"a": 4.0, "b": 1.0}
    assert ratio(seconds, "a", "b") == 4.0


def test_products_are_recorded_with_their_layouts() -> None:
    layer, given = nn.Linear(6, 4), torch.ones(5, 6, requires_grad=True)
    products = record(lambda: layer(given).sum().backward())
    assert [(product.left.shape, product.right.shape) for product in products] == [((5, 6), (6, 4)), ((5, 4), (4, 6)), ((4, 5), (5, 6))]
    assert products[0].right.strides == (1, 6)  # the weight is read as it lies
    assert operations(products) == 3 * 2 * 5 * 6 * 4


def test_attention_counts_as_its_products() -> None:
    query = torch.ones(2, 3, 5, 4, requires_grad=True)
    products = record(lambda: F.scaled_dot_product_attention(query, query, query).sum().backward())
    assert operations(products) == (2 + 4) * 2 * (2 * 3) * 5 * 5 * 4
    replay(products)()


def test_replay_computes_every_product(monkeypatch: pytest.MonkeyPatch) -> None:
    operand = Operand((3, 4), (1, 3), torch.float32, torch.device("cpu"))
    other = Operand((4, 2), (2, 1), torch.float32, torch.device("cpu"))
    calls: list[tuple] = []
    matmul = torch.matmul
    monkeypatch.setattr(torch, "matmul", lambda left, right: calls.append((left.stride(), tuple(matmul(left, right).shape))))
    replay([Product(operand, other)] * 3)()
    assert calls == [((1, 3), (3, 2))] * 3


def clock_of(rounds: Sequence[Sequence[float]], warmup: int = 2) -> Callable[[], float]:
    """A clock by which the actions that `in_turns` does take given times, round by round; the real ones depend on what else the machine does."""
    now, readings = 0.0, [0.0] * warmup * len(rounds[0])
    for seconds in (second for each in rounds for second in each):
        readings += [now, now + seconds]
        now += seconds
    return iter(readings).__next__


def test_the_step_is_the_products_loop(setup: distillation.Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = speed_step.started(setup)
    speed_step.advance(setup, state, tmp_path, 3)()
    speed_step.advance(setup, state, tmp_path, 2)()
    assert state.step == 5
    monkeypatch.setattr(speed_step, "in_turns", partial(in_turns, clock=clock_of([[8.0, 4.0, 1.0, 2.0]] * 3)))
    found = speed_step.step_against_products(setup, tmp_path, block=2, rounds=3)
    rows, width, inner, classes = 16 * 7, 32, 48, 3
    layer = 2 * rows * (4 * width**2 + 2 * width * inner) + 2 * 2 * 16 * 7**2 * width
    head = 2 * 16 * (width**2 + width * classes)
    without = 2 * rows * 3 * width**2  # nothing below the student's first layer takes a gradient
    assert found["operations"] == 4 * layer + head + 2 * 3 * layer - without + 3 * head
    assert (found["step_seconds"], found["products_seconds"], found["share"]) == (4.0, 2.0, 0.5)
    assert found["update_seconds"] == {"fused": 1.0, "one weight after the other": 2.0}


def test_both_optimisers_take_the_same_step(setup: distillation.Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = []
    state = speed_step.started(setup)
    for fused in (True, False):
        torch.manual_seed(0)
        monkeypatch.setattr(speed_step, "started", lambda _: fresh(setup, moved))
        speed_step.updates(setup, fused)()
    for name, start in state.trained.items():
        fused, looped = (each.trained[name] for each in moved)
        assert torch.allclose(fused, looped, atol=1e-6)
        assert not torch.equal(fused, start)


def fresh(setup: distillation.Setup, kept: list[distillation.State]) -> distillation.State:
    kept.append(distillation.start(setup, speed_step.derive_student(setup.teacher, setup.layer_map)))
    return kept[-1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of what it does itself
def test_the_gpu_part_takes_its_steps(setup: distillation.Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = torch.compile(distillation.measure_losses, backend="eager", dynamic=False)
    monkeypatch.setattr(speed_gpu, "compile_for", lambda _: compiled)
    states: list[distillation.State] = []
    monkeypatch.setattr(speed_gpu, "started", lambda given: fresh(given, states))
    clock = clock_of([[16.0, 8.0, 2.0], [32.0, 16.0, 4.0]])
    monkeypatch.setattr(speed_gpu, "in_turns", lambda actions, rounds, **_: in_turns(actions, rounds, clock=clock))
    found = speed_gpu.step_against_products(setup, speed_gpu.Block(batch_size=16, length=5, steps=2, rounds=2, batches=3))
    assert found["tokens"] == 7
    assert (found["eager_seconds"], found["compiled_seconds"], found["products_seconds"], found["share"]) == (12.0, 6.0, 1.5, 0.25)
    assert found["step_teraflops"] == pytest.approx(found["operations"] / 6e12)
    eager, other = states[:2]
    for name, parameter in eager.trained.items():  # the same steps, compiled or not
        assert torch.allclose(parameter, other.trained[name], atol=2e-3), name
    with torch.autocast("cpu", dtype=torch.bfloat16):
        products = record(lambda: distillation.measure_losses(setup, other, speed_gpu.inputs(setup, speed_gpu.Block(batches=1))[0], MASK))
    assert {product.left.dtype for product in products} == {torch.bfloat16}


MASK = torch.zeros(16, 7, dtype=torch.bool)


def test_the_gpu_part_needs_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="no usable GPU"):
        speed_gpu.step_on_gpu()


def test_textbrewer_gets_the_batches_of_asdfd(setup: distillation.Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = speed_textbrewer.token_batches(setup, masks=True)
    for number in range(3):
        batch = next(batches)
        content = setup.bank.content(setup.batches.rows(number))
        assert torch.equal(batch["input_ids"][:, 1:-1], content)
        assert (batch["input_ids"][:, 0] == setup.frame.prefix[0]).all()
        assert batch["attention_mask"].all()
    assert set(next(speed_textbrewer.token_batches(setup, masks=False))) == {"input_ids"}
    monkeypatch.setitem(sys.modules, "textbrewer", None)
    with pytest.raises(SystemExit, match="pip install textbrewer"):
        speed_textbrewer.textbrewer_steps(setup, tmp_path, documented=False, block=1)


def test_memory_that_is_taken_counts_and_mapped_pages_do_not(tmp_path: Path) -> None:
    with speed_point.watched() as memory:
        taken = torch.ones(16 * 2**20)  # 64 MiB: pieces of 32 and less may be of memory that the process has kept
    assert memory.anonymous > 60
    assert len(taken)
    path = tmp_path / "mapped"
    np.zeros(32 * 2**20, dtype=np.uint8).tofile(path)
    with speed_point.watched() as memory:
        assert int(np.memmap(path, mode="r").sum()) == 0
    assert memory.anonymous < 16
    assert memory.resident > 16  # the system may take back some of the 32 meanwhile


def test_reading_a_bank_takes_little_memory(tmp_path: Path) -> None:
    random_bank(tmp_path, 4096, 10, 10, 100, width=1024)  # 80 MiB
    found = speed_point.bank(tmp_path)
    assert found["peak_mebibytes"] < 25
    assert found["batch_seconds"] > 0


def test_one_part_of_the_results_is_written_alone(tmp_path: Path) -> None:
    path = tmp_path / "results" / "speed.json"
    speed.write("step", {"runs": [1]}, path)
    speed.write("accuracy", {"runs": [2]}, path)
    speed.write("step", {"runs": [3]}, path)
    found = json.loads(path.read_text())
    assert list(found) == ["accuracy", "step"]
    assert (found["accuracy"]["runs"], found["step"]["runs"]) == ([2], [3])
    assert found["step"]["machine"]["torch"] == torch.__version__


def test_the_page_shows_the_committed_results() -> None:
    assert speed_tables.speed_section(RESULTS) in tables.PAGE.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_picture_shows_the_committed_curves(tmp_path: Path) -> None:
    committed = speed_plot.PICTURE.read_text(encoding="utf-8")
    assert speed_plot.digest(RESULTS["curves"]) in committed
    speed_plot.draw(RESULTS["curves"], tmp_path / "again.svg")
    again = (tmp_path / "again.svg").read_text(encoding="utf-8")
    assert again.count("<path") > 50
    assert speed_plot.digest(RESULTS["curves"]) in again


def test_rows_by_hand() -> None:
    machine = {"processor": "P", "cores": "2"}
    ours = {"steps": 100, "final_accuracy": 0.845, "processor_seconds": 61.2}
    looks = [{"accuracy": 0.5, "rounds": 9}, {"accuracy": 0.6, "rounds": 18}]
    run = {"dataset": "trec", "budget": 10.0, "asdfd": ours, "straightforward": looks, "times_as_long": None, "load": 3.0}
    text = speed_tables.accuracy({"machine": machine, "runs": [run]})
    assert "| trec | 100 | 84.5 | 61 | not within 10 times as long | 18 | 50.0, 60.0 |" in text
    assert text.startswith("processor P, cores 2, load average 3.0.\n")
    assert "after 4.2 times as long" in speed_tables.accuracy({"machine": machine, "runs": [run | {"times_as_long": 4.2}]})
    assert "Not measured yet: no GPU was at hand" in speed_tables.speed_section({})
