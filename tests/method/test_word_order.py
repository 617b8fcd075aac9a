"""Declared sources of word order: samples begin as pieces of a text or as a language model's words, and nobody can miss that they did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerBase

from asdfd import steps
from asdfd.base.artifacts import Artifact, read, sha256_of
from asdfd.base.config import Run, Synthesis
from asdfd.base.errors import InputError, RefusedError, StoppedError
from asdfd.base.form import filled_in
from asdfd.base.loading import load_run
from asdfd.cli.main import build_parser
from asdfd.cli.options import read_parameters
from asdfd.method import synthesis, word_order
from asdfd.method.bank import Bank
from asdfd.method.prior import vocabulary_prior
from asdfd.method.randomness import generator
from asdfd.method.word_order import LanguageModel, PublicText, declared_digests, declared_source, load_language_model, read_public_text
from asdfd.models.classifiers import Classifier
from asdfd.steps.planning import plan
from tests import tiny_models

SMALL = Synthesis(samples=96, minimum_length=3, maximum_length=6, guessing="none")
SENTENCES = tiny_models.random_texts(300, seed=7, longest=9)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 lines of two sentences each, with blank lines and characters that the tokenizer does not know."""
    path = tmp_path_factory.mktemp("text") / "public.txt"
    lines = [f"{first}. {second}! ☃" for first, second in zip(SENTENCES[::2], SENTENCES[1::2], strict=True)]
    path.write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_language_model(tmp_path_factory.mktemp("language model") / "model", tiny_models.bert_tokenizer())


