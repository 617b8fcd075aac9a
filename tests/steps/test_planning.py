"""What the pipeline's first task decides: parameters of each task, what a cache may know again; and what it refuses before anything is spent."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asdfd.base.errors import InputError, RefusedError
from asdfd.base.form import filled_in
from asdfd.base.loading import load_run
from asdfd.steps import planning
from asdfd.steps.planning import Plan, check_places, plan, read_part
from asdfd.steps.sources import source_state
from tests.servers.ceph import Ceph
from tests.servers.proxy import running_proxy
from tests.tiny_models import make_teacher


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder of a classifier of two layers."""
    return make_teacher(tmp_path_factory.mktemp("source") / "teacher", layers=2)


@pytest.fixture
def planned(teacher: Path) -> Callable[..., Plan]:
    """The plan of a run with settings, on this machine."""

    def make(*settings: str, pipeline_run: str = "run-1", **form: Any) -> Plan:
        run = load_run(settings=[f"teacher.reference={teacher}", *settings])
        return plan(pipeline_run, filled_in(run) | form, in_pod=False)

    return make


def test_the_check_loads_no_code_of_models(teacher: Path) -> None:
    """`plan` is done in every run, also in one that finds everything else in the cache: what only a model needs is half of its time."""
    code = (
        "import sys; from asdfd import steps; from asdfd.base.loading import load_run; "
        f"steps.check_ahead(load_run(settings=['teacher.reference={teacher}', 'student.width=16'])); "
        "print(*[name for name in ('asdfd.models.classifiers', 'asdfd.models.students', 'asdfd.method.narrowing', 'scipy') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


@pytest.mark.parametrize(
    ("setting", "changed"),
    [
        ("gate.minimum_accuracy=0.5", set()),
        ("gate.minimum_parity=0.5", {"evaluation"}),
        ("export=onnx", {"fetching", "evaluation"}),
        ("registry.stage=canary", set()),
        ("registry.name=other", {"synthesis", "distillation", "evaluation"}),
        ("registry.location=elsewhere", {"fetching", "synthesis", "distillation", "evaluation"}),
        ("evaluation.batch_size=7", {"evaluation"}),
        ("distillation.steps=7", {"distillation"}),
        ("student.count=1", {"distillation"}),
        ("student.layers=all", {"synthesis", "distillation"}),
        ("synthesis.samples=7", {"synthesis", "evaluation"}),
        ("seed=1", {"synthesis", "distillation", "evaluation"}),
        (f"teacher.digest={'f' * 64}", {"fetching"}),
        ("teacher.base=not/there", {"fetching"}),
    ],
)
def test_a_parameter_changes_the_inputs_of_the_tasks_that_it_concerns_and_no_others(setting: str, changed: set[str], planned: Callable[..., Plan]) -> None:
    """So that every other task is taken from the cache."""
    before, after = planned()._asdict(), planned(setting)._asdict()
    assert {name for name in before if before[name] != after[name]} == changed | {"run"}


def test_where_tasks_run_changes_no_input_of_theirs(planned: Callable[..., Plan]) -> None:
    assert planned(cpu="4", memory="16Gi", accelerator_count="2", node_selector={"pool": "gpu"}) == planned()


@pytest.mark.parametrize(
    ("device", "count", "in_pod", "expected"),
    [("auto", "2", True, "cuda"), ("auto", "0", True, "auto"), ("cpu", "2", True, "cpu"), ("auto", "2", False, "auto")],
)
def test_a_pod_that_asks_for_accelerators_does_not_fall_back_to_its_processor(
    device: str, count: str, in_pod: bool, expected: str, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "check_places", lambda _: None)
    run = load_run(settings=[f"teacher.reference={teacher}", f"device={device}"])
    planned = plan("run-1", filled_in(run) | {"accelerator_count": count}, in_pod=in_pod)
    assert [read_part(part).device for part in (planned.synthesis, planned.distillation, planned.evaluation)] == [expected] * 3
    assert read_part(planned.run).device == device, "what is registered can be made again on any machine"


def test_a_second_run_has_the_same_inputs_and_a_fresh_one_others(planned: Callable[..., Plan]) -> None:
    assert planned(pipeline_run="run-1") == planned(pipeline_run="run-2")
    first, second = (planned(pipeline_run=name, fresh=True)._asdict() for name in ("run-1", "run-2"))
    assert {name for name in first if first[name] != second[name]} == {"fetching", "synthesis", "distillation", "evaluation"}


def test_each_part_is_a_run_of_its_own(planned: Callable[..., Plan]) -> None:
    made = planned("synthesis.samples=7")
    assert [read_part(part).synthesis.samples for part in (made.run, made.synthesis, made.evaluation)] == [7, 7, 7]
    distillation, fetching = read_part(made.distillation), read_part(made.fetching)
    for read in (lambda: distillation.synthesis, lambda: fetching.seed, lambda: fetching.registry.name, lambda: distillation.registry.stage):
        with pytest.raises(AttributeError, match="has no attribute"):
            read()  # a default that nobody chose would decide something


def test_a_task_is_given_the_state_of_what_it_reads_and_none_where_that_cannot_change(teacher: Path, planned: Callable[..., Plan]) -> None:
    assert json.loads(planned(f"teacher.digest={'f' * 64}").fetching)["state"] == "", "a digest pins any teacher"
    assert json.loads(planned().fetching)["state"] == source_state(str(teacher), "model")
    states = source_state(str(teacher), "model"), source_state(str(teacher.parent), "model")
    assert json.loads(planned(f"teacher.base={teacher.parent}").fetching)["state"] == "".join(states), "a changed encoder is another footprint"


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (["student.count=3"], r"student\.count 3 is out of range, the teacher has 2 layers"),
        (["student.layers=0,5"], "5"),
        (["student.width=20"], r"student\.width 20: the teacher's hidden size is 32"),
        (["evaluation.data=not-there.csv"], r"not-there\.csv: no such file"),
        (["teacher.reference=''"], r"teacher\.reference: is empty"),
        (["teacher.reference=not/there"], "not/there: no such folder; name the folder that holds the model's config.json"),
    ],
)
def test_what_the_last_tasks_would_find_is_told_by_the_first(settings: list[str], line: str, planned: Callable[..., Plan]) -> None:
    with pytest.raises(InputError, match=line):
        planned(*settings)


