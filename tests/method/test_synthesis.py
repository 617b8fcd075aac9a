"""Synthesis: what guessing does to samples, and that a bank is a function of its seed alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from asdfd.base.config import Synthesis
from asdfd.method import inspection, synthesis
from asdfd.method.bank import Bank
from asdfd.method.inspection import logits_of, nearest_tokens, shown_samples, summary
from asdfd.method.prior import frame_of, vocabulary_prior
from asdfd.method.randomness import generator
from asdfd.method.synthesis import Group, Guesser, as_embeddings, class_gradient, framed, replacement_round
from asdfd.models.classifiers import Classifier
from asdfd.models.students import derive_student
from tests.tolerance import FORWARD, assert_close

SMALL = Synthesis(samples=96, minimum_length=3, maximum_length=6, pool=64, candidates=4)
MODES = {
    "gaussian": {"initial": "gaussian", "guessing": "none"},
    "tokens": {"guessing": "none"},
    "embedding": {"guessing": "embedding", "rounds": 3},
    "replacement": {"guessing": "replacement", "rounds": 3},
}
GUESSED = ("embedding", "replacement")


def make_guesser(teacher: Classifier, config: Synthesis, seed: int = 0) -> Guesser:
    return Guesser(teacher, frame_of(teacher.tokenizer), vocabulary_prior(teacher.tokenizer, config.prior), config, seed)


def changed(**changes) -> Synthesis:
    return Synthesis.model_validate(SMALL.model_dump() | changes)


def make_bank(teacher: Classifier, folder: Path, config: Synthesis, parts: list[list[int]] | None = None, seed: int = 0) -> Bank:
    folder.mkdir(exist_ok=True)
    for some in parts or [[0]]:
        synthesis.synthesize_parts(teacher, config, seed, folder, some)
    return Bank(folder)


@pytest.mark.parametrize("mode", GUESSED)
def test_what_the_bank_records_is_what_the_teacher_says(teacher: Classifier, tmp_path: Path, mode: str) -> None:
    bank = make_bank(teacher, tmp_path / "bank", changed(**MODES[mode]))
    frame, table = frame_of(teacher.tokenizer), teacher.embedding_table
    for row in range(len(bank)):
        content = bank.content(np.array([row]))
        with torch.no_grad():
            logits = teacher.model(inputs_embeds=framed(as_embeddings(content, table), frame, table)).logits[0]
        assert_close(bank.field("teacher_logits")[row], logits)
        probabilities = logits.softmax(-1)
        target = int(bank.field("targets")[row])
        assert probabilities[target].item() == pytest.approx(bank.field("confidence")[row].item(), abs=FORWARD)


@pytest.mark.parametrize("mode", ["gaussian", "tokens"])
def test_nothing_is_asked_about_samples_that_are_not_guessed(teacher: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """The distillation asks the teacher anew in every step, so labels in the bank would be computed for nobody."""

    def ask(*_: Any, **__: Any) -> None:
        raise AssertionError("the teacher was asked")

    with monkeypatch.context() as patch:
        patch.setattr(teacher.model, "forward", ask)
        bank = make_bank(teacher, tmp_path / "bank", changed(**MODES[mode]))
    assert not bank.guessed
    with safe_open(tmp_path / "bank" / "part-00000.safetensors", framework="pt") as file:
        assert sorted(file.keys()) == ["content", "lengths"]


def test_guessing_raises_the_confidence_in_the_drawn_class(teacher: Classifier, tmp_path: Path) -> None:
    targets = make_bank(teacher, tmp_path / "replacement", changed(**MODES["replacement"])).field("targets")
    drawn = make_bank(teacher, tmp_path / "tokens", changed(**MODES["tokens"]))
    random = logits_of(teacher, drawn, np.arange(len(drawn))).softmax(-1)
    before = random.gather(1, targets.long()[:, None]).mean().item()
    for mode in ("embedding", "replacement"):
        bank = make_bank(teacher, tmp_path / mode, changed(**MODES[mode]))
        assert torch.equal(bank.field("targets"), targets)  # the classes are drawn before anything is guessed
        assert bank.field("confidence").mean().item() > before + 0.2
        converged = bank.field("converged_round") >= 0
        assert 0.3 < converged.float().mean().item() < 1
        assert bool(converged[bank.field("confidence") >= SMALL.confidence + 1e-3].all())
        if mode == "embedding":  # its best iterate is kept, while a replacement goes on after it has converged
            assert bool((bank.field("confidence")[converged] > SMALL.confidence - 0.01).all()), "but for what float16 takes away"


def test_classes_are_balanced_and_lengths_vary(teacher: Classifier, tmp_path: Path) -> None:
    bank = make_bank(teacher, tmp_path / "bank", changed(**MODES["replacement"] | {"samples": 960, "rounds": 1}))
    assert np.bincount(bank.field("targets").numpy()).tolist() == [320, 320, 320]
    assert set(bank.lengths.tolist()) == {3, 4, 5, 6}


@pytest.mark.parametrize("mode", MODES)
def test_same_seed_same_bank_however_it_is_split(teacher: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """In one process, with as many threads: then the bits are the same too, since a group is always computed whole and alone."""
    monkeypatch.setattr("asdfd.method.bank.PART", 32)
    monkeypatch.setattr("asdfd.method.synthesis.PART", 32)
    config = changed(**MODES[mode])
    straight = make_bank(teacher, tmp_path / "straight", config, [[0, 1, 2]])
    split = make_bank(teacher, tmp_path / "split", config, [[2], [0], [1, 2]])
    other = make_bank(teacher, tmp_path / "other", config, [[0, 1, 2]], seed=1)
    assert len(straight) == 96
    for part in sorted(path.name for path in (tmp_path / "straight").iterdir()):
        assert (tmp_path / "straight" / part).read_bytes() == (tmp_path / "split" / part).read_bytes()
        assert (tmp_path / "straight" / part).read_bytes() != (tmp_path / "other" / part).read_bytes()
    assert len(other) == len(split) == len(straight)


def test_a_trajectory_does_not_depend_on_how_the_batch_is_split(teacher: Classifier) -> None:
    guesser = make_guesser(teacher, changed(**MODES["embedding"]))
    content = torch.randn(8, 5, teacher.embedding_table.shape[1], generator=torch.Generator().manual_seed(0)) * 0.3
    targets = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    whole, converged = synthesis.guess_embeddings(guesser, Group(0, targets, content))
    halves = [synthesis.guess_embeddings(guesser, Group(0, targets[part], content[part])) for part in (slice(0, 3), slice(3, 8))]
    assert_close(whole, torch.cat([embeddings for embeddings, _ in halves]))
    assert torch.equal(converged, torch.cat([rounds for _, rounds in halves]))


def test_the_best_iterate_is_kept(teacher: Classifier) -> None:
    guesser = make_guesser(teacher, changed(**MODES["embedding"] | {"step_size": 20.0, "rounds": 4}))  # steps that long overshoot
    content = torch.randn(16, 4, teacher.embedding_table.shape[1], generator=torch.Generator().manual_seed(1)) * 0.3
    targets = torch.arange(16) % 3
    best, _ = synthesis.guess_embeddings(guesser, Group(0, targets, content))
    first, _ = class_gradient(guesser, content, targets)
    last, _ = class_gradient(guesser, best, targets)
    assert bool((last <= first + 1e-5).all())


def test_replacement_draws_from_the_best_of_the_pool(teacher: Classifier) -> None:
    guesser = make_guesser(teacher, changed(**MODES["replacement"], replaced_share=0.5, candidates=1))
    tokens = torch.from_numpy(guesser.prior.draw(4 * 6, generator(3, "tokens")).reshape(4, 6))
    gradient = torch.randn(4, 6, teacher.embedding_table.shape[1], generator=torch.Generator().manual_seed(0))
    replaced = replacement_round(guesser, tokens, gradient, generator(0, "round"))
    pool = np.unique(guesser.prior.draw(guesser.config.pool, generator(0, "round")))
    scores = -(gradient @ teacher.embedding_table.T)
    moved = replaced != tokens
    assert bool((moved.sum(-1) <= 3).all())
    assert moved.any()
    assert np.isin(replaced[moved].numpy(), pool).all()
    assert_close(scores.gather(-1, replaced[..., None])[..., 0][moved], scores[..., torch.from_numpy(pool)].amax(-1)[moved])


def test_special_tokens_are_pinned_and_the_teacher_gets_no_gradient(teacher: Classifier) -> None:
    guesser = make_guesser(teacher, SMALL)
    content = torch.randn(2, 3, teacher.embedding_table.shape[1], generator=torch.Generator().manual_seed(0))
    frame, table = guesser.frame, guesser.table
    whole = framed(content, frame, table)
    assert torch.equal(whole[:, 0], table[frame.prefix[0]].expand(2, -1))
    assert torch.equal(whole[:, -1], table[frame.suffix[0]].expand(2, -1))
    class_gradient(guesser, content, torch.tensor([0, 1]))
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in teacher.model.parameters())


def test_the_student_is_untouched_by_synthesis(teacher: Classifier, tmp_path: Path) -> None:
    student = derive_student(teacher, (1, 3))
    before = {name: value.clone() for name, value in student.state_dict().items()}
    for mode in MODES:
        make_bank(teacher, tmp_path / mode, changed(**MODES[mode]))
    assert all(parameter.grad is None for parameter in student.parameters())
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_gaussian_embeddings_have_the_statistics_of_the_table(teacher: Classifier, tmp_path: Path) -> None:
    make_bank(teacher, tmp_path / "bank", changed(samples=1024, **MODES["gaussian"]))
    with safe_open(tmp_path / "bank" / "part-00000.safetensors", framework="pt") as file:
        content = file.get_tensor("content").float()
    assert torch.allclose(content.std(0), teacher.embedding_table.std(0), rtol=0.1)
    assert torch.allclose(content.mean(0), teacher.embedding_table.mean(0), atol=0.05)


def test_the_teacher_is_asked_about_entries_in_their_order(teacher: Classifier, tmp_path: Path) -> None:
    bank = make_bank(teacher, tmp_path / "bank", changed(**MODES["replacement"]))
    rows = np.array([5, 2, 90, 40])
    assert_close(logits_of(teacher, bank, rows), bank.field("teacher_logits")[torch.from_numpy(rows)])


def test_a_summary_of_guessed_samples_tells_of_all_of_them_and_otherwise_of_some(teacher: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guessed = make_bank(teacher, tmp_path / "guessed", changed(**MODES["replacement"]))
    facts = summary(guessed, teacher)
    assert sum(facts["teacher_classes"].values()) == 96
    assert facts["converged_share"] == pytest.approx(float((guessed.field("converged_round") >= 0).float().mean()), abs=1e-6)
    assert facts["mean_confidence"] == pytest.approx(float(guessed.field("confidence").mean()), abs=1e-6)
    monkeypatch.setattr(inspection, "ASKED", 10)
    facts = summary(make_bank(teacher, tmp_path / "tokens", changed(**MODES["tokens"])), teacher)
    assert facts["samples_that_the_teacher_was_asked_about"] == sum(facts["teacher_classes"].values()) == 10
    assert "converged_share" not in facts


def test_summary_and_shown_samples(teacher: Classifier, tmp_path: Path) -> None:
    tokens = make_bank(teacher, tmp_path / "tokens", changed(**MODES["tokens"]))
    facts = summary(tokens, teacher)
    assert facts["samples"] == 96
    assert sum(facts["teacher_classes"].values()) == 96
    assert facts["mean_confidence"] == pytest.approx(float(logits_of(teacher, tokens, np.arange(96)).softmax(-1).amax(-1).mean()), abs=1e-5)
    assert facts["mean_length"] == pytest.approx(tokens.lengths.mean(), abs=0.01)
    shown = shown_samples(tokens, teacher, seed=0)
    assert len(shown) == 12
    assert all(sample["label"] in teacher.label_names and sample["text"] for sample in shown)
    ids = torch.tensor([20, 40, 60])
    assert torch.equal(nearest_tokens(teacher.embedding_table[ids] * 1.5 + 0.001, teacher.embedding_table), ids)
