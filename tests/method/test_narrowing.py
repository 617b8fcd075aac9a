"""Narrow students: what they begin with, that they learn, and that nothing of ours is needed to use them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from asdfd import steps
from asdfd.base.artifacts import read
from asdfd.base.config import Distillation
from asdfd.base.errors import InputError, RefusedError, StoppedError
from asdfd.base.loading import load_run
from asdfd.base.telemetry import Record
from asdfd.method import distillation, narrowing
from asdfd.method.bank import Bank
from asdfd.method.narrowing import Narrow, drawn_words, narrow_student
from asdfd.method.parallel import WHOLE
from asdfd.method.widths import check_width
from asdfd.models import families
from asdfd.models.classifiers import Classifier, load_student, load_teacher
from asdfd.models.fetching import fetch
from asdfd.models.layer_maps import layer_pairs
from tests.tiny_models import FAMILIES, make_teacher
from tests.tolerance import FORWARD, assert_close

MAP, WIDTH = (1, 3), 16
NARROWED = [name for name, (config, *_) in FAMILIES.items() if families.FAMILIES[config().model_type].narrowed]
QUICK = Distillation(steps=60, batch_size=16, learning_rate=2e-3, hidden_weight=4.0, forced_share=0.3, checkpoint_seconds=0, log_every=1)


def load(folder: Path, family: str) -> Classifier:
    return load_teacher(fetch(str(make_teacher(folder / "model", family)), folder / "teacher").path)


@pytest.fixture(scope="module", params=NARROWED)
def any_teacher(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return load(tmp_path_factory.mktemp(request.param), request.param)


@torch.no_grad()
def distances(teacher: Classifier, narrow: Narrow) -> list[float]:
    """Squared distances of the hidden states on words that nothing was fitted to, after the projection, in units of the teacher's mean square."""
    ids, _ = drawn_words(teacher, seed=99)
    wanted, found = (model(input_ids=ids, output_hidden_states=True).hidden_states for model in (teacher.model, narrow.student))
    pairs = [(0, 0), *layer_pairs(MAP)]
    return [((narrow.projection(found[own]) - wanted[other]).square().mean() / wanted[other].square().mean()).item() for own, other in pairs]