def test_labels_that_the_teacher_does_not_have_are_told_by_the_first_task(tmp_path: Path, planned: Callable[..., Plan]) -> None:
    data = tmp_path / "data.csv"
    data.write_text("text,label\nwhere is it,question\nnever again,rage\n", encoding="utf-8")
    with pytest.raises(InputError, match="rage"):
        planned(f"evaluation.data={data}")


def test_a_teacher_of_another_kind_is_told_before_its_weights_are_fetched(tmp_path: Path, teacher: Path, planned: Callable[..., Plan]) -> None:
    config = json.loads((teacher / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | {"problem_type": "regression"}), encoding="utf-8")
    with pytest.raises(RefusedError, match="problem_type is regression, so the model scores texts"):
        planned(f"teacher.reference={tmp_path}")


S3 = ["teacher.reference=s3://models/teacher", "registry.location=s3://models/asdfd"]


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("teacher.reference=models/mine", "teacher.reference: 'models/mine' is a folder or file of this machine, which a pod does not have; name hf://"),
        ("teacher.reference=/mnt/models/mine", "teacher.reference: '/mnt/models/mine' is a folder or file of this machine"),
        ("teacher.base=models/encoder", "teacher.base: 'models/encoder' is a folder or file of this machine, which a pod does not have; name hf://"),
        ("evaluation.data=test.csv", "evaluation.data: 'test.csv' is a folder or file of this machine"),
        (
            "evaluation.data=trec",
            "evaluation.data: 'trec' is a folder or file of this machine, which a pod does not have; name s3://bucket/key of the file, or hf",
        ),
        ("registry.location=/registry", "registry.location: '/registry' is a folder or file of this machine"),
        ("registry.location=hf://a/b", "registry.location: 'hf://a/b' is a folder or file of this machine"),
        (
            "synthesis.prior_text=/data/public.txt",
            "synthesis.prior_text: '/data/public.txt' is a folder or file of this machine, which a pod does not have; it is",
        ),
        ("synthesis.prior_model=bert", "synthesis.prior_model: 'bert' is a folder or file of this machine"),
    ],
)
def test_a_pod_is_given_no_place_of_this_machine(setting: str, line: str) -> None:
    check_places(load_run(settings=S3))
    run = load_run(settings=[*S3, setting])
    with pytest.raises(InputError) as caught:
        check_places(run)
    assert str(caught.value).startswith(line)
    with pytest.raises(InputError) as caught:
        plan("run-1", filled_in(run), in_pod=True)
    assert str(caught.value).startswith(line)


@pytest.mark.slow
def test_checkpoints_lie_beside_the_registry_and_a_fresh_run_goes_on_from_its_own_only(
    planned: Callable[..., Plan], ceph: Ceph, monkeypatch: pytest.MonkeyPatch, teacher: Path
) -> None:
    assert planned().checkpoints == "", "the folder of an `asdfd run` outlives its tasks"
    for name, value in ceph.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(planning, "check_places", lambda _: None)  # the rest of a plan for a pod, without a bucket to read the teacher from
    location = f"s3://{ceph.bucket()}/asdfd"
    values = filled_in(load_run(settings=[f"teacher.reference={teacher}", f"registry.location={location}/"]))
    assert plan("run-1", values, in_pod=True).checkpoints == f"{location}/checkpoints"
    assert plan("run-1", values | {"fresh": True}, in_pod=True).checkpoints == f"{location}/checkpoints/run-1"


@pytest.mark.slow
def test_a_bucket_that_cannot_hold_a_registry_is_refused_before_anything_is_spent(
    ceph: Ceph, monkeypatch: pytest.MonkeyPatch, planned: Callable[..., Plan]
) -> None:
    with running_proxy(ceph.endpoint) as proxy:
        for name, value in ceph.environment(endpoint=proxy.endpoint).items():
            monkeypatch.setenv(name, value)
        location = f"s3://{ceph.bucket()}/registry"
        assert planned(f"registry.location={location}").run
        proxy.dropped_headers = ("If-None-Match",)
        with pytest.raises(InputError, match="so two who promote at once would both be told that they won"):
            planned(f"registry.location={location}")
