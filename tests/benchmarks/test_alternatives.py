"""What the benchmarks compare a student with besides its teacher, on tiny models."""

from __future__ import annotations

from pathlib import Path

import torch
from alternatives import Static, fit, int8_teacher, static_model
from teachers import Texts, accuracy, joined

from asdfd.base.loading import load_run
from asdfd.method.bank import Bank
from asdfd.method.synthesis import synthesize_parts
from asdfd.models.classifiers import load_teacher
from tests.tolerance import FORWARD, difference


def test_the_static_model_reads_the_mean_of_the_texts_own_words() -> None:
    table = torch.tensor([[9.0, 9.0], [3.0, 0.0], [0.0, 2.0]])  # token 0 is a special one; rows count by their direction
    model = Static(table, torch.tensor([0]), classes=2)
    ids, mask = torch.tensor([[0, 1, 2, 1]]), torch.tensor([[1, 1, 1, 0]])
    torch.testing.assert_close(model.means(ids, mask), torch.tensor([[0.5, 0.5]]))


def test_its_head_is_fitted_to_probabilities() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(400, 3, generator=generator)
    wanted = torch.randn(2, 3, generator=generator)
    head = torch.nn.Linear(3, 2)
    fit(head, features, (features @ wanted.T).softmax(dim=-1))
    assert ((head(features).argmax(-1)) == (features @ wanted.T).argmax(-1)).float().mean() > 0.97


def test_both_are_called_like_a_model(teacher_artifact: Path, tmp_path: Path) -> None:
    teacher = load_teacher(teacher_artifact)
    run = load_run("quick", None, ["synthesis.samples=64"])
    synthesize_parts(teacher, run.synthesis, 0, tmp_path, [0])
    static, int8 = static_model(teacher, Bank(tmp_path)), int8_teacher(teacher, teacher_artifact, tmp_path)
    data = Texts(["a b c", "b"], [0, 1])
    for model in (static, int8):
        assert accuracy(model, teacher.tokenizer, data) in (0.0, 0.5, 1.0)
    batch = teacher.tokenizer(data.texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        exact = teacher.model(**batch).logits
    apart = difference(int8(**batch).logits, exact)
    assert FORWARD < apart < 0.3, "weights of 7 bits give other logits, but not by much"


def test_long_texts_are_sentences_of_one_label_each_twice() -> None:
    sentences = Texts([f"s{i}" for i in range(50)], [i % 2 for i in range(50)])
    long = joined(sentences)
    assert sorted(word for text in long.texts for word in text.split()) == sorted(sentences.texts * 2)
    assert all({int(word[1:]) % 2 for word in text.split()} == {label} for text, label in zip(long.texts, long.labels, strict=True))
    assert max(len(text.split()) for text in long.texts) <= 12
    assert joined(sentences) == long