def test_a_narrow_student_begins_near_its_teacher(any_teacher: Classifier) -> None:
    narrow = narrow_student(any_teacher, MAP, WIDTH, seed=0)
    config = narrow.student.config
    assert (config.hidden_size, config.num_attention_heads, config.num_hidden_layers, narrowing.inner_size(config)) == (16, 1, 2, 24)
    assert all(parameter.requires_grad and torch.isfinite(parameter).all() for parameter in narrow.student.parameters())
    torch.testing.assert_close(narrow.projection.weight.T @ narrow.projection.weight, torch.eye(WIDTH), atol=1e-5, rtol=0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        untaught = Narrow(type(narrow.student)(config).eval(), narrow.projection)
    begun = distances(any_teacher, narrow)
    assert all(near < 0.8 * far for near, far in zip(begun, distances(any_teacher, untaught), strict=True))
    assert max(begun) < 1, "nearer than zero is"
    again = narrow_student(any_teacher, MAP, WIDTH, seed=0)
    for name, value in narrow.student.state_dict().items():  # the same computation in the same process
        assert torch.equal(value, again.student.state_dict()[name]), name


def test_all_layers_in_all_directions_are_the_teacher_itself(any_teacher: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every weight is put where it belongs: with nothing left out, nothing changes. So wide a student is refused otherwise."""
    monkeypatch.setattr(narrowing, "check_width", lambda *_: None)
    monkeypatch.setattr(narrowing, "principal_directions", lambda _, width: torch.eye(width))
    narrow = narrow_student(any_teacher, (0, 1, 2, 3), 32, seed=0)
    ids, _ = drawn_words(any_teacher, seed=99)
    with torch.no_grad():
        torch.testing.assert_close(narrow.student(input_ids=ids).logits, any_teacher.model(input_ids=ids).logits, atol=1e-3, rtol=1e-3)


def test_principal_directions_hold_what_there_is() -> None:
    generator = torch.Generator().manual_seed(0)
    frame = torch.linalg.qr(torch.randn(8, 3, generator=generator)).Q
    states = torch.randn(500, 3, generator=generator) @ torch.diag(torch.tensor([5.0, 2.0, 1.0])) @ frame.T
    basis = narrowing.principal_directions([states, 100 * states], 3)
    torch.testing.assert_close(states @ basis @ basis.T, states, atol=1e-4, rtol=1e-4)
    assert torch.argmax((frame.T @ basis[:, :1]).abs()).item() == 0, "the largest first"


@pytest.mark.parametrize(
    ("width", "match"),
    [(32, "hidden size is 32, and it takes multiples of 16, the size of a head, from 16 to 16"), (8, "multiples of 16"), (48, "multiples of 16")],
)
def test_a_width_that_cannot_be_is_told(teacher: Classifier, width: int, match: str) -> None:
    with pytest.raises(InputError, match=match):
        check_width(width, teacher.model.config)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in NARROWED])
def test_other_families_are_refused(tmp_path: Path, family: str) -> None:
    with pytest.raises(RefusedError, match=f"student.width 16: students of a {FAMILIES[family][0]().model_type} teacher cannot be narrower") as caught:
        narrow_student(load(tmp_path, family), (1,), 16, seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("preset", "settings", "match"),
    [
        ("paper", [], r"preset paper|--set student\.width=192: student.width 192: .*learns from tokens only; set synthesis.initial to tokens"),
        ("default", ["distillation.adversary=embedding"], r"set distillation\.adversary to none and distillation\.selfsup_weight to 0, or student\.width to 0"),
        ("default", ["distillation.selfsup_weight=0.1"], r"set distillation\.adversary to none and distillation\.selfsup_weight to 0"),
        (
            "default",
            ["synthesis.guessing=embedding"],
            r"set synthesis\.initial to tokens and synthesis\.guessing to none or replacement, or student\.width to 0",
        ),
    ],
)
def test_parameters_that_a_narrow_student_does_not_go_with_are_told(preset: str, settings: list[str], match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        load_run(preset, None, [*settings, "student.width=192"])
    assert ": :" not in str(caught.value)
    assert load_run("default", None, ["student.width=192"]).student.width == 192


def test_a_narrow_student_reads_what_its_projection_brings_nearest_to_the_teacher() -> None:
    torch.manual_seed(0)
    projection = torch.nn.Linear(3, 5, bias=False)
    own, unreachable = torch.randn(2, 4, 3), torch.linalg.svd(projection.weight.detach())[0][:, 3:]  # the two directions that no narrow state is brought to
    torch.testing.assert_close(narrowing.narrowed(projection, projection(own)), own, atol=1e-4, rtol=1e-4)
    beside = projection(own) + torch.randn(2, 4, 2) @ unreachable.T
    torch.testing.assert_close(narrowing.narrowed(projection, beside), own, atol=1e-4, rtol=1e-4)
    assert not narrowing.narrowed(projection, beside).requires_grad


def trained(teacher: Classifier, bank: Bank, folder: Path, stop_after: int | None = None) -> tuple[distillation.Setup, distillation.State, list[Record]]:
    """A run in `folder` that goes on from the checkpoint that may be there."""
    narrow = narrow_student(teacher, MAP, WIDTH, seed=0)
    setup = distillation.prepare(teacher, bank, MAP, QUICK, seed=5)
    state = distillation.start(setup, narrow.student, narrow.projection)
    distillation.load_checkpoint(state, folder)
    records: list[Record] = []
    last = None if stop_after is None else state.step + stop_after
    distillation.train(setup, state, folder, distillation.Hooks(records.append, lambda: last is not None and state.step >= last))
    return setup, state, records


@torch.no_grad()
def losses_on_all(setup: distillation.Setup, state: distillation.State) -> tuple[float, float]:
    """Mean hidden-state and logit loss over the whole bank."""
    found = []
    for step in range(len(setup.bank) // setup.config.batch_size):
        content, mask = distillation.inputs_of_step(setup, replace(state, step=step), setup.batches.rows(step), WHOLE)
        found.append(distillation.measure_losses(setup, state, content, mask))
    return float(np.mean([losses.hidden_loss for losses in found])), float(np.mean([losses.logit_loss for losses in found]))


@pytest.mark.slow
def test_a_narrow_student_learns_with_its_embeddings_and_its_projection(teacher: Classifier, bank: Bank, tmp_path: Path) -> None:
    before = narrow_student(teacher, MAP, WIDTH, seed=0)
    teachers = {name: value.clone() for name, value in teacher.model.state_dict().items()}
    setup, state, records = trained(teacher, bank, tmp_path)
    begun = distillation.start(setup, before.student, before.projection)
    (hidden_loss, logit_loss), (first_hidden_loss, first_logit_loss) = losses_on_all(setup, state), losses_on_all(setup, begun)
    assert hidden_loss < 0.95 * first_hidden_loss
    assert logit_loss < 0.95 * first_logit_loss
    assert len(records) == QUICK.steps
    for name, value in state.student.named_parameters():
        assert name.endswith("key.bias") or not torch.equal(value, before.student.state_dict()[name]), name  # which softmax gives no gradient
    assert state.projection is not None
    assert not torch.equal(state.projection.weight, before.projection.weight)
    assert all(torch.equal(value, teachers[name]) for name, value in teacher.model.state_dict().items())
    assert not any(name.startswith("head.") for name in state.trained), "nothing asks the self-supervised head"


@pytest.mark.slow
def test_stopped_and_resumed_is_bit_equal_to_a_straight_run(teacher: Classifier, bank: Bank, tmp_path: Path) -> None:
    """Both in this process, from the same teacher in memory and with as many threads: then the bits are the same too."""
    for name in ("straight", "stopped"):
        (tmp_path / name).mkdir()
    _, straight, _ = trained(teacher, bank, tmp_path / "straight")
    with pytest.raises(StoppedError):
        trained(teacher, bank, tmp_path / "stopped", stop_after=7)
    with safe_open(tmp_path / "stopped" / distillation.CHECKPOINT, framework="pt") as file:
        assert "parameter.projection.weight" in list(file.keys())
    _, resumed, _ = trained(teacher, bank, tmp_path / "stopped")
    assert resumed.trained.keys() == straight.trained.keys()
    assert all(torch.equal(value, resumed.trained[name]) for name, value in straight.trained.items())


LOADED_ELSEWHERE = """
import sys
from transformers import AutoModelForSequenceClassification, AutoTokenizer
folder = sys.argv[1]
model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
print(model.config.hidden_size, model.config.num_hidden_layers, model(**tokenizer("the movie was long", return_tensors="pt")).logits[0].tolist())
assert "asdfd" not in sys.modules
"""


@pytest.mark.slow
@pytest.mark.parametrize(("count", "width"), [(2, 16), (1, 0)])
def test_the_steps_make_a_student_that_loads_anywhere(teacher_artifact: Path, tmp_path: Path, count: int, width: int) -> None:
    small = ["synthesis.samples=64", "synthesis.maximum_length=6", "distillation.steps=2", "evaluation.pseudo_samples=32", "evaluation.latency_runs=1"]
    run = load_run("default", None, [*small, f"teacher.reference={teacher_artifact}", f"student.count={count}", f"student.width={width}"])
    steps.check_ahead(run)
    bank = steps.synthesize(run, teacher_artifact, tmp_path / "bank")
    student = steps.distill(run, teacher_artifact, bank.path, tmp_path / "student")
    evaluation = steps.evaluate(run, teacher_artifact, student.path, tmp_path / "evaluation")
    card, report = ((folder / name).read_text(encoding="utf-8") for folder, name in ((student.path, "README.md"), (evaluation.path, "report.html")))
    loaded = load_student(student.path)
    ids = loaded.tokenizer("the movie was long", return_tensors="pt")
    code = subprocess.run([sys.executable, "-W", "ignore", "-c", LOADED_ELSEWHERE, student.path], capture_output=True, text=True, check=True, cwd=tmp_path)
    shape, _, logits = code.stdout.strip().partition(" [")
    assert shape == f"{width or 32} {count}"
    assert_close(json.loads(f"[{logits}"), loaded.model(**ids).logits[0], FORWARD)
    assert f"distilled to {count} of 4 layers" in card
    assert ("Hidden size | 16 (the teacher's is 32)" in card) == bool(width)
    assert ("a hidden size of 16 in place of 32" in report) == bool(width)
    assert read(student.path, "student").recipe.config.get("width", 0) == width
    assert not any("projection" in name for name in loaded.model.state_dict())
    metrics = json.loads((evaluation.path / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["student_parameters"] < metrics["teacher_parameters"] / (2 if width else 1)


def test_the_steps_refuse_a_width_before_anything_is_made(teacher_artifact: Path, tmp_path: Path) -> None:
    embeddings = ["synthesis.samples=32", "synthesis.maximum_length=6", "synthesis.guessing=embedding", "synthesis.initial=gaussian"]
    bank = steps.synthesize(load_run("default", None, embeddings), teacher_artifact, tmp_path / "bank")
    with pytest.raises(
        InputError, match=r"teacher's width; make a bank of tokens with `asdfd synthesize --set synthesis.guessing=none`, or set student.width to 0"
    ):
        steps.distill(load_run("default", None, ["student.width=16"]), teacher_artifact, bank.path, tmp_path / "student")
    assert not list(tmp_path.glob("student*"))
    with pytest.raises(InputError, match=r"student\.width 20: the teacher's hidden size is 32"):
        steps.check_ahead(load_run("default", None, [f"teacher.reference={teacher_artifact}", "student.width=20"]))
