"""`asdfd schedule diff | apply` against a real HTTP server: what is declared is what runs, whenever the command is cut off, and what is others' stays."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from asdfd.kubeflow import recurring_runs
from asdfd.kubeflow.client import UnansweredError, connect
from asdfd.kubeflow.recurring_runs import apply, find_differences, known_since
from asdfd.kubeflow.schedules import read_schedules
from tests.kubeflow.conftest import TEACHER, Command, older_pipeline
from tests.servers.kfp_api import Server

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 7, 1, tzinfo=UTC)


def entry(name: str, more: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A declared schedule; `more` are fields of the run form."""
    parameters = {"teacher": TEACHER, "registry": "s3://models/asdfd"}
    return {"name": name, "cron": "0 0 2 * * *", "pipeline": "compress", "parameters": parameters | (more or {})} | changes


def write(*entries: dict[str, Any], owner: str = "tests", **settings: Any) -> Path:
    """A file of schedules in the working folder."""
    path = Path("schedules.yaml")
    path.write_text(yaml.safe_dump({"owner": owner, "schedules": list(entries), **settings}), encoding="utf-8")
    return path


def ignore(action: object) -> None:
    """Hear of what was done, and do nothing about it."""
    del action


@pytest.fixture
def version(server: Server, compiled_pipeline: Path, json_of: Callable[..., Any]) -> str:
    """The pipeline is on the server: the name of its version."""
    name = json_of("upload", "--endpoint", server.address, "--pipeline", compiled_pipeline)["version"]
    server.state.changes = 0
    return name


@pytest.fixture
def schedule(server: Server, json_of: Callable[..., Any], version: str) -> Callable[..., Any]:
    """`asdfd schedule` on that server: pairs of action and schedule."""

    def run(action: str, *words: str, code: int = 0) -> list[tuple[str, str]]:
        result = json_of("schedule", action, "--endpoint", server.address, "--schedules", "schedules.yaml", *words, code=code)
        return [(found["action"], found["schedule"]) for found in result["actions"]]

    assert version
    return run


def enabled(server: Server) -> list[str]:
    """Names of the recurring runs that would start runs."""
    return sorted(run["display_name"] for run in server.state.recurring_runs.values() if run["mode"] == "ENABLE")


def test_what_is_declared_is_made(server: Server, schedule: Callable[..., Any], version: str) -> None:
    more = {"preset": "quick", "settings": {"distillation": {"steps": 7}}, "accelerator_count": 1}
    write(
        entry("nightly", more, time_zone="Europe/Berlin", cron="0 30 6 * * mon", version=version, concurrency=3, catch_up=True),
        entry("hourly", cron="0 0 * * * *", enabled=False, service_account="runner", experiment="trials"),
        server_time_zone="Asia/Kolkata",
    )
    assert schedule("diff", code=4) == [("create", "nightly"), ("create", "hourly")]
    assert schedule("apply", "--dry-run") == [("create", "nightly"), ("create", "hourly")]
    assert server.state.recurring_runs == {}
    assert schedule("apply") == [("create", "nightly"), ("create", "hourly")]
    made = {run["display_name"]: run for run in server.state.recurring_runs.values()}
    (pipeline_id,) = server.state.pipelines
    (version_id,) = server.state.versions
    nightly, hourly = made["nightly"], made["hourly"]
    ahead = datetime.now().astimezone().astimezone(ZoneInfo("Europe/Berlin")).utcoffset()
    assert ahead is not None
    hour, minute = divmod(6 * 60 + 30 - round(ahead.total_seconds() / 60) + 330, 60)
    assert nightly["trigger"]["cron_schedule"]["cron"] == f"0 {minute} {hour} * * 1"
    assert (nightly["max_concurrency"], nightly["no_catchup"], nightly["mode"]) == ("3", False, "ENABLE")
    assert nightly["pipeline_version_reference"] == {"pipeline_id": pipeline_id, "pipeline_version_id": version_id}
    given = {"teacher": TEACHER, "registry": "s3://models/asdfd"}
    assert nightly["runtime_config"]["parameters"] == given | more | {"accelerator_count": "1"}
    assert (hourly["no_catchup"], hourly["mode"], hourly["service_account"]) == (True, "DISABLE", "runner")
    assert hourly["pipeline_version_reference"] == {"pipeline_id": pipeline_id}, "the latest version is the one that is not named"
    assert hourly["runtime_config"]["parameters"] == given
    assert [server.state.experiments[run["experiment_id"]]["display_name"] for run in (nightly, hourly)] == ["scheduled", "trials"]
    requests = len(server.state.requests)
    assert schedule("diff") == schedule("apply") == schedule("diff") == []
    assert [line for line in server.state.requests[requests:] if not line.startswith("GET")] == [], "nothing is changed where nothing differs"


