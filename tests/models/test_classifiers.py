"""Teacher and student of every family: loaded, frozen, probed, cut by a layer map, saved and loaded elsewhere."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from asdfd.base.artifacts import Recipe, Workspace, open_workspace
from asdfd.base.errors import InputError, RefusedError
from asdfd.models import classifiers
from asdfd.models.classifiers import Classifier, choose_device, load_classifier, load_student, load_teacher, probe, signals
from asdfd.models.families import family_of
from asdfd.models.fetching import fetch
from asdfd.models.layer_maps import layer_pairs, parse_layer_map
from asdfd.models.students import derive_student, save_student
from tests import tiny_models
from tests.tiny_models import make_teacher, random_texts
from tests.tolerance import assert_close, difference

LAYERS = 4
MAP = (1, 3)


@pytest.fixture(scope="module", params=tiny_models.FAMILIES)
def teacher(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    """A fetched and loaded teacher of each family; tests do not change it."""
    folder = tmp_path_factory.mktemp(request.param)
    make_teacher(folder / "model", request.param, layers=LAYERS)
    return load_teacher(fetch(str(folder / "model"), folder / "teacher").path)


@pytest.fixture(scope="module")
def bert(teacher_artifact: Path) -> Classifier:
    return load_teacher(teacher_artifact)


def embeddings_of(classifier: Classifier, texts: Sequence[str] = ("the wonderful movie was long",)) -> torch.Tensor:
    """Word embeddings [1, L, D] of the texts, joined."""
    ids = classifier.tokenizer(" ".join(texts), return_tensors="pt")["input_ids"]
    return classifier.embedding_table[ids]


def layer_modules(model: PreTrainedModel) -> list[torch.nn.Module]:
    """The layers in order; ALBERT's one layer as often as it is repeated."""
    family = family_of(model.config)
    if family.one_layer:
        return [model.get_submodule("albert.encoder.albert_layer_groups.0.albert_layers.0")] * model.config.num_hidden_layers
    return list(model.get_submodule(family.all_layers).children())


