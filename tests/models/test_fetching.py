"""The door: what becomes a teacher, and what is refused with one line, leaving nothing behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForSequenceClassification

from asdfd.base import artifacts
from asdfd.base.errors import AsdfdError, InputError, RefusedError
from asdfd.models import admission, classifiers, fetching
from asdfd.models import hub as asking
from asdfd.models.fetching import fetch
from tests.servers.hub import Fault, Hub, running_hub
from tests.tiny_models import FAMILIES, bert_tokenizer, make_teacher, wordpiece_vocabulary


@pytest.fixture
def folder(teacher_folder: Path, tmp_path: Path) -> Path:
    """A teacher folder of the test's own."""
    return Path(shutil.copytree(teacher_folder, tmp_path / "model"))


def refusal(kind: type[AsdfdError], reference: Path | str, out: Path, expected_digest: str = "") -> str:
    """The message with which `reference` is turned away: of exactly this kind, one line, naming the reference, and nothing is left at `out`."""
    with pytest.raises(AsdfdError) as caught:
        fetch(str(reference), out, expected_digest=expected_digest)
    message = str(caught.value)
    assert type(caught.value) is kind, message
    assert "\n" not in message
    assert str(reference) in message
    assert ".partial" not in message
    assert not out.exists()
    assert not out.with_name(out.name + ".partial").exists()
    return message


def edit_json(path: Path, **changes: Any) -> None:
    """Set the named values of a JSON object in a file; None takes the name away."""
    values = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: value for name, value in values.items() if value is not None}))