def test_each_change_is_a_new_one_before_the_old_one_goes(server: Server, schedule: Callable[..., Any], version: str) -> None:
    write(entry("nightly"))
    schedule("apply")
    changes: list[dict[str, Any]] = [
        {"cron": "0 0 3 * * *"},
        {"parameters": entry("x")["parameters"] | {"seed": 7}},
        {"version": version},
        {"concurrency": 2},
        {"catch_up": True},
        {"experiment": "trials"},
        {"service_account": "runner"},
        {"parameters": entry("nightly", {"tolerations": [{"key": "gpu", "operator": "Exists"}]})["parameters"]},
        {"parameters": entry("nightly", {"settings": {"distillation": {"steps": 7}}})["parameters"]},
    ]
    for change in changes:
        write(entry("nightly", **change))
        assert schedule("apply") == [("create", "nightly"), ("delete", "nightly")], change
        assert enabled(server) == ["nightly"]
    write(entry("nightly", **changes[-1], enabled=False))
    assert schedule("apply") == [("disable", "nightly")]
    write(entry("nightly", **changes[-1]))
    assert schedule("apply") == [("enable", "nightly")]
    write(entry("weekly"))
    assert schedule("apply") == [("create", "weekly"), ("delete", "nightly")]
    write()
    assert schedule("apply") == [("delete", "weekly")]
    assert server.state.recurring_runs == {}


def test_a_run_that_goes_on_is_not_ended_by_a_change_of_its_schedule(server: Server, schedule: Callable[..., Any]) -> None:
    write(entry("nightly"))
    schedule("apply")
    (old,) = server.state.recurring_runs
    started = {"run_id": "a", "display_name": "nightly-1", "state": "RUNNING", "recurring_run_id": old, "created_at": "2026-01-01T02:00:00Z"}
    server.state.runs["a"] = started
    write(entry("nightly", cron="0 0 3 * * *"))
    assert schedule("apply") == [("create", "nightly"), ("disable", "nightly")]
    assert old in server.state.recurring_runs
    assert enabled(server) == ["nightly"]
    assert schedule("apply") == []
    server.state.runs["a"] = started | {"state": "SUCCEEDED"}
    assert schedule("apply") == [("delete", "nightly")]
    assert old not in server.state.recurring_runs


def test_what_somebody_does_in_the_user_interface_is_drift(server: Server, schedule: Callable[..., Any]) -> None:
    write(entry("nightly"), entry("weekly"))
    schedule("apply")
    nightly, weekly = server.state.recurring_runs.values()
    nightly["mode"] = "DISABLE"
    del server.state.recurring_runs[weekly["recurring_run_id"]]
    assert schedule("diff", code=4) == [("enable", "nightly"), ("create", "weekly")]
    schedule("apply")
    assert enabled(server) == ["nightly", "weekly"]


def others(server: Server) -> list[dict[str, Any]]:
    """Recurring runs that are not ours, by every way of not being so; a schedule `nightly` is there already."""
    (ours,) = server.state.recurring_runs.values()
    cloned = ours | {"trigger": {"cron_schedule": {"cron": "0 0 5 * * *"}}, "display_name": "Clone of nightly"}
    foreign = [
        ours | {"description": "by hand"},
        ours | {"description": ours["description"].replace("schedule tests/", "schedule somebody/")},
        cloned,
        ours | {"trigger": {"periodic_schedule": {"interval_second": "3600"}}, "display_name": "hourly"},
        ours | {"description": ours["description"].replace("declared", "declares")},
    ]
    for number, run in enumerate(foreign):
        run["recurring_run_id"] = f"other-{number}"
        server.state.recurring_runs[f"other-{number}"] = run
    return [dict(run) for run in foreign]