def make_language_model(folder: Path, tokenizer: PreTrainedTokenizerBase, positions: int = tiny_models.POSITIONS) -> Path:
    """A random BERT with its language modelling head. Its output bias favours three words, so that its draws are known when they are seen."""
    sizes: dict[str, Any] = {**tiny_models.SIZES, "vocab_size": len(tokenizer), "num_hidden_layers": 1, "max_position_embeddings": positions}
    config = BertConfig(**sizes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BertForMaskedLM(config)
    with torch.no_grad():
        model.get_output_embeddings().bias[favourites(tokenizer)] += 12.0
        model.get_output_embeddings().bias[tokenizer.all_special_ids] += 50.0  # a model may think so, a sample never holds them
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def favourites(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    return [tokenizer.get_vocab()[word] for word in ("wonderful", "boring", "price")]


def changed(**changes) -> Synthesis:
    return Synthesis.model_validate(SMALL.model_dump() | changes)


def words_of(teacher: Classifier, texts: list[str]) -> list[int]:
    """Ordinary tokens of texts, one after the other."""
    encoded = teacher.tokenizer(texts, add_special_tokens=False)["input_ids"]
    return [token for row in encoded for token in row if token not in teacher.tokenizer.all_special_ids]


def contents(bank: Bank) -> list[list[int]]:
    return [bank.content(np.array([row]))[0].tolist() for row in range(len(bank))]


def make_bank(teacher: Classifier, folder: Path, config: Synthesis, parts: list[int]) -> Bank:
    folder.mkdir(exist_ok=True)
    synthesis.synthesize_parts(teacher, config, 0, folder, parts)
    return Bank(folder)


def test_samples_are_pieces_of_the_text_that_begin_with_a_sentence(teacher: Classifier, text: Path, tmp_path: Path) -> None:
    bank = make_bank(teacher, tmp_path / "bank", changed(prior_text=str(text)), [0])
    lines = text.read_text(encoding="utf-8").splitlines()
    whole = words_of(teacher, lines)
    sentence_starts, place = set(), 0
    for sentence in [part for line in lines if line for part in line.replace(" ☃", "").replace(". ", ".\n").split("\n")]:
        sentence_starts.add(place)
        place += len(words_of(teacher, [sentence]))
    assert place == len(whole)
    windows = {tuple(whole[start : start + length]): start for length in range(3, 7) for start in sentence_starts}
    assert all(tuple(content) in windows for content in contents(bank))
    assert len({windows[tuple(content)] for content in contents(bank)}) > 60, "they begin at many places"


@pytest.mark.parametrize("family", tiny_models.TOKENIZERS)
def test_sentences_begin_with_a_word_in_every_kind_of_vocabulary(family: str) -> None:
    tokenizer = tiny_models.FAMILIES[family][1]()
    ((ids, starts),) = list(word_order.encoded(["the movie was long. he said  so! find it"], tokenizer))
    pieces = ["".join(str(tokenizer.decode(part.tolist())).split()) for part in np.split(ids, starts[1:])]
    assert pieces == ["themoviewaslong.", "hesaidso!", "findit"]


def test_few_sentences_are_entered_anywhere(teacher: Classifier, tmp_path: Path) -> None:
    """One long line without a full stop: samples that all began at its start would be the same."""
    path = tmp_path / "line.txt"
    path.write_text(" ".join(SENTENCES), encoding="utf-8")
    source = read_public_text(path, teacher.tokenizer, SMALL)
    drawn = source.draw(64, 5, generator(0, "test"))
    assert len({tuple(row) for row in drawn.tolist()}) > 50
    assert source.draw(1, len(source.tokens), generator(0, "test"))[0].tolist() == words_of(teacher, SENTENCES)


def test_a_text_is_read_in_pieces(teacher: Classifier, text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read_public_text(text, teacher.tokenizer, SMALL)
    monkeypatch.setattr(word_order, "ENCODED_AT_ONCE", 100)
    pieces = read_public_text(text, teacher.tokenizer, SMALL)
    assert isinstance(pieces.tokens, np.memmap)
    assert np.array_equal(whole.tokens, pieces.tokens)
    assert np.array_equal(whole.starts, pieces.starts)


@pytest.mark.parametrize("source", ["prior_text", "prior_model"])
@pytest.mark.parametrize("guessing", ["none", "replacement"])
def test_the_bank_is_the_same_however_it_is_split(
    teacher: Classifier, text: Path, language_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, guessing: str
) -> None:
    """In one process, with as many threads: then the bits are the same too, since a group is always computed whole and alone."""
    monkeypatch.setattr("asdfd.method.bank.PART", 32)
    monkeypatch.setattr("asdfd.method.synthesis.PART", 32)
    config = changed(guessing=guessing, pool=64, candidates=4, **{source: str({"prior_text": text, "prior_model": language_model}[source])})
    make_bank(teacher, tmp_path / "straight", config, [0, 1, 2])
    make_bank(teacher, tmp_path / "split", config, [0])
    make_bank(teacher, tmp_path / "split", config, [2, 1])
    for name in (f"part-0000{part}.safetensors" for part in range(3)):
        assert (tmp_path / "straight" / name).read_bytes() == (tmp_path / "split" / name).read_bytes()
    plain = make_bank(teacher, tmp_path / "plain", changed(guessing=guessing, pool=64, candidates=4), [0])
    assert contents(plain) != contents(Bank(tmp_path / "straight"))


def test_replacement_keeps_most_words_of_the_text(teacher: Classifier, text: Path, tmp_path: Path) -> None:
    kept = make_bank(teacher, tmp_path / "kept", changed(prior_text=str(text)), [0])
    replaced = make_bank(teacher, tmp_path / "replaced", changed(prior_text=str(text), guessing="replacement", pool=64, replaced_share=0.3), [0])
    same = np.array([before == after for old, new in zip(contents(kept), contents(replaced), strict=True) for before, after in zip(old, new, strict=True)])
    assert 0.6 < same.mean() < 0.8


def test_the_language_model_draws_words_that_it_finds_likely_and_never_special_ones(teacher: Classifier, language_model: Path) -> None:
    prior = vocabulary_prior(teacher.tokenizer, "zipf")
    source = load_language_model(language_model, SMALL, teacher, prior)
    drawn = source.draw(64, 6, generator(0, "test"))
    assert np.isin(drawn, favourites(teacher.tokenizer)).mean() > 0.95
    assert len({tuple(row) for row in drawn.tolist()}) > 50, "and draws them at random"
    assert np.array_equal(drawn, source.draw(64, 6, generator(0, "test"))), "the same computation in the same process"
    assert not np.array_equal(drawn, source.draw(64, 6, generator(1, "test")))
    assert source.draw(3, 1, generator(0, "test")).shape == (3, 1)


def test_a_draw_follows_the_models_distribution_given_the_other_words(teacher: Classifier, language_model: Path) -> None:
    source = load_language_model(language_model, SMALL, teacher, vocabulary_prior(teacher.tokenizer, "zipf"))
    tokens, places = np.full((4000, 4), source.prior.token_ids[3]), np.zeros((4000, 4), dtype=bool)
    places[:, 2] = True
    tokens[:, 2] = source.mask
    drawn = source.predicted(tokens, places, generator(0, "test").random(4000))
    row = [*source.frame.prefix, *tokens[0].tolist(), *source.frame.suffix]
    logits = source.model(input_ids=torch.tensor([row])).logits[0, len(source.frame.prefix) + 2]
    expected = logits[torch.from_numpy(source.prior.token_ids)].softmax(-1)
    found = np.array([(drawn == token).mean() for token in source.prior.token_ids])
    assert found == pytest.approx(expected.numpy(), abs=0.03)


def test_a_large_vocabulary_is_drawn_from_in_pieces(teacher: Classifier, language_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = load_language_model(language_model, SMALL, teacher, vocabulary_prior(teacher.tokenizer, "zipf"))
    whole = source.draw(32, 5, generator(0, "test"))
    monkeypatch.setattr(word_order, "LOGITS_AT_ONCE", 5 * source.model.config.vocab_size * 3)
    pieces = source.draw(32, 5, generator(0, "test"))
    assert (pieces == whole).mean() > 0.95, "other products, so a draw on the edge of two words may fall to the other one"


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (None, r"cannot be read \(No such file or directory\); name a file of one text per line"),
        (b"", "holds no text, 96 samples of up to 6 tokens need at least 96; name a longer text or lower synthesis.samples"),
        (b"\n \n", "holds no text"),
        ("☃ ☃".encode(), "holds no text"),
        (b"the people said so", "holds 4 tokens, 96 samples of up to 6 tokens need at least 96"),
        (b"the first\n\xe9t\xe9\n", "is not UTF-8 after line"),
    ],
)
def test_a_text_that_is_no_use_is_told_in_one_line(teacher: Classifier, tmp_path: Path, content: bytes | None, match: str) -> None:
    path = tmp_path / "public.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=match) as caught:
        read_public_text(path, teacher.tokenizer, SMALL)
    assert str(caught.value).startswith(f"synthesis.prior_text: {path} ")
    assert "\n" not in str(caught.value)


def test_a_source_that_is_of_no_use_leaves_nothing_behind(teacher_artifact: Path, text: Path, teacher_folder: Path, tmp_path: Path) -> None:
    for setting, kind in ((f"prior_text={text}", InputError), (f"prior_model={teacher_folder}", RefusedError)):  # too little text, and no language model
        with pytest.raises(kind):
            steps.synthesize(load_run("default", None, [f"synthesis.{setting}"]), teacher_artifact, tmp_path / "bank")
        assert not [path.name for path in tmp_path.iterdir() if path.is_dir()]


def test_a_source_that_cannot_be_read_for_a_moment_costs_no_finished_part(
    teacher_artifact: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is gone when the second try wants to read it, after its digest was taken: at the moment in which the teacher is loaded."""
    from asdfd.models import classifiers

    monkeypatch.setattr("asdfd.method.bank.PART", 32)
    monkeypatch.setattr("asdfd.method.synthesis.PART", 32)
    (source := tmp_path / "public.txt").write_bytes(text.read_bytes())
    settings = [f"synthesis.{name}={value}" for name, value in {**SMALL.model_dump(include={"samples", "maximum_length"}), "prior_text": source}.items()]
    run, load = load_run("default", None, settings), classifiers.load_teacher
    straight = steps.synthesize(run, teacher_artifact, tmp_path / "straight")
    with pytest.raises(StoppedError, match="stopped after part 1 of 3"):
        steps.synthesize(run, teacher_artifact, tmp_path / "bank", should_stop=lambda: True)
    finished = list((tmp_path / "bank.partial" / "artifact").iterdir())
    assert len(finished) == 1

    def load_as_the_source_goes(*arguments: Any) -> Classifier:
        source.rename(tmp_path / "away")
        return load(*arguments)

    with monkeypatch.context() as moment:
        moment.setattr(classifiers, "load_teacher", load_as_the_source_goes)
        with pytest.raises(InputError, match="cannot be read"):
            steps.synthesize(run, teacher_artifact, tmp_path / "bank")
    assert list((tmp_path / "bank.partial" / "artifact").iterdir()) == finished
    (tmp_path / "away").rename(source)
    assert steps.synthesize(run, teacher_artifact, tmp_path / "bank").digest == straight.digest


def test_a_folder_is_no_text(teacher: Classifier, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\)"):
        read_public_text(tmp_path, teacher.tokenizer, SMALL)
    with pytest.raises(InputError, match=r"synthesis\.prior_text: .*cannot be read"):
        declared_digests(changed(prior_text=str(tmp_path)))


def test_a_model_that_is_no_use_is_told_in_one_line(teacher: Classifier, teacher_folder: Path, tmp_path: Path) -> None:
    prior = vocabulary_prior(teacher.tokenizer, "zipf")
    mpnet = make_language_model(tmp_path / "mpnet", tiny_models.mpnet_tokenizer())
    pickled = make_language_model(tmp_path / "pickled", tiny_models.bert_tokenizer())
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    coded = make_language_model(tmp_path / "coded", tiny_models.bert_tokenizer())
    (coded / "modeling.py").write_text("raise SystemExit", encoding="utf-8")
    cut = make_language_model(tmp_path / "cut", tiny_models.bert_tokenizer())
    (cut / "model.safetensors").write_bytes((cut / "model.safetensors").read_bytes()[:5000])
    short = make_language_model(tmp_path / "short", tiny_models.bert_tokenizer(), positions=7)
    for folder, kind, match in (
        (tmp_path / "nowhere", InputError, "no such folder"),
        (tmp_path, InputError, r"config\.json: is missing"),
        (mpnet, RefusedError, "has another vocabulary than the teacher"),
        (pickled, RefusedError, "is a pickle"),
        (coded, RefusedError, "is code"),
        (cut, InputError, "is not a whole safetensors file"),
        (teacher_folder, RefusedError, r"is not a masked language model \(cls\.predictions\.\S+ is missing\)"),
        (short, RefusedError, "has 7 positions, samples of up to 8 tokens are asked for"),
    ):
        with pytest.raises(kind, match=match) as caught:
            load_language_model(folder, SMALL, teacher, prior)
        assert str(folder) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_digests_tell_what_is_in_the_source_and_not_where_it_lies(text: Path, language_model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.txt"
    copy.write_bytes(text.read_bytes())
    assert declared_digests(changed(prior_text=str(copy))) == declared_digests(changed(prior_text=str(text))) == {"prior_text": sha256_of(text)}
    copy.write_bytes(text.read_bytes() + b"more\n")
    assert declared_digests(changed(prior_text=str(copy))) != declared_digests(changed(prior_text=str(text)))
    model = declared_digests(changed(prior_model=str(language_model)))
    other = make_language_model(tmp_path / "model", tiny_models.bert_tokenizer())
    (other / "notes.md").write_text("not used", encoding="utf-8")
    assert declared_digests(changed(prior_model=str(other))) == model
    tensors = (other / "model.safetensors").read_bytes()
    (other / "model.safetensors").write_bytes(tensors[:-1] + bytes([tensors[-1] ^ 1]))
    assert declared_digests(changed(prior_model=str(other))) != model
    assert declared_digests(SMALL) == {}
    assert declared_source({}) == ""


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (["synthesis.prior_text=a", "synthesis.prior_model=b"], "prior_text and prior_model are both set"),
        (["synthesis.prior_text=a", "synthesis.initial=gaussian", "synthesis.guessing=none"], "prior_text gives tokens; set initial to 'tokens'"),
        (["synthesis.prior_model=a", "synthesis.initial=gaussian", "synthesis.guessing=none"], "prior_model gives tokens; set initial to 'tokens'"),
    ],
)
def test_parameters_that_do_not_fit_are_told(settings: list[str], match: str) -> None:
    with pytest.raises(InputError, match=match):
        load_run("default", None, settings)


def test_the_options_of_the_command_line() -> None:
    for verb in (["synthesize", "--teacher", "t", "--out", "o"], ["run", "--teacher", "t", "--out", "o"]):
        parsed = build_parser().parse_args([*verb, "--prior-text", "1.50"])
        assert read_parameters(parsed).synthesis.prior_text == "1.50", "a name that looks like a number stays a name"
        assert read_parameters(build_parser().parse_args([*verb, "--prior-model", "m"])).synthesis.prior_model == "m"
        with pytest.raises(InputError, match=r"--prior-model: synthesis: prior_text and prior_model are both set"):
            read_parameters(build_parser().parse_args([*verb, "--prior-text", "a", "--prior-model", "b"]))
    assert (Run().synthesis.prior_text, Run().synthesis.prior_model) == ("", ""), "never the default"


def test_the_pipeline_makes_the_bank_again_when_the_text_has_changed(text: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.txt"
    copy.write_bytes(text.read_bytes())
    teacher = tiny_models.make_teacher(tmp_path / "teacher", layers=2)
    values = filled_in(load_run("default", None, [f"teacher.reference={teacher}", f"synthesis.prior_text={copy}"]))
    before = plan("run-1", values, in_pod=False)
    assert plan("run-2", values, in_pod=False) == before
    copy.write_bytes(text.read_bytes() + b"more\n")
    after = plan("run-1", values, in_pod=False)
    assert after.synthesis != before.synthesis
    assert after.evaluation != before.evaluation, "its held-out samples are made with it, too"
    assert (after.fetching, after.distillation) == (before.fetching, before.distillation)


def compressed(teacher: Path, folder: Path, *settings: str) -> dict[str, Artifact]:
    small = ["samples=64", "maximum_length=6", "guessing=none"]
    common = [f"synthesis.{setting}" for setting in small] + ["distillation.steps=1", "evaluation.pseudo_samples=32", "evaluation.latency_runs=1"]
    run = load_run("default", None, [*common, *settings])
    bank = steps.synthesize(run, teacher, folder / "bank")
    student = steps.distill(run, teacher, bank.path, folder / "student")
    return {"bank": bank, "student": student, "evaluation": steps.evaluate(run, teacher, student.path, folder / "evaluation")}


@pytest.mark.slow
@pytest.mark.parametrize("source", ["prior_text", "prior_model", ""])
def test_whoever_looks_at_a_student_sees_what_it_was_made_from(teacher_artifact: Path, text: Path, language_model: Path, tmp_path: Path, source: str) -> None:
    path = {"prior_text": text, "prior_model": language_model}.get(source)
    made = compressed(teacher_artifact, tmp_path, *([f"synthesis.{source}={path}"] if source else []))
    card = (made["student"].path / "README.md").read_text(encoding="utf-8")
    report = (made["evaluation"].path / "report.html").read_text(encoding="utf-8")
    facts = json.loads((made["student"].path / "distillation.json").read_text(encoding="utf-8"))
    if not source:
        assert "**no training data was used**" in card
        assert "- data-free" in card
        assert "not data-free" not in card + report
        assert facts["declared_source"] == ""
        assert not {"prior_text", "prior_model"} & made["bank"].recipe.config.keys(), "recipes from before there were sources stay what they are"
        return
    digest = declared_digests(changed(**{source: str(path)}))[source]
    named = {"prior_text": f"unlabelled public text (SHA-256 {digest})", "prior_model": f"a public masked language model (digest {digest})"}[source]
    assert made["bank"].recipe.config[source] == digest
    assert facts["declared_source"] == named
    assert facts["parameters"]["synthesis"][source] == digest
    for page in (card, report):
        assert "not data-free in the strict sense" in page
        assert named in page
        assert str(path) not in page
    assert "- data-free" not in card
    assert "no training data was used" not in card
    assert str(path) not in json.dumps(read(made["evaluation"].path, "evaluation").recipe.config)
    assert steps.synthesize(load_run("default", None, _again(made["bank"], path, source)), teacher_artifact, made["bank"].path).digest == made["bank"].digest


def _again(bank: Artifact, path: Path | None, source: str) -> list[str]:
    kept = {name: value for name, value in bank.recipe.config.items() if name in ("samples", "maximum_length", "guessing")}
    return [f"synthesis.{source}={path}", *(f"synthesis.{name}={value}" for name, value in kept.items())]


def test_a_sources_kind_is_what_it_is(text: Path, language_model: Path, teacher: Classifier) -> None:
    prior = vocabulary_prior(teacher.tokenizer, "zipf")
    assert isinstance(word_order.open_word_order(changed(prior_text=str(text)), teacher, prior), PublicText)
    assert isinstance(word_order.open_word_order(changed(prior_model=str(language_model)), teacher, prior), LanguageModel)
    assert word_order.open_word_order(SMALL, teacher, prior) is None
