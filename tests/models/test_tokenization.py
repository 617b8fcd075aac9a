"""What tokenizes is what the teacher's folder holds: its tokenizer.json as it is, or the vocabulary of an older folder as transformers 4 took it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerBase

from asdfd.base.errors import InputError
from asdfd.models.classifiers import Classifier, load_teacher
from asdfd.models.fetching import fetch
from asdfd.models.students import derive_student, save_student
from asdfd.models.tokenization import load_tokenizer
from asdfd.models.tokenization_check import telling_texts
from tests.tiny_models import TOKENIZERS, WORDS, make_teacher, random_texts, roberta_tokenizer, wordpiece_vocabulary

HARD = (
    "wait… what",
    "ＡＢｃ １２",
    "ﬁne ½ ™",
    "Café naïve",
    "don’t — “do”",
    "  two  spaces ",
    "tab\tand\nline",
    "日本語 中文",
    "😀 #tag @user",
    "UPPER lower",
    "1,000.5 9,",
)
"""Texts that classes and files treat differently."""


def fetched(folder: Path, out: Path) -> Classifier:
    return load_teacher(fetch(str(folder), out).path)


def encoded(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str] = HARD) -> list[list[int]]:
    return tokenizer(list(texts))["input_ids"]


def of_file(folder: Path, texts: Sequence[str] = HARD) -> list[list[int]]:
    """What the tokenizers library makes of texts by the file alone."""
    file = Tokenizer.from_file(str(folder / "tokenizer.json"))
    file.no_truncation()
    file.no_padding()
    return [encoding.ids for encoding in file.encode_batch(list(texts))]


def change(folder: Path, edit: Callable[[Tokenizer], object], **config: object) -> Path:
    """Edit the tokenizer.json of a folder, and the config beside it."""
    file = Tokenizer.from_file(str(folder / "tokenizer.json"))
    edit(file)
    file.save(str(folder / "tokenizer.json"))
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    return folder


def with_own_normalizer(file: Tokenizer) -> None:
    file.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("…", "..."), normalizers.Lowercase(), normalizers.Replace(Regex("y"), "i")])


def with_own_splitting(file: Tokenizer) -> None:
    file.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), file.pre_tokenizer or pre_tokenizers.Whitespace()])


def cut_and_padded(file: Tokenizer) -> None:
    file.enable_truncation(4)
    file.enable_padding(length=9)


@pytest.mark.parametrize("edit", [with_own_normalizer, with_own_splitting, cut_and_padded], ids=lambda edit: edit.__name__)
@pytest.mark.parametrize("family", TOKENIZERS)
def test_the_file_is_followed_whatever_the_class_would_build(family: str, edit: Callable[[Tokenizer], None], tmp_path: Path) -> None:
    folder = change(make_teacher(tmp_path / "model", family, layers=1), edit)
    teacher = fetched(folder, tmp_path / "teacher")
    assert encoded(teacher.tokenizer) == of_file(folder)
    save_student(derive_student(teacher, (0,)), teacher, tmp_path / "student")
    assert of_file(tmp_path / "student") == of_file(folder)


def test_a_file_under_the_name_of_another_class_is_followed(tmp_path: Path) -> None:
    folder = change(make_teacher(tmp_path / "model", "xlm-roberta", layers=1), lambda _: None, tokenizer_class="RobertaTokenizer")
    texts = [*HARD, *random_texts(20)]
    found = encoded(fetched(folder, tmp_path / "teacher").tokenizer, texts)
    assert found == of_file(folder, texts)
    assert len({tuple(ids) for ids in found[len(HARD) :]}) == 20


@pytest.mark.parametrize("named", ["tokenizer_config.json", "nothing"])
def test_special_tokens_that_nothing_names_are_those_of_the_class(named: str, tmp_path: Path) -> None:
    """As in bert-base-uncased, whose config says only how long texts may be, and in uploads without any."""
    folder = make_teacher(tmp_path / "model", layers=1)
    config = folder / "tokenizer_config.json"
    config.write_text(json.dumps({"do_lower_case": True, "model_max_length": 64}))
    if named == "nothing":
        config.unlink()
    tokenizer = fetched(folder, tmp_path / "teacher").tokenizer
    assert (tokenizer.pad_token, tokenizer.cls_token, tokenizer.sep_token, tokenizer.mask_token) == ("[PAD]", "[CLS]", "[SEP]", "[MASK]")
    assert encoded(tokenizer) == of_file(folder)


def test_a_config_that_changes_what_the_file_makes_is_refused(tmp_path: Path) -> None:
    folder = change(make_teacher(tmp_path / "model", layers=1), lambda _: None, additional_special_tokens=["word"])
    with pytest.raises(InputError, match=r"tokenizer.json: makes .* of 'word.*', with the files beside it that becomes .*; save the tokenizer again") as caught:
        fetch(str(folder), tmp_path / "teacher")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "teacher.partial").exists()


CONTRADICTING: dict[str, tuple[str, Callable[[Tokenizer], object], str]] = {
    "cased": ("bert", lambda file: setattr(file, "normalizer", normalizers.BertNormalizer(lowercase=False)), "BertTokenizer"),
    "of its own": ("bert", with_own_normalizer, "BertTokenizer"),
    "no space before": ("roberta", lambda file: setattr(file, "pre_tokenizer", pre_tokenizers.ByteLevel(add_prefix_space=False)), "RobertaTokenizer"),
}
"""A family, what its file says otherwise than its class and the config beside it, and the class."""


@pytest.mark.parametrize("name", CONTRADICTING)
def test_a_file_that_its_class_would_not_follow_is_told_of(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    family, edit, kind = CONTRADICTING[name]
    folder = change(make_teacher(tmp_path / "model", family, layers=1), edit)
    teacher = fetched(folder, tmp_path / "teacher")
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "tokenizer.json" in line]
    assert "tokenizer.json: is followed, and makes [" in line
    assert f", where {kind} of transformers" in line
    assert "if the teacher was fine-tuned with that class, save the tokenizer again with it" in line
    assert encoded(teacher.tokenizer) == of_file(folder)


@pytest.mark.parametrize("family", TOKENIZERS)
def test_nothing_is_told_of_a_file_that_says_what_its_class_says(family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fetch(str(make_teacher(tmp_path / "model", family, layers=1)), tmp_path / "teacher")
    assert "tokenizer" not in capsys.readouterr().err


def test_hundreds_of_texts_are_compared(teacher_folder: Path) -> None:
    texts = list(telling_texts(Tokenizer.from_file(str(teacher_folder / "tokenizer.json"))))
    assert len(texts) > 500
    for characters in ("…", "ＡＢ", "ﬁ", "é", " ", "’", "日本", "😀"):
        assert any(characters in text for text in texts), characters


SPECIAL: dict[str, dict[str, object]] = {
    "spm.model": {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3, "pad_piece": "[PAD]", "bos_piece": "[CLS]", "eos_piece": "[SEP]", "unk_piece": "[UNK]"},
    "spiece.model": {"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1, "control_symbols": ["[CLS]", "[SEP]", "[MASK]"]},
    "sentencepiece.bpe.model": {},
}
"""How the pretrained models' vocabularies were trained, by the name of their files."""


