"""What a record says of a family is what transformers' model of that family has; and nobody but the records knows a family."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from asdfd.models.classifiers import load_classifier, signals
from asdfd.models.families import FAMILIES, Family, family_of
from asdfd.models.lengths import positions
from tests import tiny_models
from tests.tiny_models import make_teacher
from tests.tolerance import assert_close

ROOT = Path(__file__).resolve().parents[2]
LAYERS = 2


@pytest.fixture(scope="module", params=tiny_models.FAMILIES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PreTrainedModel:
    """A model of each family as transformers makes it; tests do not change it."""
    folder = make_teacher(tmp_path_factory.mktemp(request.param) / "model", request.param, layers=LAYERS)
    return load_classifier(folder, request.param).model


@pytest.fixture
def family(model: PreTrainedModel) -> Family:
    return family_of(model.config)


def test_every_family_has_a_tiny_model() -> None:
    assert {make_config().model_type for make_config, *_ in tiny_models.FAMILIES.values()} == FAMILIES.keys()
    assert all(name == family.model_type for name, family in FAMILIES.items())


def test_the_encoder_and_its_word_table(model: PreTrainedModel, family: Family) -> None:
    assert model.base_model is model.get_submodule(family.encoder)
    assert model.base_model.get_submodule(family.words) is model.get_input_embeddings()
    assert f"{family.encoder}.{family.words}.weight" in model.state_dict()
    assert family.words.startswith(family.embeddings)


def test_what_makes_hidden_states_of_word_embeddings(model: PreTrainedModel, family: Family) -> None:
    made: list[torch.Tensor] = []
    handle = model.base_model.get_submodule(family.embeddings).register_forward_hook(lambda *arguments: made.append(arguments[2]))
    table = model.get_input_embeddings().get_parameter("weight")
    found = signals(model, table[torch.arange(20, 30).expand(2, -1)])
    handle.remove()
    (given,) = made
    if given.shape[-1] != model.config.hidden_size:
        given = model.base_model.get_submodule(family.widened)(given)
    assert_close(given, found.hidden[0])


def with_settings(model: PreTrainedModel, **settings: object) -> PreTrainedModel:
    """A model of the same family whose config differs."""
    config = copy.deepcopy(model.config)
    for name, value in settings.items():
        setattr(config, name, value)
    return AutoModelForSequenceClassification.from_config(config)


def test_narrow_word_embeddings_have_the_map_that_widens_them(model: PreTrainedModel, family: Family) -> None:
    """With word embeddings of 16 and hidden states of 32 numbers, where the family's config can say that."""
    if not family.widened:
        assert not hasattr(model.config, "embedding_size")
        return
    narrow = with_settings(model, embedding_size=16)
    widened = narrow.base_model.get_submodule(family.widened)
    assert (widened.in_features, widened.out_features) == (narrow.get_input_embeddings().embedding_dim, 32) == (16, 32)


def test_layers_are_told_by_their_names(model: PreTrainedModel, family: Family) -> None:
    layers = model.get_submodule(family.all_layers)
    assert isinstance(layers, nn.ModuleList)
    assert len(layers) == (1 if family.one_layer else LAYERS)
    found = {name: family.layer(name) for name in model.state_dict()}
    assert {number for number in found.values() if number is not None} == set(range(len(layers)))
    assert [name for name, number in found.items() if (number is None) == name.startswith(f"{family.all_layers}.")] == []
    for name in [name for name, number in found.items() if number == 0]:
        assert family.moved(name, 7) == name.replace(f"{family.all_layers}.0.", f"{family.all_layers}.7.")
    assert family.moved(f"{family.all_layers}.0", 7) == f"{family.all_layers}.7"
    assert not {name for name, module in model.named_modules() if isinstance(module, nn.Embedding) and family.layer(name) is not None}


def test_as_many_positions_as_it_says_and_no_more(model: PreTrainedModel, family: Family) -> None:
    most = positions(model)
    assert most == tiny_models.POSITIONS
    table = model.get_input_embeddings().get_parameter("weight")
    embeddings = table[torch.full((1, most + 1), 30)]
    assert torch.isfinite(signals(model, embeddings[:, :most]).logits).all()
    if family.positions in dict(model.base_model.named_modules()) and family.positions:
        with pytest.raises((IndexError, RuntimeError)):
            signals(model, embeddings)


def test_tables_beside_that_of_the_words(model: PreTrainedModel, family: Family) -> None:
    """With all of them that a config can ask for; DeBERTas have them on demand."""
    asked = {name: value for name, value in (("type_vocab_size", 2), ("position_biased_input", True)) if hasattr(model.config, name)}
    encoder = with_settings(model, **asked).base_model
    tables = {name for name, module in encoder.named_modules() if isinstance(module, nn.Embedding) and name.startswith("embeddings.")}
    assert tables == {name for name in (family.words, family.positions, family.token_types) if name}


