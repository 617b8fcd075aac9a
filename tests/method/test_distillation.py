"""Distillation: the student learns, the teacher never does, and a run that was stopped ends where a straight one ends."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import chain, pairwise, repeat
from pathlib import Path

import numpy as np
import pytest
import torch

from asdfd.base.config import Distillation
from asdfd.base.errors import StoppedError
from asdfd.base.telemetry import Record
from asdfd.method import distillation
from asdfd.method.adversary import Hardened, HardenedEntries, harden, selfsup_losses
from asdfd.method.bank import Bank
from asdfd.method.batches import Batches
from asdfd.method.prior import Frame, frame_of
from asdfd.method.selfsup import draw_mask, make_head, mask_embeddings, masked_embedding_losses
from asdfd.method.synthesis import framed
from asdfd.models.classifiers import Classifier
from asdfd.models.students import derive_student
from tests.tolerance import FORWARD, TRAINED, assert_close, difference

QUICK = Distillation(
    steps=12,
    batch_size=16,
    learning_rate=2e-3,
    selfsup_weight=0.1,
    checkpoint_seconds=0,
    log_every=1,
    adversary="embedding",
    adversary_warmup=0.25,
    adversary_every=2,
    ascent_rounds=2,
    hardened_capacity=24,
)


def run(teacher: Classifier, bank: Bank, config: Distillation, folder: Path, stop_after: int | None = None) -> tuple[distillation.State, list[Record]]:
    """A run in `folder` that goes on from the checkpoint that may be there; stopped after so many of its own steps."""
    setup = distillation.prepare(teacher, bank, (1, 3), config, seed=5)
    state = distillation.start(setup, derive_student(teacher, (1, 3)))
    distillation.load_checkpoint(state, folder)
    records: list[Record] = []
    last = None if stop_after is None else state.step + stop_after
    distillation.train(setup, state, folder, distillation.Hooks(records.append, lambda: last is not None and state.step >= last))
    return state, records


def weights(state: distillation.State) -> dict[str, torch.Tensor]:
    return {**state.student.state_dict(), **{f"head.{name}": value for name, value in state.head.state_dict().items()}}


@pytest.mark.slow
def test_the_student_comes_closer_to_its_teacher(teacher: Classifier, bank: Bank, tmp_path: Path) -> None:
    _, records = run(teacher, bank, QUICK.changed(steps=80, adversary="none", log_every=10), tmp_path)
    assert records[-1]["hidden_loss"] < 0.8 * records[0]["hidden_loss"]
    assert records[-1]["selfsup_loss"] < records[0]["selfsup_loss"]
    assert [record["step"] for record in records] == list(range(10, 81, 10))
    assert records[-1]["samples_per_second"] > 0


def test_records_come_as_often_as_they_are_asked_for_and_tell_the_adversarys_last_turn(teacher: Classifier, bank: Bank, tmp_path: Path) -> None:
    """It takes its turn in the steps 5, 7, 9 and 11; after none of them a record is due."""
    config = QUICK.model_copy(update={"log_every": 4})
    _, records = run(teacher, bank, config, tmp_path)
    assert [record["step"] for record in records] == [4, 8, 12]
    assert [{"selfsup_before", "selfsup_after", "hardened"} <= record.keys() for record in records] == [False, True, True]
    (tmp_path / "stopped").mkdir()
    with pytest.raises(StoppedError):
        run(teacher, bank, config, tmp_path / "stopped", stop_after=7)
    _, resumed = run(teacher, bank, config, tmp_path / "stopped")
    assert [record["selfsup_after"] for record in resumed] == [record["selfsup_after"] for record in records[1:]], "a checkpoint holds what is still to be told"


def test_samples_are_counted_batch_by_batch(teacher: Classifier, bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is a made-up one: a second is over when the first step is done, and no more goes by."""
    looks = chain([0.0], repeat(1.0))
    monkeypatch.setattr(time, "perf_counter", lambda: next(looks))
    fewest = int(np.unique(bank.lengths, return_counts=True)[1].min())
    config = QUICK.model_copy(update={"steps": 12, "batch_size": fewest + 1, "adversary": "none"})
    _, records = run(teacher, bank, config, tmp_path)
    sizes = [len(Batches(bank.lengths, config.batch_size, 5).rows(step)) for step in range(12)]
    assert len(set(sizes)) > 1, "a length with fewer samples than a batch makes a smaller one"
    assert [record["samples_per_second"] for record in records] == np.cumsum(sizes).tolist()