def config(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit_json(folder / "config.json", **changes)


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return damage


def write(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


def rename(name: str, new: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).rename(folder / new)


def cut(folder: Path, name: str = "model.safetensors", share: float = 0.5) -> None:
    os.truncate(folder / name, int(share * (folder / name).stat().st_size))


def break_header(folder: Path) -> None:
    with (folder / "model.safetensors").open("r+b") as stream:
        stream.write(b"\xff" * 16)


def without_head(folder: Path) -> None:
    """A base model whose config still claims to be a classifier."""
    AutoModel.from_pretrained(folder).save_pretrained(folder)
    edit_json(folder / "config.json", architectures=["BertForSequenceClassification"])


def shard(folder: Path) -> None:
    """The same weights in several files and an index."""
    AutoModelForSequenceClassification.from_pretrained(folder).save_pretrained(folder, max_shard_size="60KB")
    (folder / "model.safetensors").unlink(missing_ok=True)


def lose_shard(folder: Path) -> None:
    shard(folder)
    sorted(folder.glob("model-*.safetensors"))[1].unlink()


def shard_outside(folder: Path) -> None:
    shard(folder)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"]["classifier.bias"] = "../model-00001-of-00002.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def wrong_vocabulary(folder: Path) -> None:
    """A BERT that was given RoBERTa's tokenizer files."""
    no_tokenizer(folder)
    (folder / "vocab.json").write_text('{"a": 0}')
    (folder / "merges.txt").write_text("#version: 0.2\n")


def no_words(folder: Path) -> None:
    """A vocabulary that lost all but its special tokens."""
    no_tokenizer(folder)
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")


def larger_vocabulary(folder: Path) -> None:
    tokenizer = bert_tokenizer()
    tokenizer.add_tokens(["oneword", "another-word"])
    tokenizer.save_pretrained(folder)


def drop_weight(name: str) -> Callable[[Path], None]:
    return weights(lambda tensors: tensors.pop(name))


def set_weight(name: str, value: float) -> Callable[[Path], None]:
    return weights(lambda tensors: tensors[name].view(-1)[0].fill_(value))


def instead_of_weights(*names: str) -> Callable[[Path], None]:
    """Files that lie where the weights should."""

    def replace(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        for name in names:
            (folder / name).write_text("{}")

    return replace


def only_below(*names: str) -> Callable[[Path], None]:
    """The folder that a training writes to, with its checkpoints."""

    def move(folder: Path) -> None:
        for name in names:
            shutil.copytree(folder, folder.with_name("run") / name)
        shutil.rmtree(folder)
        folder.with_name("run").rename(folder)

    return move


def adapter(folder: Path) -> None:
    """As peft saves one, beside the tokenizer."""
    for name in ("config.json", "model.safetensors"):
        (folder / name).unlink()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "bert-base-uncased"}')
    (folder / "adapter_model.safetensors").write_text("")


def renamed(change: Callable[[str], str]) -> Callable[[Path], None]:
    """Give every weight another name."""
    return weights(lambda tensors: [tensors.__setitem__(change(name), tensors.pop(name)) for name in list(tensors)])


def one_more(name: str, tensor: torch.Tensor) -> Callable[[Path], None]:
    return weights(lambda tensors: tensors.__setitem__(name, tensor))


QUERY = "bert.encoder.layer.2.attention.self.query.weight"
REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "pickle only": (rename("model.safetensors", "pytorch_model.bin"), "pytorch_model.bin: is a pickle.*save_pretrained\\(safe_serialization=True\\)"),
    "checkpoint only": (rename("model.safetensors", "last.ckpt"), "last.ckpt: is a pickle"),
    "code in the config": (
        config(auto_map={"AutoModel": "modeling_mine.Model"}),
        "config.json: asks for code of its own.*transformers has BERT itself: .*take auto_map out of config.json in a copy",
    ),
    "code of another family": (config(model_type="mine", auto_map={"AutoModel": "modeling_mine.Model"}), "name a model that transformers implements itself"),
    "code in the tokenizer": (
        lambda f: edit_json(f / "tokenizer_config.json", auto_map={"AutoTokenizer": ["t.T", None]}),
        "tokenizer_config.json: asks for code.*tokenizer.json needs none: .*take auto_map out of tokenizer_config.json in a copy",
    ),
    "a python file": (write("modeling_mine.py", "raise SystemExit('this ran')"), "modeling_mine.py: is code"),
    "one label": (config(id2label={"0": "score"}, label2id=None), "has one label"),
    "one label by number": (config(id2label=None, label2id=None, num_labels=1), "has one label"),
    "regression": (config(problem_type="regression"), "problem_type is regression"),
    "unknown problem": (config(problem_type="ranking"), "problem_type is ranking, which is none that transformers knows"),
    "multi-label of one": (config(problem_type="multi_label_classification", id2label={"0": "toxic"}, label2id=None), "has one label"),
    "masked language model": (config(architectures=["BertForMaskedLM"]), "is a BertForMaskedLM, not a sequence classifier"),
    "base model": (lambda f: AutoModel.from_pretrained(f).save_pretrained(f), "is a BertModel, not a sequence classifier"),
    "quantized": (config(quantization_config={"quant_method": "bitsandbytes"}), "is quantized"),
    "relative positions": (config(position_embedding_type="relative_key"), "position_embedding_type is relative_key, .*no more since version 5"),
    "weights of eight bits": (weights(lambda tensors: tensors.update({QUERY: tensors[QUERY].to(torch.int8)})), f"weight {QUERY} is stored as I8"),
    "longformer": (config(model_type="longformer"), "family longformer is not supported; choose a model of albert, bert, .*roberta"),
    "ibert": (config(model_type="ibert"), "family ibert is not supported"),
    "canine": (config(model_type="canine"), "family canine is not supported"),
    "t5": (config(model_type="t5"), "family t5 is not supported"),
    "gpt2": (config(model_type="gpt2"), "family gpt2 is not supported"),
    "albert of two groups": (config(model_type="albert", num_hidden_groups=2), "num_hidden_groups is 2, and of ALBERT only models with 1 are supported"),
}
ADAPTED = "bert.encoder.layer.0.attention.self.query.lora_A.default.weight"
WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), "config.json: is missing"),
    "config cut off": (lambda f: cut(f, "config.json"), "config.json: is not valid JSON"),
    "config in latin-1": (lambda f: (f / "config.json").write_bytes(b'{"a": "\xe9"}'), "config.json: is not valid JSON"),
    "config is a list": (write("config.json", "[1]"), "config.json: holds no JSON object"),
    "no model type": (config(model_type=None), "names no model_type"),
    "a list as model type": (config(model_type=["bert"]), "names no model_type"),
    "a word as size": (config(hidden_size="large"), "cannot be loaded.*hidden_size"),
    "a padding id beyond the table": (config(pad_token_id=100_000), "cannot be loaded"),
    "an attention that is not installed": (config(_attn_implementation="flash_attention_2"), "cannot be loaded.*FlashAttention2"),
    "classes that are no numbers": (config(id2label={"a": "b", "c": "d"}, label2id=None), "cannot be loaded"),
    "tokenizer config cut off": (lambda f: cut(f, "tokenizer_config.json"), "tokenizer_config.json: is not valid JSON"),
    "no tokenizer": (no_tokenizer, "holds no tokenizer.*tokenizer.save_pretrained"),
    "tokenizer cut off": (lambda f: cut(f, "tokenizer.json"), "tokenizer cannot be loaded"),
    "tokenizer of another class": (wrong_vocabulary, "holds no tokenizer .neither tokenizer.json nor vocab.txt, which BertTokenizer reads"),
    "a tokenizer without words": (no_words, "tokenizer has no words"),
    "tokenizer of another model": (larger_vocabulary, "token id \\d+, the embedding table only \\d+ rows"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors: is missing"),
    "weights cut off": (cut, "model.safetensors: is not a whole safetensors file"),
    "weights short of a byte": (lambda f: cut(f, share=1 - 1e-6), "model.safetensors: is not a whole safetensors file"),
    "empty weights": (lambda f: cut(f, share=0), "model.safetensors: is not a whole safetensors file"),
    "broken header": (break_header, "model.safetensors: is not a whole safetensors file"),
    "Git LFS pointer": (write("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"), "Git LFS pointer"),
    "NaN": (set_weight(QUERY, float("nan")), f"weight {QUERY} holds NaN or infinite"),
    "infinite": (set_weight("classifier.bias", -float("inf")), "weight classifier.bias holds NaN or infinite"),
    "no head": (without_head, "no classification head .classifier.bias is missing"),
    "no head weight": (drop_weight("classifier.weight"), "no classification head .classifier.weight is missing"),
    "missing tensor": (drop_weight(QUERY), f"weight {QUERY} is missing"),
    "more classes than weights": (
        config(id2label={str(i): f"c{i}" for i in range(4)}, label2id=None),
        "classifier.bias has shape \\[3\\], .* asks for \\[4\\]",
    ),
    "another width": (config(intermediate_size=40), "has shape .* config.json asks for"),
    "more layers than weights": (config(num_hidden_layers=5), "weight bert.encoder.layer.4.* is missing"),
    "fewer layers than weights": (config(num_hidden_layers=3), "has weights of layer 3, config.json has 3 layers"),
    "labels with a gap": (config(id2label={"0": "a", "1": "b", "3": "c"}, label2id=None), "id2label in config.json must name the classes from 0"),
    "a label twice": (config(id2label={"0": "a", "1": "b", "2": "a"}, label2id=None), "names two classes 'a'"),
    "an adapter": (adapter, "adapter_config.json: this is an adapter of peft.*AutoPeftModelForSequenceClassification.from_pretrained"),
    "a model beside its adapter": (write("adapter_config.json", "{}"), "adapter_config.json: this is an adapter of peft"),
    "the folder of a training": (only_below("checkpoint-90", "checkpoint-1000"), "holds no model itself, but 2 checkpoints.*the last is .*/checkpoint-1000"),
    "the state of a training": (
        instead_of_weights("optimizer.pt", "scheduler.pt", "training_args.bin"),
        "optimizer.pt: is the state of a training and no weights",
    ),
    "pieces of a training": (instead_of_weights("zero_to_fp32.py", "latest"), "pieces of a DeepSpeed training.*python zero_to_fp32.py"),
    "weights of TensorFlow": (instead_of_weights("tf_model.h5"), "tf_model.h5: these are TensorFlow weights"),
    "weights of an adapter": (one_more(ADAPTED, torch.ones(2, 32)), f"weights of an adapter, which would be left out: {ADAPTED}; merge it"),
    "a wrapped adapter": (
        renamed(lambda name: f"base_model.model.{name.replace('query.', 'query.base_layer.')}"),
        "weights of an adapter.*and 5 more; merge it",
    ),
    "weights below a used part": (
        one_more("bert.encoder.layer.0.attention.self.distance_embedding.weight", torch.ones(9, 16)),
        "computes nothing with, in parts of the model that it uses: bert.encoder.layer.0.attention.self.distance_embedding.weight;",
    ),
    "weights below the head": (one_more("classifier.scale", torch.ones(3)), "computes nothing with.*classifier.scale"),
    "two weights of one name": (weights(lambda tensors: tensors.update({f"module.{QUERY}": tensors[QUERY] + 1})), f"two weights are called {QUERY}"),
    "lost shard": (lose_shard, "model-00002-of-.*: is missing"),
    "shard outside": (shard_outside, "names a file outside of the folder"),
    "index without map": (lambda f: (shard(f), (f / "model.safetensors.index.json").write_text("{}")), "holds no valid weight_map"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_unsafe_or_unsupported_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    damage, words = REFUSED[name]
    damage(folder)
    assert re.search(words, refusal(RefusedError, folder, tmp_path / "teacher"))


@pytest.mark.parametrize("name", WRONG)
def test_what_is_missing_or_damaged_is_an_input_error(folder: Path, tmp_path: Path, name: str) -> None:
    damage, words = WRONG[name]
    damage(folder)
    assert re.search(words, refusal(InputError, folder, tmp_path / "teacher"))


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("hf://organisation/name", "only a pinned one makes runs repeatable; write hf://organisation/name@revision"),
        ("hf://organisation/name@", "only a pinned one"),
        ("hf://name@main", "is not the name of a hub model"),
        ("s3://", "names no bucket; write s3://bucket/prefix"),
        ("s3://bucket/../teacher", "is not a name of an object"),
        ("https://models.example/teacher", "the scheme https:// is unknown"),
        ("/nowhere/teacher", "no such folder"),
    ],
)
def test_a_reference_that_names_nothing_is_an_input_error(tmp_path: Path, reference: str, words: str) -> None:
    assert words in refusal(InputError, reference, tmp_path / "teacher")