TYPES: dict[str, dict[str, object]] = {
    "unigram": {},
    "bpe": {"model_type": "bpe"},
    "bytes": {"model_type": "bpe", "byte_fallback": True, "vocab_size": 320},
    "llama": {"model_type": "bpe", "byte_fallback": True, "vocab_size": 320, "normalization_rule_name": "identity", "remove_extra_whitespaces": False},
}
"""Kinds of sentencepiece models; Llama's has no normalizer."""
TEXTS = [*random_texts(200, seed=3), "wait… the ＡＢ end", "ﬁne ½", "don't - (stop)", "1,000.5 9, 10%", "日本語 中文", "😀 #tag @user", "x" * 30]
TRAINING = """
import json, pathlib, sys
import sentencepiece
types, special, texts = json.load(sys.stdin)
for type, options in types.items():
    pathlib.Path(type).mkdir()
    for name, others in special.items():
        file = f"{type}/{name}"
        wanted = dict(input="texts", model_prefix=file.removesuffix(".model"), vocab_size=300, hard_vocab_limit=False, minloglevel=2)
        sentencepiece.SentencePieceTrainer.train(**wanted | others | options)
        pieces = sentencepiece.SentencePieceProcessor(model_file=file)
        json.dump({text: pieces.encode(text) for text in [*texts, *map(str.lower, texts)]}, open(file + ".json", "w"))
"""
"""In a process of its own: the wrapper's types warn where they are made, and a warning that is an error, as all are here, is the end of the process."""


@pytest.fixture(scope="module")
def sentencepieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of sentencepiece models as the families have them, with the normalizer that they have, and beside each the pieces that it makes of TEXTS."""
    folder = tmp_path_factory.mktemp("sentencepieces")
    (folder / "texts").write_text("\n".join([*random_texts(400, seed=9), *HARD * 20]), encoding="utf-8")
    given = json.dumps([TYPES, SPECIAL, TEXTS])
    subprocess.run([sys.executable, "-W", "ignore", "-c", TRAINING], input=given, cwd=folder, text=True, check=True)
    return folder


OLD: dict[str, tuple[str, Callable[[int], int], tuple[int, int]]] = {
    "deberta-v3": ("spm.model", lambda piece: piece, (1, 2)),
    "xlm-roberta": ("sentencepiece.bpe.model", lambda piece: piece + 1 if piece else 3, (0, 2)),
    "camembert": ("sentencepiece.bpe.model", lambda piece: piece + 4 if piece else 3, (5, 6)),
    "albert": ("spiece.model", lambda piece: piece, (2, 3)),
}
"""A family's sentencepiece file, the token id of a piece, and the ids around a text."""