def test_the_teacher_and_the_embeddings_stay_as_they_are(teacher: Classifier, bank: Bank, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in teacher.model.state_dict().items()}
    state, _ = run(teacher, bank, QUICK, tmp_path)
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in teacher.model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in teacher.model.state_dict().items())
    for name, value in state.student.get_submodule("bert.embeddings").state_dict().items():
        assert torch.equal(value, before[f"bert.embeddings.{name}"])
    moved = [name for name, value in state.student.named_parameters() if value.requires_grad and not torch.equal(value, derived(teacher)[name])]
    assert len(moved) == len([1 for value in state.student.parameters() if value.requires_grad])


def derived(teacher: Classifier) -> dict[str, torch.Tensor]:
    return derive_student(teacher, (1, 3)).state_dict()


def test_stopped_and_resumed_is_bit_equal_to_a_straight_run(teacher: Classifier, bank: Bank, tmp_path: Path) -> None:
    """Both in this process, from the same teacher in memory and with as many threads: then the bits are the same too."""
    for name in ("straight", "stopped"):
        (tmp_path / name).mkdir()
    straight, records = run(teacher, bank, QUICK, tmp_path / "straight")
    for _ in range(5):
        with pytest.raises(StoppedError):
            run(teacher, bank, QUICK, tmp_path / "stopped", stop_after=2)
    resumed, resumed_records = run(teacher, bank, QUICK, tmp_path / "stopped", stop_after=2)
    assert resumed.step == QUICK.steps
    assert len(straight.hardened) > 0
    assert all(torch.equal(value, weights(resumed)[name]) for name, value in weights(straight).items())
    assert [r["loss"] for r in resumed_records] == [r["loss"] for r in records][-len(resumed_records) :]


def test_a_checkpoint_holds_the_whole_state(teacher: Classifier, bank: Bank, tmp_path: Path) -> None:
    with pytest.raises(StoppedError, match="step 7 of 12 with a checkpoint") as stopped:
        run(teacher, bank, QUICK, tmp_path, stop_after=7)
    assert stopped.value.exit_code == 143
    setup = distillation.prepare(teacher, bank, (1, 3), QUICK, seed=5)
    state = distillation.start(setup, derive_student(teacher, (1, 3)))
    assert distillation.load_checkpoint(state, tmp_path)
    assert state.step == 7
    assert len(state.hardened) > 0
    assert all(set(values) == {"step", "exp_avg", "exp_avg_sq"} for values in state.optimizer.state.values())
    assert len(state.optimizer.state) == len(state.trained)
    assert not distillation.load_checkpoint(state, tmp_path / "elsewhere")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of what it does itself
def test_compiled_equals_eager(teacher: Classifier, bank: Bank, tmp_path: Path) -> None:
    few = QUICK.changed(steps=3, forced_share=0.4)  # two steps of teacher forcing and one of the student's own chain
    for name in ("eager", "compiled"):
        (tmp_path / name).mkdir()
    eager, expected = run(teacher, bank, few, tmp_path / "eager")
    compiled, found = run(teacher, bank, few.changed(compile=True), tmp_path / "compiled")
    for one, other in zip(expected, found, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=TRAINED)
        assert other["hidden_loss"] == pytest.approx(one["hidden_loss"], rel=TRAINED)
    for name, value in weights(eager).items():
        if not name.endswith("key.bias"):  # softmax makes its true gradient zero, and Adam takes whole steps along what rounding leaves
            assert torch.allclose(value, weights(compiled)[name], atol=1e-3), name