def test_what_is_not_ours_is_never_touched(server: Server, schedule: Callable[..., Any]) -> None:
    write(entry("nightly"))
    schedule("apply")
    foreign = others(server)
    assert schedule("diff") == []
    for change in (entry("nightly", cron="0 0 3 * * *"), entry("nightly", enabled=False), entry("weekly")):
        write(change)
        schedule("apply")
        assert [server.state.recurring_runs[run["recurring_run_id"]] for run in foreign] == foreign
    write()
    schedule("apply")
    assert list(server.state.recurring_runs.values()) == foreign


def test_an_unchanged_clone_is_one_too_many(server: Server, schedule: Callable[..., Any]) -> None:
    write(entry("nightly"))
    schedule("apply")
    (ours,) = server.state.recurring_runs.values()
    server.state.recurring_runs["clone"] = ours | {"recurring_run_id": "clone", "created_at": "2026-02-01T00:00:00Z"}
    assert schedule("apply") == [("delete", "nightly")]
    assert list(server.state.recurring_runs) == [ours["recurring_run_id"]]


CHANGES = {
    "the first one": ([], [entry("nightly"), entry("weekly")]),
    "changed": ([entry("nightly"), entry("weekly")], [entry("nightly", cron="0 0 3 * * *"), entry("weekly", concurrency=2)]),
    "one disabled, one removed, one added": (
        [entry("nightly"), entry("weekly")],
        [entry("nightly", enabled=False, experiment="trials"), entry("monthly", cron="0 0 2 1 * *", experiment="trials")],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_crash_at_any_call_is_healed_by_the_next_apply(change: str, when: Any, server: Server, schedule: Callable[..., Any]) -> None:
    """The connection ends at the first, second, ... changing call, before or after it was done, until none is left to crash at."""
    before, after = CHANGES[change]
    names = {declared["name"]: declared for declared in after}
    crashes = 0
    while True:
        write(*before)
        schedule("apply")
        kept = [name for name in enabled(server) if name in names and names[name].get("enabled", True)]
        server.state.changes, server.faults.crash_at, server.faults.crash_when = 0, crashes + 1, when
        path = write(*after)
        kubeflow = connect(server.address)
        with contextlib.suppress(UnansweredError):
            apply(kubeflow, read_schedules(path), NOW, ignore)
        crashed = server.state.changes >= server.faults.crash_at
        server.faults.crash_at = 0
        assert set(kept) <= set(enabled(server)), "a schedule that stays is never without a recurring run"
        schedule("apply")
        assert enabled(server) == sorted(name for name, declared in names.items() if declared.get("enabled", True))
        assert sorted(run["display_name"] for run in server.state.recurring_runs.values()) == sorted(names)
        assert schedule("diff") == []
        server.state.recurring_runs.clear()
        server.state.experiments.clear()
        if not crashed:
            break
        crashes += 1
    assert crashes >= 3


def test_two_that_apply_at_the_same_moment_leave_one(server: Server, schedule: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one makes its run between the first one's look and its creation."""
    path = write(entry("nightly"))
    kubeflow = connect(server.address)
    perform, others_turn = recurring_runs.perform, [True]

    def interleaved(*arguments: Any) -> None:
        if others_turn.pop() if others_turn else False:
            apply(connect(server.address), read_schedules(path), NOW, ignore)
        perform(*arguments)

    monkeypatch.setattr(recurring_runs, "perform", interleaved)
    done: list[str] = []
    apply(kubeflow, read_schedules(path), NOW, lambda action: done.append(action.kind))
    assert done == ["create", "delete"]
    assert enabled(server) == ["nightly"]
    assert schedule("diff") == []


def test_more_recurring_runs_than_a_page_holds(schedule: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recurring_runs, "PAGE", 2)
    write(*[entry(f"schedule-{number}") for number in range(5)])
    assert len(schedule("apply")) == 5
    assert schedule("diff") == []


@pytest.mark.usefixtures("version")
def test_a_server_that_pins_the_latest_version_is_told_and_gets_no_second_one(server: Server, command: Command) -> None:
    server.state.keeps_latest = False
    write(entry("nightly"))
    words = ["--endpoint", server.address, "--schedules", "schedules.yaml"]
    for _ in range(2):
        code, _, err = command("schedule", "apply", *words)
        assert code == 3
        assert "has our marker but not the content that it was made with; if the server is too old for version: latest, pin a version" in err
        assert err.count("\n") == 1
    assert len(server.state.recurring_runs) == 1
    code, out, err = command("schedule", "diff", *words)
    assert (code, out) == (4, "")
    assert "pin a version" in err


@pytest.mark.usefixtures("version")
def test_clocks_that_change_are_drift(server: Server) -> None:
    path = write(entry("nightly", time_zone="Europe/Berlin"))
    kubeflow = connect(server.address)
    apply(kubeflow, read_schedules(path), NOW, ignore)
    assert find_differences(kubeflow, read_schedules(path), NOW).actions == ()
    winter = find_differences(kubeflow, read_schedules(path), datetime(2026, 12, 1, tzinfo=UTC))
    assert [action.kind for action in winter.actions] == ["create", "delete"]
    assert winter.actions[0].wanted is not None
    assert winter.actions[0].wanted.content.cron == "0 0 1 * * *"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"cron": "0 2 * * *"}, "schedule nightly: cron: '0 2 * * *' is not six fields, seconds first"),
        ({"cron": "0 61 2 * * *"}, "schedule nightly: cron: '61' is not a minute, which is 0 to 59"),
        ({"time_zone": "Europe/Atlantis"}, "schedule nightly: time_zone: 'Europe/Atlantis' is not a time zone"),
        (
            {"time_zone": "Asia/Tokyo", "cron": "0 0 1 1 * *"},
            "schedule nightly: the times of '0 0 1 1 * *' in Asia/Tokyo cannot be written as one cron expression in UTC",
        ),
        ({"concurrency": 11}, "schedule nightly: concurrency: input should be less than or equal to 10, got 11"),
        ({"name": "Nightly run"}, "schedule Nightly run: name: string should match pattern"),
        ({"catchup": True}, "schedule nightly: catchup: is not a field of it"),
        (
            entry("nightly", {"settings": {"distillation": {"step": 1}}}),
            "schedule nightly: parameters: settings: distillation.step is not a parameter; did you mean distillation.steps?",
        ),
        (entry("nightly", {"sed": 1}), "schedule nightly: parameters: sed is not a field of the run form; did you mean seed?"),
        (entry("nightly", {"seed": -1}), "schedule nightly: parameters: seed: input should be greater than or equal to 0, got -1"),
        ({"parameters": {}}, "schedule nightly: parameters: teacher: field required"),
        (entry("nightly", {"teacher": ""}), "schedule nightly: parameters: teacher.reference: is empty"),
        (entry("nightly", {"registry": "registry"}), "schedule nightly: parameters: registry.location: 'registry' is a folder or file of this machine"),
        ({"cluster": {"accelerator_count": 1}}, "schedule nightly: cluster: is not a field of it"),
    ],
)
def test_a_wrong_declaration_is_one_line_before_anything_is_asked(change: dict[str, Any], line: str, server: Server, command: Command) -> None:
    write(entry("weekly"), entry("nightly") | change)
    code, out, err = command("schedule", "diff", "--endpoint", server.address, "--schedules", "schedules.yaml")
    assert (code, out) == (2, "")
    assert err.startswith(f"asdfd: schedules.yaml: {line}")
    assert err.count("\n") == 1
    assert server.state.requests == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("schedules: [", "schedules.yaml: is not valid YAML"),
        ("[]", ""),
        ("- 1", "schedules.yaml: the file: input should be a valid dictionary"),
        ("owner: A B", "schedules.yaml: owner: string should match pattern"),
        ("schedules: [1]", "schedules.yaml: schedule number 1: input should be a valid dictionary"),
        ("schedules: [{cron: 0 0 2 * * *}]", "schedules.yaml: schedule number 1: name: field required"),
    ],
)
def test_a_file_that_is_none(text: str, line: str, server: Server, command: Command) -> None:
    Path("schedules.yaml").write_text(text, encoding="utf-8")
    code, _, err = command("schedule", "diff", "--endpoint", server.address, "--schedules", "schedules.yaml")
    assert code == (2 if line else 0)
    assert err.startswith(f"asdfd: {line}" if line else "")
    assert err.count("\n") == (1 if line else 0)