def before_tokenizer_json(family: str, model: Path, folder: Path, **config: object) -> Path:
    """A teacher with a sentencepiece model alone, as they were uploaded when it was all there was."""
    make_teacher(folder, family, layers=1)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    shutil.copyfile(model, folder / (OLD[family][0] if family in OLD else "tokenizer.model"))
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
@pytest.mark.parametrize("family", OLD)
def test_a_teacher_with_a_sentencepiece_model_alone_makes_that_models_pieces(family: str, kind: str, sentencepieces: Path, tmp_path: Path) -> None:
    name, token, frame = OLD[family]
    folder = before_tokenizer_json(family, sentencepieces / kind / name, tmp_path / "model")
    pieces = json.loads((sentencepieces / kind / f"{name}.json").read_text())
    assert "tokenizer.json" not in fetch(str(folder), tmp_path / "teacher").files
    texts = [text.lower() if family == "albert" else text for text in TEXTS]
    for text, found in zip(texts, encoded(load_teacher(tmp_path / "teacher").tokenizer, texts), strict=True):
        assert found == [frame[0], *map(token, pieces[text]), frame[1]], text


@pytest.mark.parametrize(
    ("config", "before", "after"),
    [({}, [1], []), ({"add_bos_token": False, "add_eos_token": True}, [], [2]), ({"legacy": False, "add_eos_token": True}, [1], [2])],
)
def test_llamas_class_makes_its_models_pieces_and_frames_them_as_its_config_says(
    config: dict[str, object], before: list[int], after: list[int], sentencepieces: Path, tmp_path: Path
) -> None:
    """As some encoders of other languages than English have it."""
    model = sentencepieces / "llama" / "sentencepiece.bpe.model"
    folder = before_tokenizer_json("modernbert", model, tmp_path / "model", tokenizer_class="LlamaTokenizer", pad_token="</s>", **config)
    teacher = fetched(folder, tmp_path / "teacher")
    pieces = json.loads(Path(f"{model}.json").read_text())
    for text, found in zip(TEXTS, encoded(teacher.tokenizer, TEXTS), strict=True):
        assert found == [*before, *pieces[text], *after], text
    first, second = TEXTS[:2]
    assert teacher.tokenizer(first, second)["input_ids"] == [*before, *pieces[first], *after, *before, *pieces[second], *after]
    save_student(derive_student(teacher, (0,)), teacher, tmp_path / "student")
    assert of_file(tmp_path / "student", TEXTS) == encoded(teacher.tokenizer, TEXTS)


def test_bytes_that_the_class_does_not_make_are_unknown_and_that_is_told(sentencepieces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = before_tokenizer_json("deberta-v3", sentencepieces / "bytes" / "spm.model", tmp_path / "model")
    teacher = fetched(folder, tmp_path / "teacher")
    assert "spm.model: DebertaV2Tokenizer makes no bytes of unknown characters, as this file would: each is [UNK]" in capsys.readouterr().err
    assert encoded(teacher.tokenizer, ["the \u0e20"])[0][-2] == teacher.tokenizer.unk_token_id


def test_an_older_folder_becomes_a_student_with_a_tokenizer_json(sentencepieces: Path, tmp_path: Path) -> None:
    folder = before_tokenizer_json("deberta-v3", sentencepieces / "unigram" / "spm.model", tmp_path / "model")
    teacher = fetched(folder, tmp_path / "teacher")
    save_student(derive_student(teacher, (0,)), teacher, tmp_path / "student")
    assert of_file(tmp_path / "student") == encoded(teacher.tokenizer)
    assert not list((tmp_path / "student").glob("*.model"))


def test_line_ends_of_windows_are_no_part_of_a_token(tmp_path: Path) -> None:
    make_teacher(tmp_path / "model", "roberta", layers=1)
    model = json.loads((tmp_path / "model" / "tokenizer.json").read_text())["model"]
    (tmp_path / "model" / "tokenizer.json").unlink()
    (tmp_path / "model" / "vocab.json").write_text(json.dumps(model["vocab"]))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in model["merges"]), ""]
    (tmp_path / "model" / "merges.txt").write_bytes("\r\n".join(lines).encode())
    assert encoded(fetched(tmp_path / "model", tmp_path / "teacher").tokenizer) == encoded(roberta_tokenizer())


