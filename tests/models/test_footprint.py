"""The footprint of fine-tuning: which rows of a teacher's tables moved, told by subtraction, for teachers that were really fine-tuned here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from asdfd import steps
from asdfd.base import artifacts
from asdfd.base.errors import AsdfdError, InputError, RefusedError
from asdfd.base.loading import load_run
from asdfd.cli.main import main
from asdfd.method.prior import prior_of, vocabulary_prior
from asdfd.models.classifiers import load_teacher
from asdfd.models.fetching import fetch
from asdfd.models.footprint import Footprint, drift, moves, named_base, read_footprint, traces, write_footprint
from tests.fine_tuned import TEXTS, fine_tune
from tests.tiny_models import make_teacher


@pytest.fixture(scope="module")
def tuned(teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fine_tune(teacher_folder, tmp_path_factory.mktemp("tuned") / "teacher")


def held(folder: Path) -> tuple[set[int], int]:
    """The tokens of the training texts with those of their frame, and the longest text in tokens."""
    rows = AutoTokenizer.from_pretrained(folder)(TEXTS)["input_ids"]
    return {token for row in rows for token in row}, max(map(len, rows))


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_the_rows_that_moved_are_the_training_vocabulary_and_the_positions_reach_the_longest_text(decay: float, teacher_folder: Path, tmp_path: Path) -> None:
    folder = fine_tune(teacher_folder, tmp_path / "tuned", decay)
    found = read_footprint(fetch(str(folder), tmp_path / "teacher", base=str(teacher_folder)).path)
    assert found is not None
    tokens, longest = held(folder)
    padding = {AutoTokenizer.from_pretrained(folder).pad_token_id}
    assert set(np.flatnonzero(found.tokens).tolist()) - padding == tokens - padding
    assert np.flatnonzero(found.positions).tolist() == list(range(longest))


def test_what_it_reveals_is_told_printed_and_kept_under_the_digest(
    tuned: Path, teacher_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fetch", "--teacher", str(tuned), "--set", f"teacher.base={teacher_folder}", "--out", str(tmp_path / "teacher")]
    assert main(words) == 0
    printed = capsys.readouterr()
    artifact = artifacts.read(tmp_path / "teacher", "teacher")
    found = read_footprint(artifact.path)
    assert found is not None
    revealed = f"which {found.moved} of {len(found.tokens)} tokens its training texts held"
    assert revealed in printed.out
    assert revealed in printed.err
    assert f"the longest were of {held(tuned)[1]} tokens" in printed.out
    plain = fetch(str(tuned), tmp_path / "plain")
    assert artifact.digest != plain.digest
    assert plain.recipe.config == {"reference": f"folder:{plain.digest}"}
    assert artifact.recipe.config == {**plain.recipe.config, "base": found.base}
    assert str(tmp_path).encode() not in (artifact.path / "manifest.json").read_bytes()
    again = fetch(str(tuned), tmp_path / "again", base=str(teacher_folder), expected_digest=artifact.digest)
    assert {name: (again.path / name).read_bytes() for name in again.files} == {name: (artifact.path / name).read_bytes() for name in artifact.files}
    with pytest.raises(RefusedError, match=f"has digest {artifact.digest}, expected {plain.digest}"):
        fetch(str(tuned), tmp_path / "other", base=str(teacher_folder), expected_digest=plain.digest)
    assert not (tmp_path / "other").exists()


def test_the_same_teacher_with_an_encoder_and_without_one_are_not_taken_for_each_other(tuned: Path, teacher_folder: Path, tmp_path: Path) -> None:
    fetch(str(tuned), tmp_path / "teacher")
    with pytest.raises(InputError, match="made from other inputs or parameters"):
        fetch(str(tuned), tmp_path / "teacher", base=str(teacher_folder))


@pytest.mark.parametrize(
    ("change", "line"), [({"freeze": True}, "so fine-tuning left it frozen"), ({"l2": True, "decay": 0.1}, "every row of its word table moved")]
)
def test_a_table_that_tells_nothing_is_told_and_the_teacher_is_the_same_as_without(
    change: dict, line: str, teacher_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = fine_tune(teacher_folder, tmp_path / "tuned", **change)
    with_base = steps.fetch(load_run(settings=[f"teacher.reference={folder}", f"teacher.base={teacher_folder}"]), tmp_path / "teacher")
    assert line in capsys.readouterr().err
    assert read_footprint(with_base.path) is None
    assert with_base.digest == fetch(str(folder), tmp_path / "plain").digest


def other_family(base: Path) -> None:
    shutil.rmtree(base)
    make_teacher(base, "electra")


def other_weights(base: Path) -> None:
    shutil.rmtree(base)
    make_teacher(base, seed=1)


def other_vocabulary(base: Path) -> None:
    tokenizer = json.loads((base / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["the"], vocabulary["of"] = vocabulary["of"], vocabulary["the"]
    (base / "tokenizer.json").write_text(json.dumps(tokenizer))


def other_width(base: Path) -> None:
    tensors = load_file(base / "model.safetensors")
    tensors["bert.embeddings.word_embeddings.weight"] = tensors["bert.embeddings.word_embeddings.weight"][:, :16].contiguous()
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})


def no_words(base: Path) -> None:
    tensors = load_file(base / "model.safetensors")
    del tensors["bert.embeddings.word_embeddings.weight"]
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("change", "kind", "line"),
    [
        (other_family, RefusedError, "is a model of the family electra, the teacher is of bert"),
        (other_vocabulary, RefusedError, "has another vocabulary than the teacher"),
        (other_width, RefusedError, "has word embeddings of 16 numbers, the teacher's have 32"),
        (other_weights, RefusedError, "has quite another word table than the teacher"),
        (no_words, InputError, "holds no weight embeddings.word_embeddings"),
        (lambda base: (base / "model.safetensors").unlink(), InputError, "is missing, and pickle weights are never loaded"),
        (shutil.rmtree, InputError, "no such folder"),
    ],
)
def test_another_encoder_is_refused_with_one_line_and_nothing_is_left(
    change, kind: type[AsdfdError], line: str, tuned: Path, teacher_folder: Path, tmp_path: Path
) -> None:
    base = Path(shutil.copytree(teacher_folder, tmp_path / "base"))
    change(base)
    with pytest.raises(AsdfdError) as caught:
        fetch(str(tuned), tmp_path / "teacher", base=str(base))
    message = str(caught.value)
    assert type(caught.value) is kind, message
    assert line in message
    assert str(base) in message
    assert "\n" not in message
    assert not list(tmp_path.glob("teacher*"))


def test_without_an_encoder_a_line_says_what_is_lost_and_where_the_teacher_says_it_came_from(
    tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(tuned, tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"_name_or_path": "some/encoder"}))
    steps.fetch(load_run(settings=[f"teacher.reference={folder}"]), tmp_path / "teacher")
    line = capsys.readouterr().err
    assert line.startswith("asdfd: teacher.base is empty, so pseudo samples are drawn by how frequent words are in general;")
    assert "(its config.json says some/encoder)" in line
    assert named_base({"_name_or_path": "some/model"}, "hf://some/model@v1") == named_base({}, "x") == named_base({"_name_or_path": None}, "x") == ""


def test_tokens_are_drawn_from_the_training_texts_as_often_as_their_rows_tell(tuned: Path, teacher_folder: Path, tmp_path: Path) -> None:
    teacher = load_teacher(fetch(str(tuned), tmp_path / "teacher", base=str(teacher_folder)))
    plain = load_teacher(fetch(str(tuned), tmp_path / "plain"))
    assert teacher.footprint is not None
    before, after = vocabulary_prior(teacher.tokenizer, "zipf", ranked_characters=True), prior_of(teacher, "zipf")
    assert set(after.token_ids.tolist()) == set(before.token_ids.tolist()) & set(np.flatnonzero(teacher.footprint.tokens).tolist())
    by_rank = dict(zip(before.token_ids.tolist(), before.probabilities, strict=True))
    weights = np.array([by_rank[token] ** 0.5 * float(teacher.footprint.tokens[token]) for token in after.token_ids.tolist()])
    assert np.allclose(after.probabilities, weights / weights.sum(), rtol=1e-6, atol=0)
    general, known = vocabulary_prior(teacher.tokenizer, "zipf"), vocabulary_prior(teacher.tokenizer, "uniform")
    for found, wanted in ((prior_of(plain, "zipf"), general), (prior_of(plain, "uniform"), known), (prior_of(teacher, "uniform"), known)):
        assert np.array_equal(found.token_ids, wanted.token_ids)
        assert np.array_equal(found.probabilities, wanted.probabilities)


def test_the_shape_of_a_move_tells_how_often_a_token_occurred() -> None:
    """Rows that AdamW moved by gradients of no direction, each so often as is known: the distance alone orders them worse."""
    random = torch.Generator().manual_seed(0)
    base = torch.nn.functional.normalize(torch.randn(400, 128, generator=random))
    counts = np.maximum(1, (200 / (1 + np.arange(400))).astype(int)) * (np.arange(400) < 300)
    due = torch.zeros(200, 400, dtype=torch.bool)
    for token, count in enumerate(counts):
        due[torch.randperm(200, generator=random)[:count], token] = True
    table = torch.nn.Parameter(base.clone())
    optimizer = torch.optim.AdamW([table], lr=1e-4, weight_decay=0.01)
    for step in range(200):
        table.grad = torch.randn(400, 128, generator=random) * due[step][:, None]
        optimizer.step()
    tuned = table.detach().numpy()
    found = traces(tuned, base.numpy(), drift(tuned, base.numpy()))
    seen, occurrences = counts > 0, found.occurrences()
    assert np.array_equal(occurrences > 0, seen)
    assert occurrences.sum() == pytest.approx(1, rel=1e-4)
    assert np.median(found.peaks[counts == 1]) < 1.5 < 2.5 < np.median(found.peaks[counts > 20]), "the first occurrence moves all numbers alike"
    shares = counts / counts.sum()
    by_shape, by_distance = (float((shares[seen] * np.log(shares[seen] / (told[seen] / told.sum()))).sum()) for told in (occurrences, found.moves**2))
    assert by_shape < 0.7 * by_distance, "Kullback-Leibler distance from the true shares"


def test_rounding_is_no_move_and_weights_of_16_bits_tell_as_much(tuned: Path, teacher_folder: Path) -> None:
    name = "bert.embeddings.word_embeddings.weight"
    base, table = (load_file(folder / "model.safetensors")[name].numpy() for folder in (teacher_folder, tuned))
    exact = moves(table, base, drift(table, base))
    shrunk = base * np.float32(0.97)
    assert drift(shrunk, base).problem == "frozen"
    assert drift(shrunk, base).decay == pytest.approx(0.97, rel=1e-4)
    halved = table.astype(np.float16).astype(np.float32)
    found = moves(halved, base, drift(halved, base))
    assert set(np.flatnonzero(found)) <= set(np.flatnonzero(exact))
    assert np.count_nonzero(found) > 0.9 * np.count_nonzero(exact)


def test_the_file_comes_back_as_it_was(tmp_path: Path) -> None:
    written = Footprint(np.array([0, 0.5, 0.25], dtype=np.float32), np.zeros(0, dtype=np.float32), "ab" * 32)
    write_footprint(written, tmp_path)
    found = read_footprint(tmp_path)
    assert found is not None
    assert np.array_equal(found.tokens, written.tokens)
    assert np.array_equal(found.positions, written.positions)
    assert found.facts() == {"tokens_of_the_training_texts": 2, "tokens_of_the_vocabulary": 3, "positions_moved": 0, "encoder": "ab" * 32}