def test_the_head_ends_in_the_logits(model: PreTrainedModel, family: Family) -> None:
    first, last = (model.get_submodule(name) for name in family.head)
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    assert (first.in_features, last.in_features, last.out_features) == (model.config.hidden_size, first.out_features, 3)
    shown: list[torch.Tensor] = []
    handle = last.register_forward_hook(lambda *arguments: shown.append(arguments[2]))
    logits = signals(model, model.get_input_embeddings().get_parameter("weight")[torch.arange(20, 30)[None]]).logits
    handle.remove()
    assert torch.equal(shown[0], logits)


@pytest.mark.parametrize("model", [name for name, (config, *_) in tiny_models.FAMILIES.items() if FAMILIES[config().model_type].narrowed], indirect=True)
def test_every_linear_map_of_a_family_that_can_be_narrower_has_a_role(model: PreTrainedModel, family: Family) -> None:
    assert family.narrowed is not None
    maps, hidden, inner = family.narrowed, model.config.hidden_size, getattr(model.config, family.narrowed.inner_size)
    expected = {maps.attended: (hidden, hidden), maps.inner: (hidden, inner), maps.output: (inner, hidden), **dict.fromkeys(maps.heads, (hidden, hidden))}
    linear = {name: (module.in_features, module.out_features) for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    inside = {name.removeprefix(f"{family.all_layers}.0."): shape for name, shape in linear.items() if family.layer(name) == 0}
    assert inside == expected
    assert {name for name in linear if family.layer(name) is None} - {f"{family.encoder}.{family.widened}"} == set(family.head)


def test_a_norm_that_is_folded_is_missing_in_the_first_layer_only(model: PreTrainedModel, family: Family) -> None:
    layers = [dict(layer.named_modules()) for layer in model.get_submodule(family.all_layers).children()]
    if family.folded_norm is None:
        norms = [{name for name, module in layer.items() if "norm" in type(module).__name__.lower()} for layer in layers]
        assert norms[0] == norms[-1]
        return
    folded = family.folded_norm
    assert isinstance(layers[0][folded.norm], nn.Identity)
    assert not isinstance(layers[1][folded.norm], nn.Identity)
    assert isinstance(layers[1][folded.into], nn.Linear)
    assert f"{family.encoder}.{folded.embeddings_norm}.weight" in model.state_dict()


def test_what_a_config_needs_is_what_it_has(model: PreTrainedModel, family: Family) -> None:
    assert {name: getattr(model.config, name) for name in family.needed} == dict(family.needed)


def words_of_the_sources() -> Iterator[tuple[Path, str]]:
    """Every name and every text in the code but docstrings, with its file."""
    for path in sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "components").rglob("*.py"), *(ROOT / "pipelines").rglob("*.py")]):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        bare = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in bare:
                yield path, node.value
            elif isinstance(node, ast.Attribute | ast.Name):
                yield path, node.attr if isinstance(node, ast.Attribute) else node.id


def test_nothing_but_the_records_names_a_family() -> None:
    names = {*FAMILIES, *(family.encoder for family in FAMILIES.values()), *(family.layers for family in FAMILIES.values())} - {"model", "layers"}
    pattern = re.compile(rf"(?<![A-Za-z])({'|'.join(map(re.escape, sorted(names, key=len, reverse=True)))})(?![A-Za-z])", re.IGNORECASE)
    found = {(path.name, word) for path, word in words_of_the_sources() if pattern.search(word)}
    assert {name for name, _ in found} == {"families.py"}
    assert len(found) > len(FAMILIES)


def test_nothing_decides_by_the_name_of_a_family() -> None:
    for path in (ROOT / "src").rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        asked = [node for node in nodes if isinstance(node, ast.Compare)] + [node.subject for node in nodes if isinstance(node, ast.Match)]
        assert [ast.unparse(node) for node in asked if "model_type" in ast.unparse(node)] == [], path


def listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def test_the_documentation_lists_the_families_as_they_are() -> None:
    teachers = " ".join((ROOT / "docs" / "teachers.md").read_text(encoding="utf-8").split())
    assert f"of the families {listed([family.title for family in FAMILIES.values()])}, with safetensors" in teachers
    repeated = [family.title for family in FAMILIES.values() if family.one_layer]
    assert repeated == re.findall(r"(\w+) repeats one layer, so its student is faster but not smaller", teachers)
    for family in FAMILIES.values():
        values = listed([f"`{name}` {value}" for name, value in family.needed.items()]) if family.needed else ""
        assert not values or f"an {family.title} without {values}" in teachers
    narrower = " ".join((ROOT / "docs" / "students.md").read_text(encoding="utf-8").split())
    assert f"Families: {listed([family.title for family in FAMILIES.values() if family.narrowed])}. Others are refused" in narrower