def test_an_empty_reference_and_a_file_are_input_errors(folder: Path, tmp_path: Path) -> None:
    assert "teacher.reference is empty" in refusal(InputError, "", tmp_path / "teacher")
    assert "is a file; name the folder" in refusal(InputError, folder / "model.safetensors", tmp_path / "teacher")


def test_an_unreadable_file_is_an_input_error(folder: Path, tmp_path: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to(folder / "tokenizer.json")
    refusal(InputError, folder, tmp_path / "teacher")


def test_a_model_whose_embeddings_cannot_stand_in_for_text_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No supported family does so, hence a real model with a real hook on its word embeddings, put in where the copy is loaded."""
    load = classifiers.load_classifier

    def double(_module: torch.nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        return 2 * output

    def load_scaled(*arguments: Any) -> classifiers.Classifier:
        classifier = load(*arguments)
        classifier.model.get_input_embeddings().register_forward_hook(double)
        return classifier

    monkeypatch.setattr(classifiers, "load_classifier", load_scaled)
    assert "different logits from ids and from embeddings" in refusal(RefusedError, folder, tmp_path / "teacher")


def test_the_digest_guards_new_and_present_teachers(folder: Path, tmp_path: Path) -> None:
    assert re.search("has digest [0-9a-f]{64}, expected 0000;", refusal(RefusedError, folder, tmp_path / "teacher", "0000"))
    digest = fetch(str(folder), tmp_path / "teacher").digest
    assert fetch(str(folder), tmp_path / "again", expected_digest=digest).digest == digest
    with pytest.raises(RefusedError, match=f"has digest {digest}, expected 0000"):
        fetch(str(folder), tmp_path / "teacher", expected_digest="0000")
    assert artifacts.read(tmp_path / "teacher", "teacher").digest == digest


def test_a_teacher_that_is_refused_leaves_no_lock_behind(folder: Path, tmp_path: Path) -> None:
    refusal(RefusedError, folder, tmp_path / "teacher", "0000")
    held = [path.resolve() for path in Path("/proc/self/fd").iterdir()]
    assert [file for file in held if file.is_relative_to(tmp_path)] == []


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_comes_in(tmp_path: Path, family: str) -> None:
    folder = make_teacher(tmp_path / "model", family, layers=2)
    artifact = fetch(str(folder), tmp_path / "teacher")
    assert set(artifact.files) == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert artifact.versions["torch"] == torch.__version__


def test_only_the_needed_files_are_copied_as_they_are(folder: Path, tmp_path: Path) -> None:
    for name in ("README.md", "optimizer.pt", "training_args.bin", "pytorch_model.bin", "trainer_state.json", "vocab.txt"):
        (folder / name).write_text("[PAD]\n")
    (folder / "checkpoint-10").mkdir()
    (folder / "checkpoint-10" / "config.json").write_text("{}")
    artifact = fetch(str(folder), tmp_path / "teacher")
    needed = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert {path.name for path in artifact.path.iterdir()} == needed | {"manifest.json"}
    for name in needed:
        assert (artifact.path / name).read_bytes() == (folder / name).read_bytes()


def test_the_same_content_makes_the_same_bytes_wherever_it_lies(folder: Path, teacher_folder: Path, tmp_path: Path) -> None:
    (folder / "README.md").write_text("not part of the teacher")
    first, second = fetch(str(teacher_folder), tmp_path / "a"), fetch(str(folder), tmp_path / "b")
    manifests = [(artifact.path / "manifest.json").read_bytes() for artifact in (first, second)]
    assert manifests[0] == manifests[1]
    assert str(tmp_path).encode() not in manifests[0]
    assert first.recipe.config == {"reference": f"folder:{first.digest}"}


def test_a_teacher_that_is_there_is_returned_untouched(folder: Path, tmp_path: Path) -> None:
    first = fetch(str(folder), tmp_path / "teacher")
    times = {path: path.stat().st_mtime_ns for path in first.path.iterdir()}
    again = fetch(str(folder), tmp_path / "teacher")
    assert again.digest == first.digest
    assert {path: path.stat().st_mtime_ns for path in again.path.iterdir()} == times


def test_another_teacher_is_never_overwritten(folder: Path, tmp_path: Path) -> None:
    first = fetch(str(folder), tmp_path / "teacher")
    set_weight("classifier.bias", 1.5)(folder)
    with pytest.raises(InputError, match="made from other inputs or parameters; remove it or name another --out"):
        fetch(str(folder), tmp_path / "teacher")
    assert artifacts.read(tmp_path / "teacher", "teacher").digest == first.digest


def test_a_killed_fetch_goes_on_without_its_leftovers(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kill is an interrupt raised where the copied model would be checked."""

    def interrupt(*_: Any) -> dict[str, str]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fetching, "check_model", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fetch(str(folder), tmp_path / "teacher")
    assert not (tmp_path / "teacher").exists()
    (tmp_path / "teacher.partial" / "artifact" / "leftover.safetensors").write_text("half a file")
    artifact = fetch(str(folder), tmp_path / "teacher")
    assert "leftover.safetensors" not in artifact.files
    assert not (tmp_path / "teacher.partial").exists()


def test_a_folder_that_changes_under_the_copy_is_not_taken(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The change is made between hashing and copying, by a wrapper around the hashing."""
    read = admission.read_source

    def read_then_change(*arguments: Any) -> admission.Source:
        source = read(*arguments)
        config(classifier_dropout=0.5)(folder)
        return source

    monkeypatch.setattr(fetching, "read_source", read_then_change)
    assert "changed while it was copied" in refusal(InputError, folder, tmp_path / "teacher")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_as_it_is_and_is_loaded_as_float32(folder: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    AutoModelForSequenceClassification.from_pretrained(folder).to(dtype).save_pretrained(folder)
    artifact = fetch(str(folder), tmp_path / "teacher")
    assert load_file(artifact.path / "model.safetensors")["classifier.weight"].dtype == dtype
    assert {tensor.dtype for tensor in classifiers.load_teacher(artifact.path).model.parameters()} == {torch.float32}


TAKEN: dict[str, Callable[[Path], object]] = {
    "compiled": renamed(lambda name: f"_orig_mod.{name}"),
    "on several GPUs": renamed(lambda name: f"module.{name}"),
    "compiled on several GPUs": renamed(lambda name: f"module._orig_mod.{name}"),
    "compiled layers": renamed(lambda name: name.replace("encoder.layer.1.", "encoder.layer.1._orig_mod.")),
    "sharded on several GPUs": renamed(lambda name: name.replace("bert.", "_fsdp_wrapped_module.bert._fsdp_wrapped_module.")),
    "names of TensorFlow": renamed(lambda name: name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")),
    "what pretraining left": one_more("cls.predictions.bias", torch.ones(5)),
    "numbers of positions": one_more("bert.embeddings.position_ids", torch.arange(128)[None]),
    "no quantization": config(quantization_config={}),
    "no code": config(auto_map={}),
    "absolute positions": config(position_embedding_type="absolute"),
}
"""What says nothing of the model that it lies in."""


@pytest.mark.parametrize("name", TAKEN)
def test_what_says_nothing_of_the_model_changes_nothing(folder: Path, tmp_path: Path, name: str) -> None:
    before = classifiers.load_teacher(fetch(str(folder), tmp_path / "before").path).model.state_dict()
    TAKEN[name](folder)
    after = classifiers.load_teacher(fetch(str(folder), tmp_path / "after").path).model.state_dict()
    assert [weight for weight in before if not torch.equal(before[weight], after[weight])] == []


def test_a_null_is_no_quantization(folder: Path, tmp_path: Path) -> None:
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, "quantization_config": None, "auto_map": None}))
    assert classifiers.load_teacher(fetch(str(folder), tmp_path / "teacher").path).label_names == ("complaint", "praise", "question")


def test_a_pooler_that_the_classifier_has_not_is_left_out(tmp_path: Path) -> None:
    folder = make_teacher(tmp_path / "model", "roberta", layers=1)
    one_more("roberta.pooler.dense.weight", torch.ones(32, 32))(folder)
    fetch(str(folder), tmp_path / "teacher")


def test_shards_are_the_same_model(folder: Path, tmp_path: Path) -> None:
    whole = classifiers.load_teacher(fetch(str(folder), tmp_path / "whole").path).model.state_dict()
    shard(folder)
    artifact = fetch(str(folder), tmp_path / "sharded")
    assert len([name for name in artifact.files if name.endswith(".safetensors")]) > 1
    assert "model.safetensors.index.json" in artifact.files
    sharded = classifiers.load_teacher(artifact.path).model.state_dict()
    assert all(torch.equal(whole[name], sharded[name]) for name in whole)


def test_a_folder_of_links_and_an_old_style_vocabulary_come_in(folder: Path, tmp_path: Path) -> None:
    """Links are what the hub's cache holds; vocab.txt is what models from before the tokenizers library have."""
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in wordpiece_vocabulary()))
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in folder.iterdir():
        (linked / path.name).symlink_to(path)
    artifact = fetch(str(linked), tmp_path / "teacher")
    assert not any(path.is_symlink() for path in artifact.path.iterdir())
    text = "the broken phone screen"
    assert classifiers.load_teacher(artifact.path).tokenizer(text)["input_ids"] == bert_tokenizer()(text)["input_ids"]