def bpe_codes(folder: Path) -> None:
    """The two files of BERTweet's and PhoBERT's kind: merges within words, and pieces that a word goes on after with @@."""
    merges: dict[tuple[str, str], str] = {}
    for word in (word for word in WORDS[:60] if len(word) > 1):
        left = word[0]
        for place, letter in enumerate(word[1:], start=2):
            right = letter + ("</w>" if place == len(word) else "")
            merges[left, right] = left + right
            left += right
    pieces = dict.fromkeys(piece.removesuffix("</w>") if piece.endswith("</w>") else f"{piece}@@" for piece in merges.values())
    letters = [f"{letter}{end}" for letter in "abcdefghijklmnopqrstuvwxyz" for end in ("@@", "")]
    (folder / "vocab.txt").write_text("".join(f"{piece} 1\n" for piece in dict.fromkeys([*letters, *pieces])))
    (folder / "bpe.codes").write_text("".join(f"{left} {right} 1\n" for left, right in merges))


@pytest.mark.parametrize("name", ["BertweetTokenizer", "PhobertTokenizer"])
def test_a_tokenizer_in_python_is_copied_and_handed_on_whole(name: str, tmp_path: Path) -> None:
    folder = make_teacher(tmp_path / "model", "roberta", layers=1)
    (folder / "tokenizer.json").unlink()
    bpe_codes(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name, **({"normalization": True} if name == "BertweetTokenizer" else {})}))
    artifact = fetch(str(folder), tmp_path / "teacher")
    assert set(artifact.files) == {"config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt", "bpe.codes"}
    teacher = load_teacher(artifact.path)
    text = "the wonderful @user movie"
    assert "the" in teacher.tokenizer.tokenize(text)
    save_student(derive_student(teacher, (0,)), teacher, tmp_path / "student")
    student = load_tokenizer(tmp_path / "student", "student")
    assert student(text)["input_ids"] == teacher.tokenizer(text)["input_ids"]
    assert student.model_max_length == 128


def test_a_tokenizer_that_needs_a_package_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Japanese words are told apart by a package and a dictionary; where the package is installed, it is hidden here."""
    monkeypatch.setitem(sys.modules, "fugashi", None)
    folder = make_teacher(tmp_path / "model", layers=1)
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in wordpiece_vocabulary()))
    kind = {"tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "mecab", "mecab_kwargs": {"mecab_dic": "unidic_lite"}}
    (folder / "tokenizer_config.json").write_text(json.dumps(kind))
    with pytest.raises(InputError, match=r"fugashi.*; pip install fugashi unidic-lite, and name it again"):
        fetch(str(folder), tmp_path / "teacher")


FILES: dict[str, tuple[dict[str, str], set[str]]] = {
    "a vocabulary that the file replaces": ({"vocab.txt": "[PAD]\n", "spiece.model": "", "merges.txt": "", "bpe.codes": ""}, set()),
    "added tokens": ({"added_tokens.json": '{"[MASK]": 12}'}, {"added_tokens.json"}),
    "roles": ({"special_tokens_map.json": '{"unk_token": "[UNK]"}'}, {"special_tokens_map.json"}),
    "a chat template": ({"chat_template.jinja": "{{ messages }}"}, {"chat_template.jinja"}),
    "others": ({"README.md": "", "trainer_state.json": "{}", "generation_config.json": "{}"}, set()),
}


@pytest.mark.parametrize("what", FILES)
def test_what_the_tokenizer_reads_is_the_teachers_and_nothing_else(what: str, teacher_folder: Path, tmp_path: Path) -> None:
    files, read = FILES[what]
    folder = Path(shutil.copytree(teacher_folder, tmp_path / "model"))
    for name, content in files.items():
        (folder / name).write_text(content)
    artifact = fetch(str(folder), tmp_path / "teacher")
    assert set(artifact.files) == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} | read
    assert (artifact.digest == fetch(str(teacher_folder), tmp_path / "plain").digest) == (not read)


def test_a_chat_template_in_the_config_changes_nothing(teacher_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(teacher_folder, tmp_path / "model"))
    change(folder, lambda _: None, chat_template=[{"name": "default", "template": "{{ messages }}"}])
    teacher = fetched(folder, tmp_path / "teacher")
    assert encoded(teacher.tokenizer) == of_file(folder)
    save_student(derive_student(teacher, (0,)), teacher, tmp_path / "student")
    assert encoded(load_tokenizer(tmp_path / "student", "student")) == of_file(folder)
