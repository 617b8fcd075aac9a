"""Several labels a text: each is a Bernoulli variable in the loss, in the targets of the synthesis and in what counts as agreement."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from asdfd.base.config import Distillation, Synthesis
from asdfd.method import distillation
from asdfd.method.adversary import harden
from asdfd.method.bank import Bank
from asdfd.method.inspection import NO_LABEL, logits_of, shown_samples, summary
from asdfd.method.objectives import answered, class_losses, same_answers, soft_target_loss
from asdfd.method.randomness import generator
from asdfd.method.selfsup import draw_mask
from asdfd.method.synthesis import answers, as_embeddings, draw_sets, synthesize_parts
from asdfd.models.classifiers import Classifier, load_classifier
from asdfd.models.students import derive_student
from tests.tiny_models import make_teacher
from tests.tolerance import assert_close


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    folder = make_teacher(tmp_path_factory.mktemp("several"), problem_type="multi_label_classification")
    return load_classifier(folder, "teacher")


def bank_of(teacher: Classifier, folder: Path, config: Synthesis) -> Bank:
    synthesize_parts(teacher, config, 3, folder, [0])
    return Bank(folder)


def test_the_divergence_is_that_of_independent_labels() -> None:
    """Worked out from the probabilities of all eight sets of three labels."""
    student, teacher = (torch.randn(4, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in range(2))
    sets = torch.tensor([[number >> bit & 1 for bit in range(3)] for number in range(8)])
    p, q = (torch.stack([-class_losses(logits / 2, each.expand(4, -1)) for each in sets], dim=1) for logits in (teacher, student))
    assert_close(p.exp().sum(1), torch.ones(4, dtype=torch.float64))
    assert soft_target_loss(student, teacher, 2.0, several=True).item() == pytest.approx(4 * (p.exp() * (p - q)).sum(1).mean().item())
    assert soft_target_loss(teacher, teacher, 2.0, several=True).item() == pytest.approx(0, abs=1e-12)
    assert torch.autograd.gradcheck(lambda logits: soft_target_loss(logits, teacher, 2.0, several=True), (student.requires_grad_(True),))


def test_extreme_logits_have_a_finite_divergence() -> None:
    assert soft_target_loss(torch.tensor([[500.0, -500.0]]), torch.tensor([[-500.0, 500.0]]), 1.0, several=True).item() == pytest.approx(1000)


def test_answers_are_sets_and_equal_only_as_a_whole() -> None:
    one, other = (answered(torch.tensor(logits), several=True) for logits in ([[1.0, -1.0], [1.0, 1.0]], [[2.0, -3.0], [1.0, -1.0]]))
    assert one.tolist() == [[True, False], [True, True]]
    assert same_answers(one, other).tolist() == [True, False]


def test_drawn_sets_have_their_leading_label_and_some_others() -> None:
    leading = np.arange(3000) % 5
    sets = draw_sets(leading, 4, generator(0, "group", 0))
    assert sets[leading < 4, leading[leading < 4]].all()
    assert not sets[leading == 4].any()
    assert (sets[leading < 4].sum() / (leading < 4).sum()) == pytest.approx(1 + 3 / 4, abs=0.05)


@pytest.mark.parametrize("guessing", ["embedding", "replacement"])
def test_a_bank_holds_sets_and_the_probability_of_each(teacher: Classifier, tmp_path: Path, guessing: Literal["embedding", "replacement"]) -> None:
    bank = bank_of(teacher, tmp_path, Synthesis(samples=96, guessing=guessing, rounds=2, pool=64, step_size=1.0))
    targets, logits = bank.field("targets"), bank.field("teacher_logits")
    assert targets.shape == (96, 3)
    assert (targets == 0).all(-1).float().mean().item() == pytest.approx(1 / 4, abs=0.02), "in turn one of three labels, or none"
    assert_close(bank.field("confidence"), (logits.sigmoid() * targets + (1 - logits.sigmoid()) * (1 - targets)).prod(-1))
    facts = summary(bank, teacher)
    assert list(facts["teacher_classes"]) == [*teacher.label_names, NO_LABEL]
    assert facts["teacher_classes"][NO_LABEL] == int((logits <= 0).all(-1).sum())


def test_what_is_shown_of_a_bank_that_was_not_guessed_are_the_teacher_s_labels(teacher: Classifier, tmp_path: Path) -> None:
    bank = bank_of(teacher, tmp_path, Synthesis(samples=96))
    found = logits_of(teacher, bank, np.arange(96)) > 0
    assert list(summary(bank, teacher)["teacher_classes"].values()) == [*found.sum(0).tolist(), int((~found.any(-1)).sum())]
    shown = {name for sample in shown_samples(bank, teacher, 0) for name in sample["label"].split(", ")}
    assert len(shown) > 1
    assert shown <= {*teacher.label_names, NO_LABEL}


def test_guessing_drives_samples_to_their_sets(teacher: Classifier, tmp_path: Path) -> None:
    for name in ("short", "long"):
        (tmp_path / name).mkdir()
    short = bank_of(teacher, tmp_path / "short", Synthesis(samples=96, guessing="embedding", rounds=1, step_size=1e-6))
    long = bank_of(teacher, tmp_path / "long", Synthesis(samples=96, guessing="embedding", rounds=10, step_size=1.0))
    assert torch.equal(short.field("targets"), long.field("targets"))
    assert long.field("confidence").mean() > short.field("confidence").mean() + 0.2


def test_a_step_learns_from_every_label_and_harder_samples_keep_their_sets(teacher: Classifier, tmp_path: Path) -> None:
    bank = bank_of(teacher, tmp_path, Synthesis(samples=64, minimum_length=5, maximum_length=5))
    config = Distillation(
        steps=30, batch_size=32, adversary="embedding", selfsup_weight=0.1, adversary_warmup=0.0, forced_share=0.0, learning_rate=2e-3, log_every=5
    )
    setup = distillation.prepare(teacher, bank, (1, 3), config, 0)
    state = distillation.start(setup, derive_student(teacher, (1, 3)))
    records: list[Any] = []
    distillation.train(setup, state, tmp_path, distillation.Hooks(on_record=records.append))
    assert records[-1]["logit_loss"] < 0.7 * records[0]["logit_loss"]
    assert records[-1]["agreement"] > records[0]["agreement"]
    content = as_embeddings(bank.content(np.arange(32)), teacher.embedding_table)
    mask = draw_mask(32, 5, setup.frame, 0.3, np.random.default_rng(0))
    result = harden(teacher, state.student, state.head, setup.frame, content, mask, config)
    assert result.taken.any()
    frame, table = setup.frame, teacher.embedding_table
    before, after = (answered(answers(teacher.model, each, frame, table), several=True) for each in (content, result.embeddings))
    assert torch.equal(before, after)