def test_a_missing_file_and_two_of_one_name(server: Server, command: Command) -> None:
    code, _, err = command("schedule", "diff", "--endpoint", server.address)
    assert (code, err.startswith("asdfd: k8s/schedules.yaml: cannot be read (No such file or directory)")) == (2, True)
    write(entry("nightly"), entry("nightly"))
    code, _, err = command("schedule", "diff", "--endpoint", server.address, "--schedules", "schedules.yaml")
    assert (code, err) == (2, "asdfd: schedules.yaml: there are two schedules nightly; give each a name of its own\n")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"pipeline": "other"}, "the server has no pipeline other; upload it with `asdfd upload`"),
        ({"version": "9.9"}, "pipeline compress has no version 9.9; upload it with `asdfd upload`"),
    ],
)
def test_what_the_server_does_not_have(change: dict[str, Any], line: str, server: Server, version: str, command: Command) -> None:
    write(entry("nightly", **change))
    code, _, err = command("schedule", "apply", "--endpoint", server.address, "--schedules", "schedules.yaml")
    assert code == 2
    assert err.startswith("asdfd: schedule nightly: ")
    assert line in err
    assert (err.count("\n"), server.state.recurring_runs, bool(version)) == (1, {}, True)


def test_a_field_that_an_older_version_does_not_have(server: Server, compiled_pipeline: Path, command: Command) -> None:
    Path("older.yaml").write_text(older_pipeline(compiled_pipeline, "fresh"), encoding="utf-8")
    assert command("upload", "--endpoint", server.address, "--pipeline", "older.yaml")[0] == 0
    write(entry("nightly", {"fresh": True}))
    code, _, err = command("schedule", "apply", "--endpoint", server.address, "--schedules", "schedules.yaml")
    assert code == 2
    assert "of pipeline compress has no parameter fresh; name another version" in err
    assert server.state.recurring_runs == {}