def folder_bytes(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_teacher_is_frozen_in_evaluation_mode_and_in_float32(teacher: Classifier) -> None:
    assert not any(parameter.requires_grad for parameter in teacher.model.parameters())
    assert not any(module.training for module in teacher.model.modules())
    assert {parameter.dtype for parameter in teacher.model.parameters()} == {torch.float32}
    assert teacher.label_names == ("complaint", "praise", "question")
    assert teacher.layers == LAYERS
    assert teacher.embedding_table.shape[0] == len(teacher.tokenizer)
    assert not teacher.embedding_table.requires_grad


def test_narrow_word_embeddings_are_seen(tmp_path: Path) -> None:
    for family, width in (("electra-narrow", 16), ("albert", 16), ("electra", 32)):
        teacher = load_teacher(fetch(str(make_teacher(tmp_path / family, family, layers=1)), tmp_path / f"{family}.teacher").path)
        assert teacher.embedding_table.shape[1] == width
        assert teacher.model.config.hidden_size == 32


def test_embeddings_of_a_text_give_the_logits_of_the_text(teacher: Classifier) -> None:
    for text in random_texts(4, seed=3):
        by_text = teacher.model(**teacher.tokenizer(text, return_tensors="pt")).logits
        by_embeddings = signals(teacher.model, embeddings_of(teacher, [text])).logits
        assert_close(by_embeddings, by_text)


def test_hidden_states_are_the_embeddings_output_and_every_layers_output(teacher: Classifier) -> None:
    inputs: list[torch.Tensor] = []
    outputs: list[torch.Tensor] = []

    def record(_module: torch.nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        inputs.append(arguments[0])
        outputs.append(output[0] if isinstance(output, tuple) else output)

    handles = [module.register_forward_hook(record) for module in dict.fromkeys(layer_modules(teacher.model))]
    embeddings = embeddings_of(teacher, random_texts(2)).repeat(3, 1, 1)
    hidden = signals(teacher.model, embeddings).hidden
    for handle in handles:
        handle.remove()
    assert [state.shape for state in hidden] == [(3, embeddings.shape[1], 32)] * (LAYERS + 1)
    assert torch.equal(hidden[0], inputs[0]), "the very tensor, so bit for bit; below too"
    convolved = getattr(teacher.model.config, "conv_kernel_size", 0) > 0  # DeBERTa v2 mixes a convolution into the first layer's output
    for state, output in list(zip(hidden[1:], outputs, strict=True))[convolved:]:
        assert torch.equal(state, output)


def test_every_position_gets_a_gradient_and_no_weight_does(teacher: Classifier) -> None:
    embeddings = embeddings_of(teacher).clone().requires_grad_()
    found = signals(teacher.model, embeddings)
    (found.logits[:, 0].sum() + sum(state.square().mean() for state in found.hidden)).backward()
    assert embeddings.grad is not None
    assert (embeddings.grad.abs().amax(-1) > 0).all()
    assert all(parameter.grad is None for parameter in teacher.model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("families", [tuple(tiny_models.FAMILIES)], ids=["all families"])
def test_signals_never_wait_for_the_device(families: tuple[str, ...], tmp_path: Path) -> None:
    """On the meta device there are no values, so anything that reads one on the host raises."""
    for family in families:
        teacher = load_teacher(fetch(str(make_teacher(tmp_path / family, family, layers=1)), tmp_path / f"{family}.teacher").path)
        found = signals(teacher.model.to("meta"), torch.empty(2, 9, teacher.embedding_table.shape[1], device="meta"))  # pyright: ignore[reportArgumentType]
        assert (found.logits.shape, len(found.hidden)) == ((2, 3), 2)


def assert_equal_weights(one: PreTrainedModel, other: PreTrainedModel) -> None:
    """The same names and the same bits: weights are copied, never computed."""
    left, right = one.state_dict(), other.state_dict()
    assert left.keys() == right.keys()
    assert [name for name in left if not torch.equal(left[name], right[name])] == []


def test_all_layers_make_exactly_the_teacher(teacher: Classifier) -> None:
    embeddings = embeddings_of(teacher, random_texts(3))
    student = derive_student(teacher, range(LAYERS))
    assert_equal_weights(student, teacher.model)
    assert_close(signals(student, embeddings).logits, signals(teacher.model, embeddings).logits)


def test_the_first_layers_compute_what_they_did_in_the_teacher(teacher: Classifier) -> None:
    embeddings = embeddings_of(teacher, random_texts(3))
    student = derive_student(teacher, (0, 1, 2))
    found, expected = signals(student, embeddings).hidden, signals(teacher.model, embeddings).hidden
    assert (len(found), len(expected)) == (4, LAYERS + 1)
    for of_student, of_teacher in zip(found, expected, strict=False):
        assert_close(of_student, of_teacher)


def test_chosen_layers_and_all_that_is_no_layer_are_the_teachers(teacher: Classifier) -> None:
    student = derive_student(teacher, (0, 3))
    assert student.config.num_hidden_layers == len(layer_modules(student)) == 2
    assert teacher.model.config.num_hidden_layers == LAYERS
    for place, chosen in ((0, 0), (1, 3)):
        of_student, of_teacher = (layer_modules(model)[i].state_dict() for model, i in ((student, place), (teacher.model, chosen)))
        assert of_student.keys() == of_teacher.keys()
        assert all(torch.equal(of_student[name], of_teacher[name]) for name in of_student)
    outside = [{name: t for name, t in model.state_dict().items() if teacher.family.layer(name) is None} for model in (student, teacher.model)]
    of_student, of_teacher = outside
    assert of_student.keys() == of_teacher.keys()
    assert all(torch.equal(of_student[name], of_teacher[name]) for name in of_student)


def test_a_student_has_storage_of_its_own(teacher: Classifier) -> None:
    student = derive_student(teacher, MAP)
    of_student, of_teacher = ({t.untyped_storage().data_ptr() for t in model.state_dict().values()} for model in (student, teacher.model))
    assert not of_student & of_teacher
    assert student.config is not teacher.model.config


def test_all_of_a_student_learns_but_the_word_embeddings(teacher: Classifier) -> None:
    student = derive_student(teacher, MAP)
    assert not any(module.training for module in student.modules())
    signals(student, embeddings_of(teacher, random_texts(2))).logits[:, 0].sum().backward()
    without = {name for name, parameter in student.named_parameters() if parameter.grad is None}
    frozen = {name for name, parameter in student.named_parameters() if not parameter.requires_grad}
    assert without == frozen
    assert len(frozen) == 1
    assert student.get_input_embeddings().get_parameter("weight").grad is None


def test_deriving_draws_nothing_and_keeps_labels_and_dropout(bert: Classifier) -> None:
    before = torch.random.get_rng_state()
    student = derive_student(bert, MAP)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert student.config.id2label == {0: "complaint", 1: "praise", 2: "question"}
    assert student.config.hidden_dropout_prob == bert.model.config.hidden_dropout_prob == 0.1


def test_modernbert_layers_keep_their_kind_of_attention(tmp_path: Path) -> None:
    teacher = load_teacher(fetch(str(make_teacher(tmp_path / "model", "modernbert")), tmp_path / "teacher").path)
    assert teacher.model.config.layer_types == ["full_attention", "sliding_attention"] * 2
    everywhere, student = derive_student(teacher, (0, 2)), derive_student(teacher, (1, 3))
    assert everywhere.config.layer_types == ["full_attention"] * 2
    assert student.config.layer_types == ["sliding_attention"] * 2
    assert teacher.model.config.layer_types == ["full_attention", "sliding_attention"] * 2
    embeddings = embeddings_of(teacher, random_texts(4))
    assert embeddings.shape[1] > 20  # far beyond the window of 4
    moved = embeddings.clone()
    moved[:, -1] *= -1
    before, after = (signals(student, each).hidden[-1] for each in (embeddings, moved))
    assert difference(after[:, -1], before[:, -1]) > 0.1
    assert_close(after[:, 0], before[:, 0], told="two layers of windows do not reach from the end to the start")
    before, after = (signals(everywhere, each).hidden[-1] for each in (embeddings, moved))
    assert difference(after[:, 0], before[:, 0]) > 1e-3, "and global attention does"


def test_a_later_modernbert_layer_in_first_place_computes_nearly_what_it_did(tmp_path: Path) -> None:
    """The first place has no attention norm; its weight is folded into the projection, without which the layer would see inputs of another size."""
    teacher = load_teacher(fetch(str(make_teacher(tmp_path / "model", "modernbert")), tmp_path / "teacher").path)
    layer = teacher.model.get_submodule("model.layers.1")
    layer.get_parameter("attn_norm.weight").mul_(3)
    teacher.model.get_parameter("model.embeddings.norm.weight").mul_(2)
    student = derive_student(teacher, (1, 3))
    first = student.get_submodule("model.layers.0")
    hidden = signals(teacher.model, embeddings_of(teacher, random_texts(3))).hidden[0]
    needed = layer.get_submodule("attn.Wqkv")(layer.get_submodule("attn_norm")(hidden))
    folded = first.get_submodule("attn.Wqkv")(hidden)
    copied = layer.get_submodule("attn.Wqkv")(hidden)
    assert (folded - needed).norm() < 0.15 * needed.norm()
    assert (copied - needed).norm() > 0.3 * needed.norm()


ELSEWHERE = """
import json, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "asdfd":
            raise ImportError("asdfd is not installed here")
sys.meta_path.insert(0, Blocker())
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
found = {}
for folder in sys.argv[2:]:
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    texts = json.loads(sys.argv[1])
    with torch.no_grad():
        logits = [model(**tokenizer(text, return_tensors="pt")).logits[0].tolist() for text in texts]
    named = [answer["label"] for answer in pipeline("text-classification", folder)(texts)]
    found[folder] = {"logits": logits, "labels": named}
assert not any(name.split(".")[0] == "asdfd" for name in sys.modules)
print(json.dumps(found))
"""


@pytest.mark.slow
def test_students_of_all_families_load_where_nothing_of_ours_is_installed(tmp_path: Path) -> None:
    """One fresh process for all of them, in which importing asdfd fails."""
    texts = random_texts(6, seed=5, longest=20)
    expected: dict[str, list[list[float]]] = {}
    for family in tiny_models.FAMILIES:
        teacher = load_teacher(fetch(str(make_teacher(tmp_path / family, family)), tmp_path / f"{family}.teacher").path)
        student = derive_student(teacher, MAP)
        save_student(student, teacher, tmp_path / f"{family}.student")
        with torch.no_grad():
            expected[f"{tmp_path / family}.student"] = [student(**teacher.tokenizer(text, return_tensors="pt")).logits[0].tolist() for text in texts]
    command = [sys.executable, "-I", "-c", ELSEWHERE, json.dumps(texts), *expected]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    names = tiny_models.label_names(3)
    for folder, logits in expected.items():
        assert_close(found[folder]["logits"], logits, told=folder)
        assert found[folder]["labels"] == [names[row.index(max(row))] for row in logits], folder


def test_a_saved_student_has_the_same_bytes_whatever_happened_before(bert: Classifier, tmp_path: Path) -> None:
    student = derive_student(bert, MAP)
    save_student(student, bert, tmp_path / "a")
    bert.tokenizer(["one", "two words"], padding="max_length", truncation=True, max_length=3)
    save_student(derive_student(bert, MAP), bert, tmp_path / "b")
    assert folder_bytes(tmp_path / "a") == folder_bytes(tmp_path / "b")
    assert set(folder_bytes(tmp_path / "a")) == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    for content in folder_bytes(tmp_path / "a").values():
        assert b"asdfd" not in content
        assert b"/" + str(tmp_path).split("/")[1].encode() + b"/" not in content
    assert "tie_last_hidden_states" not in json.loads((tmp_path / "a" / "config.json").read_text())
    assert not {"is_local", "local_files_only"} & json.loads((tmp_path / "a" / "tokenizer_config.json").read_text()).keys()
    assert student.config.tie_last_hidden_states is False


def student_artifact(teacher: Classifier, out: Path) -> Path:
    workspace = open_workspace(out, Recipe("student"))
    assert isinstance(workspace, Workspace)
    save_student(derive_student(teacher, MAP), teacher, workspace.artifact)
    return workspace.finish({}).path


def test_a_student_is_loaded_like_a_teacher(bert: Classifier, tmp_path: Path) -> None:
    student = load_student(student_artifact(bert, tmp_path / "student"))
    embeddings, derived = embeddings_of(bert), derive_student(bert, MAP)
    assert_equal_weights(student.model, derived)
    assert_close(signals(student.model, embeddings).logits, signals(derived, embeddings).logits)
    assert (student.layers, student.label_names) == (2, bert.label_names)
    assert not any(parameter.requires_grad for parameter in student.model.parameters())


def test_a_teacher_is_no_student_and_a_changed_file_is_seen(teacher_artifact: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a teacher, a student is needed here"):
        load_student(teacher_artifact)
    changed = Path(shutil.copytree(teacher_artifact, tmp_path / "teacher"))
    with (changed / "model.safetensors").open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x01")
    with pytest.raises(InputError, match=r"model\.safetensors: is not the file that the manifest describes"):
        load_teacher(changed)


def test_loading_and_saving_are_quiet_and_restore_the_settings(bert: Classifier, teacher_artifact: Path, tmp_path: Path, capfd: Any) -> None:
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load_teacher(teacher_artifact)
    student_artifact(bert, tmp_path / "student")
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (verbosity, bars)


def test_a_model_that_scales_its_own_embeddings_is_refused(bert: Classifier, teacher_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No supported family does this (Gemma-like ones do), hence a real model with a hook that scales what its ids look up, put in where it is loaded."""

    def scale(_module: torch.nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        return 1.05 * output

    scaled = Classifier(copy.deepcopy(bert.model), bert.tokenizer, bert.label_names)
    probe(scaled)
    scaled.model.get_input_embeddings().register_forward_hook(scale)
    monkeypatch.setattr(classifiers, "load_classifier", lambda *_: scaled)
    with pytest.raises(RefusedError, match="different logits from ids and from embeddings, so pseudo embeddings cannot stand in for text") as caught:
        load_teacher(teacher_artifact)
    assert str(teacher_artifact) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_with_logits_that_are_not_finite_is_refused(bert: Classifier) -> None:
    model = copy.deepcopy(bert.model)
    model.get_parameter("classifier.weight").fill_(3e38)  # finite weights, infinite logits
    with pytest.raises(RefusedError, match="cannot stand in for text"):
        probe(Classifier(model, bert.tokenizer, bert.label_names))


def test_an_error_goes_by_the_name_that_the_user_knows(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="hf://organisation/name@v1: the model cannot be loaded") as caught:
        load_classifier(tmp_path, "hf://organisation/name@v1")
    assert str(tmp_path) not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("layers", "count", "teacher_layers", "expected"),
    [
        ("every-other", 0, 6, (1, 3, 5)),
        ("every-other", 0, 12, (1, 3, 5, 7, 9, 11)),
        ("every-other", 4, 12, (2, 5, 8, 11)),
        ("every-other", 5, 12, (1, 4, 6, 9, 11)),
        ("every-other", 1, 6, (5,)),
        ("every-other", 6, 6, (0, 1, 2, 3, 4, 5)),
        ("every-other", 0, 1, (0,)),
        ("first", 2, 6, (0, 1)),
        ("last", 2, 6, (4, 5)),
        ("last", 0, 7, (4, 5, 6)),
        ("0,2,5", 0, 6, (0, 2, 5)),
        (" 1, 3 ", 5, 6, (1, 3)),
        ("0", 0, 6, (0,)),
    ],
)
def test_layer_maps(layers: str, count: int, teacher_layers: int, expected: tuple[int, ...]) -> None:
    assert parse_layer_map(layers, count, teacher_layers) == expected


def test_spread_layers_rise_evenly_to_the_last() -> None:
    for teacher_layers in range(1, 49):
        for count in range(1, teacher_layers + 1):
            chosen = parse_layer_map("every-other", count, teacher_layers)
            gaps = [later - earlier for earlier, later in pairwise((-1, *chosen))]
            assert len(chosen) == count
            assert chosen[-1] == teacher_layers - 1
            assert min(gaps) >= 1
            assert max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize("layers", ["1,1", "3,1", "-1,2", "1,6", "", "1,,2", "1.5", "even", "1;3"])
def test_a_wrong_list_of_layers_is_an_input_error(layers: str) -> None:
    with pytest.raises(InputError, match=r"student.layers .*(0 and 5|every-other, first, last)"):
        parse_layer_map(layers, 0, 6)


@pytest.mark.parametrize("layers", ["every-other", "first", "last"])
@pytest.mark.parametrize("count", [7, -1])
def test_more_layers_than_the_teachers_are_an_input_error(layers: str, count: int) -> None:
    with pytest.raises(InputError, match=f"student.count {count} .* the teacher has 6 layers"):
        parse_layer_map(layers, count, 6)


def test_layer_pairs_join_outputs_of_the_same_layer(bert: Classifier) -> None:
    assert layer_pairs((1, 3, 5)) == [(1, 2), (2, 4), (3, 6)]
    embeddings = embeddings_of(bert)
    student, teacher = signals(derive_student(bert, (0, 3)), embeddings).hidden, signals(bert.model, embeddings).hidden
    (first, of_first), (last, of_last) = layer_pairs((0, 3))
    assert_close(student[first], teacher[of_first])
    assert difference(student[first], teacher[of_first + 1]) > 0.1, "a pair is of one layer"
    assert (last, of_last) == (len(student) - 1, len(teacher) - 1)


def test_devices() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto") == torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(InputError, match="device 'tpu' is unknown; choose auto, cpu or cuda"):
        choose_device("tpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_without_a_gpu_is_an_input_error() -> None:
    with pytest.raises(InputError, match="no usable GPU was found"):
        choose_device("cuda")