@pytest.mark.slow
def test_a_folder_is_fetched_without_any_connection(folder: Path, tmp_path: Path) -> None:
    """In a process of its own that is not told to be offline, and in which a connection or a name look-up ends the process."""
    program = (
        "import os, socket, sys; from pathlib import Path\n"
        "def stop(*arguments): os._exit(66)\n"
        "socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = stop\n"
        "from asdfd.models.fetching import fetch; print(fetch(sys.argv[1], Path(sys.argv[2])).digest)"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    result = subprocess.run([sys.executable, "-c", program, folder, tmp_path / "teacher"], env=environment, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.strip() == artifacts.read(tmp_path / "teacher", "teacher").digest


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running_hub(folder, tmp_path / "cache", monkeypatch) as running:
        yield running


def test_a_hub_model_is_downloaded_once_and_without_what_is_not_needed(hub: Hub, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("README.md", "pytorch_model.bin", "optimizer.pt", "onnx.safetensors"):
        (folder / name).write_text("not needed")
    reference = "hf://organisation/name@v1"
    artifact = fetch(reference, tmp_path / "teacher")
    assert set(hub.requested) == set(artifact.files) == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert artifact.recipe.config == {"reference": reference}
    assert artifact.digest == fetch(str(folder), tmp_path / "from-folder").digest
    assert not any(path.is_symlink() for path in artifact.path.iterdir())

    hub.requested.clear()
    assert fetch(reference, tmp_path / "teacher").digest == artifact.digest
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert fetch(reference, tmp_path / "offline").digest == artifact.digest
    assert hub.requested == []


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("hf://organisation/missing@v1", "nothing of this name is on the hub, or it is private"),
        ("hf://organisation/gated@v1", "is gated, and this account has no access"),
        ("hf://organisation/name@v2", "has no revision v2"),
        ("hf://organisation/down@v1", "the hub cannot be reached"),
    ],
)
@pytest.mark.usefixtures("hub")
def test_what_the_hub_does_not_give_is_an_input_error(tmp_path: Path, reference: str, words: str) -> None:
    assert words in refusal(InputError, reference, tmp_path / "teacher")


@pytest.mark.parametrize("path", ["/api/models/organisation/name/revision", "/config.json", "/model.safetensors"])
@pytest.mark.parametrize("fault", ["503", "429", "dropped"])
def test_a_hub_that_is_unwell_for_a_moment_is_asked_again(hub: Hub, tmp_path: Path, path: str, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PAUSES", (0.0, 0.0))
    hub.faults = {path: [fault, fault]}
    fetch("hf://organisation/name@v1", tmp_path / "teacher")
    assert hub.faults == {path: []}


def test_a_hub_that_stays_unwell_is_told(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PAUSES", (0.0, 0.0))
    hub.faults = {"/api/models": ["503"] * 99}
    assert "the hub cannot be reached" in refusal(InputError, "hf://organisation/name@v1", tmp_path / "teacher")
    assert len(hub.faults["/api/models"]) < 97
    assert not (tmp_path / "teacher.partial").exists()


def test_what_the_hub_refuses_is_not_asked_twice(hub: Hub, tmp_path: Path) -> None:
    refusal(InputError, "hf://organisation/missing@v1", tmp_path / "teacher")
    assert len(hub.asked) == 1


def test_a_hub_model_passes_the_same_door(hub: Hub, folder: Path, tmp_path: Path) -> None:
    (folder / "modeling_mine.py").write_text("raise SystemExit('this ran')")
    assert "modeling_mine.py: is code" in refusal(RefusedError, "hf://organisation/name@v1", tmp_path / "teacher")
    assert "modeling_mine.py" in hub.requested


def test_a_hub_without_a_connection_is_an_input_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    assert "the hub cannot be reached and the local cache does not hold all of it" in refusal(InputError, "hf://organisation/name@v1", tmp_path / "teacher")