def test_a_person_reads_a_table(server: Server, version: str, command: Command) -> None:
    write(entry("nightly", version=version))
    words = ["--endpoint", server.address, "--schedules", "schedules.yaml"]
    code, out, _ = command("schedule", "diff", *words)
    assert code == 4
    assert [word for word in ("create", "nightly", "it is not there") if word not in out] == []
    assert "create" in command("schedule", "apply", *words)[1]
    assert command("schedule", "apply", *words) == (0, "nothing to do: the server has the declared schedules\n", "")
    assert command("schedule", "diff", *words) == (0, "no difference: the server has the declared schedules\n", "")


def test_the_committed_schedules_can_be_applied(server: Server, version: str, json_of: Callable[..., Any]) -> None:
    """As they are, and with the pinned one that stands there as a comment."""
    text = (ROOT / "k8s" / "schedules.yaml").read_text(encoding="utf-8")
    assert version
    assert "\n  # - name: reference\n" in text
    pinned = re.sub(r"\n  # (?=[- ] )", "\n  ", text).replace("VERSION", version)
    for content, names in ((text, ["nightly"]), (pinned, ["nightly", "reference"])):
        Path("schedules.yaml").write_text(content, encoding="utf-8")
        json_of("schedule", "apply", "--endpoint", server.address, "--schedules", "schedules.yaml")
        assert sorted(run["display_name"] for run in server.state.recurring_runs.values()) == names


def test_since_when_a_schedule_is_there_does_not_change_when_it_is_applied_again(server: Server, schedule: Callable[..., Any]) -> None:
    write(entry("nightly"), owner="others")
    schedule("apply")
    path = write(entry("nightly"), entry("weekly", cron="0 0 2 * * sun"))
    schedule("apply")
    kubeflow, declared = connect(server.address), read_schedules(path)
    since = known_since(kubeflow, declared)
    made = [run["created_at"] for run in server.state.recurring_runs.values()]
    assert len(made) == 3
    assert since == {"student": datetime.fromisoformat(made[1]).timestamp()}, "the first of ours; another owner's was there before"
    assert schedule("apply") == []
    assert known_since(kubeflow, declared) == since
    write(entry("nightly", cron="0 0 3 * * *"), entry("weekly", cron="0 0 2 * * sun"))
    schedule("apply")
    assert known_since(kubeflow, declared) == {"student": datetime.fromisoformat(made[2]).timestamp()}, "the one that stayed"