def test_the_learning_rate_rises_and_falls() -> None:
    config = Distillation(steps=100, warmup_share=0.1, learning_rate=1.0)
    rates = [distillation.learning_rate_at(config, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(1 / 90)
    assert all(first < second for first, second in pairwise(rates[:10]))
    assert all(first > second for first, second in pairwise(rates[10:]))
    assert distillation.learning_rate_at(Distillation(steps=1), 0) > 0


def test_the_adversary_waits_for_the_warm_up() -> None:
    turns = [step for step in range(12) if distillation.adversary_turn(QUICK, step)]
    assert turns == [4, 6, 8, 10]
    assert not any(distillation.adversary_turn(QUICK.changed(adversary="none"), step) for step in range(12))


def test_layers_learn_by_themselves_in_the_first_share_of_the_steps() -> None:
    config = Distillation(steps=10, forced_share=0.3)
    assert [step for step in range(10) if distillation.forced_turn(config, step)] == [0, 1, 2]
    assert not any(distillation.forced_turn(config.changed(forced_share=0.0), step) for step in range(10))
    assert all(distillation.forced_turn(config.changed(forced_share=1.0), step) for step in range(10))


def test_a_forced_layer_gets_no_gradient_from_the_layers_after_it(teacher: Classifier, bank: Bank) -> None:
    setup = distillation.prepare(teacher, bank, (1, 3), Distillation(), seed=5)
    content = teacher.embedding_table[bank.content(setup.batches.rows(0))]
    mask = torch.zeros(len(content), content.shape[1] + setup.frame.length, dtype=torch.bool)
    for forced in (True, False):
        state = distillation.start(setup, derive_student(teacher, (1, 3)))
        last = state.student.get_submodule("bert.encoder.layer.1")
        before = gradients_of_first_layer(setup, state, content, mask, forced=forced)
        with torch.no_grad():
            for parameter in last.parameters():
                parameter.add_(0.1)
        after = gradients_of_first_layer(setup, state, content, mask, forced=forced)
        apart = max(difference(one, other) for one, other in zip(before, after, strict=True))
        assert apart <= FORWARD if forced else apart > 1e-3


def gradients_of_first_layer(
    setup: distillation.Setup, state: distillation.State, content: torch.Tensor, mask: torch.Tensor, *, forced: bool
) -> list[torch.Tensor]:
    state.optimizer.zero_grad()
    distillation.measure_losses(setup, state, content, mask, forced=forced).loss.backward()
    return [parameter.grad.clone() for parameter in state.student.get_submodule("bert.encoder.layer.0").parameters() if parameter.grad is not None]


@pytest.fixture
def attack(teacher: Classifier):
    """A student, a head, content embeddings and a mask to make harder."""
    student = derive_student(teacher, (1, 3))
    setup_frame = frame_of(teacher.tokenizer)
    head = make_head(student.config.hidden_size, teacher.embedding_table, teacher.tokenizer, seed=0)
    random = np.random.default_rng(0)
    tokens = torch.from_numpy(random.integers(60, 200, size=(24, 5)))
    return student, head, setup_frame, teacher.embedding_table[tokens], draw_mask(24, 5, setup_frame, 0.4, random)


def test_ascent_raises_the_loss_and_holds_the_class(teacher: Classifier, attack) -> None:
    student, head, frame, content, mask = attack
    result = harden(teacher, student, head, frame, content, mask, QUICK.changed(ascent_rounds=4, ascent_step_size=0.2))
    with torch.no_grad():
        before, after = (teacher.model(inputs_embeds=framed(each, frame, teacher.embedding_table)).logits for each in (content, result.embeddings))
        agreed = student(inputs_embeds=framed(content, frame, teacher.embedding_table)).logits.argmax(-1) == before.argmax(-1)
        measured = selfsup_losses(student, head, framed(result.embeddings, frame, teacher.embedding_table), mask)
    assert_close(after.gather(1, before.argmax(1, keepdim=True)), after.amax(1, keepdim=True), told="still the teacher's class, or level with another")
    assert difference(after, before) > 1e-3
    assert not (result.taken & ~agreed).any()
    assert 0 < result.taken.sum() <= agreed.sum()
    assert result.loss_after[result.taken].mean() > 1.05 * result.loss_before[result.taken].mean()
    assert_close(measured, result.loss_after)
    assert torch.equal(result.embeddings[~result.taken], content[~result.taken])


def test_no_gradient_survives_the_ascent(teacher: Classifier, attack) -> None:
    student, head, frame, content, mask = attack
    harden(teacher, student, head, frame, content, mask, QUICK)
    assert all(parameter.grad is None for model in (student, head, teacher.model) for parameter in model.parameters())


def test_hardened_entries_are_replaced_forgotten_and_restored() -> None:
    entries = HardenedEntries(capacity=3)
    values = torch.arange(4.0)[:, None, None].expand(4, 2, 3)
    zeros = torch.zeros(4)
    entries.write(np.array([7, 8, 9, 3]), Hardened(values, torch.tensor([True, True, False, True]), zeros, zeros))
    assert len(entries) == 3
    content = entries.replace_in(np.array([3, 9, 7]), torch.full((3, 2, 3), -1.0))
    assert content[:, 0, 0].tolist() == [3.0, -1.0, 0.0]
    entries.write(np.array([7, 5]), Hardened(values[2:] + 4, torch.tensor([True, True]), zeros[:2], zeros[:2]))
    assert list(entries.replace_in(np.array([8, 3, 7, 5]), torch.full((4, 2, 3), -1.0))[:, 0, 0]) == [-1.0, 3.0, 6.0, 7.0]
    restored = HardenedEntries(capacity=3)
    restored.load(entries.tensors())
    for copy in (entries, restored):  # the order of forgetting is restored too
        copy.write(np.array([1]), Hardened(values[:1] + 9, torch.tensor([True]), zeros[:1], zeros[:1]))
        assert copy.replace_in(np.array([3, 7, 5, 1]), torch.full((4, 2, 3), -1.0))[:, 0, 0].tolist() == [-1.0, 6.0, 7.0, 9.0]
    none = HardenedEntries(capacity=0)
    none.write(np.array([1]), Hardened(values[:1], torch.tensor([True]), zeros[:1], zeros[:1]))
    assert len(none) == 0


def test_masks_hide_content_only() -> None:
    frame = Frame((1,), (2, 3))
    mask = draw_mask(50, 7, frame, 0.3, np.random.default_rng(0))
    assert mask.shape == (50, 10)
    assert mask.sum(-1).tolist() == [2] * 50
    assert not mask[:, 0].any()
    assert not mask[:, -2:].any()
    assert mask[:, 1:-2].any(0).all()
    assert draw_mask(4, 3, frame, 0.0, np.random.default_rng(0)).sum(-1).tolist() == [1] * 4


def test_selfsup_loss_by_hand(teacher: Classifier) -> None:
    head = make_head(32, teacher.embedding_table, teacher.tokenizer, seed=0)
    with torch.no_grad():
        head.predict.weight.zero_()
        head.predict.bias.zero_()
    table = teacher.embedding_table
    embeddings = (head.mean + head.deviation * torch.tensor([1.0, 2.0, 3.0])[:, None])[None]  # standardised: all ones, all twos, all threes
    mask = torch.tensor([[True, False, True]])
    losses = masked_embedding_losses(head, torch.ones(1, 3, 32), embeddings, mask)
    assert losses.tolist() == pytest.approx([(1 + 9) / 2], rel=1e-4)
    masked = mask_embeddings(embeddings, mask, head)
    assert torch.equal(masked[0, 0], head.mask_embedding)
    assert torch.equal(head.mask_embedding, table[teacher.tokenizer.convert_tokens_to_ids("[MASK]")])
    assert torch.equal(masked[0, 1], embeddings[0, 1])


def test_learning_uses_every_part_of_the_loss(teacher: Classifier, bank: Bank) -> None:
    setup = distillation.prepare(teacher, bank, (1, 3), QUICK, seed=5)
    rows = setup.batches.rows(0)
    content = teacher.embedding_table[bank.content(rows)]
    mask = draw_mask(len(content), content.shape[1], setup.frame, 0.3, np.random.default_rng(0))
    state = distillation.start(setup, derive_student(teacher, (1, 3)))
    losses = distillation.measure_losses(setup, state, content, mask)
    expected = losses.logit_loss * QUICK.logit_weight + losses.hidden_loss * QUICK.hidden_weight + losses.selfsup_loss * QUICK.selfsup_weight
    assert losses.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert losses.selfsup_loss.item() > 0
    without = replace(setup, config=QUICK.changed(adversary="none", selfsup_weight=0.0))
    assert distillation.measure_losses(without, state, content, mask).selfsup_loss.item() == 0
