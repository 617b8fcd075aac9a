"""Promotion as CI does it: the shell steps of GitHub's workflow and of the example for GitLab are run on real repositories, models and registries."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ci.workflows import ROOT, run_shell, run_step, workflow
from tests.cli.conftest import tiny_options
from tests.registry.conftest import LOOSE, Trained, push_both

EXAMPLE = ROOT / "models" / "NAME.yaml.example"
GITLAB = ROOT / "examples" / "gitlab" / "promote.gitlab-ci.yml"
ZEROS = "0" * 40
CHECK = ("promote", "check", "Verify, evaluate again and judge")
MOVE = ("promote", "move", "Verify, evaluate again, judge and move the stage")
TRUST = "Trust the public keys of the project"


@dataclass(frozen=True)
class Repository:
    """A Git repository whose branch `main` has the script, the parameters and the data."""

    folder: Path

    def git(self, *words: str) -> str:
        author = ["-c", "user.name=tests", "-c", "user.email=tests@example.org"]
        return subprocess.run(["git", "-C", str(self.folder), *author, *words], check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, **files: str | Path | None) -> str:
        """Commit files (a path makes a link, None removes); the commit's name. `models__desk` stands for models/desk.yaml."""
        for name, content in files.items():
            path = self.folder / f"{name.replace('__', '/')}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            if isinstance(content, Path):
                path.symlink_to(content)
            elif content is not None:
                path.write_text(content, encoding="utf-8")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "x")
        return self.git("rev-parse", "HEAD")

    def proposed(self, **files: str | Path | None) -> str:
        """The commit of a branch with changes, while `main` stays checked out."""
        self.git("checkout", "--quiet", "-B", "proposal", "main")
        commit = self.commit(**files)
        self.git("checkout", "--quiet", "main")
        return commit


def parameters(**changes: str) -> str:
    """A params.yaml of the tiny parameters and a gate that lets all through."""
    settings = dict(name.split("=", 1) for name in [*tiny_options(), *LOOSE] if name != "--set") | {k.replace("__", "."): v for k, v in changes.items()}
    tree: dict[str, Any] = {}
    for name, value in settings.items():
        section, _, field = name.partition(".")
        tree.setdefault(section, {})[field] = yaml.safe_load(value)
    return yaml.safe_dump(tree)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "repository")
    (made.folder / "ci").mkdir(parents=True)
    shutil.copy(ROOT / "ci" / "promote.sh", made.folder / "ci")
    made.git("init", "--quiet", "--initial-branch", "main")
    (made.folder / "models").mkdir()
    shutil.copy(EXAMPLE, made.folder / "models")
    made.commit(params=parameters())
    return made


@pytest.fixture
def wanted(trained: Trained, teacher_folder: Path, ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The content of a models/desk.yaml that asks for the first of two signed versions."""
    make_key(tmp_path / "ours")
    monkeypatch.setenv("ASDFD_SIGNING_KEY", str(tmp_path / "ours.private"))
    one, _ = push_both(ask, trained, tmp_path)
    monkeypatch.delenv("ASDFD_SIGNING_KEY")
    place = {"location": str(tmp_path / "registry"), "teacher": str(teacher_folder)}
    return {"version": one, "stage": "production", "data": str(trained.holdout), "reason": "by pull request", **place}


def make_key(path: Path) -> str:
    """Make PATH.private and PATH.public; the public key."""
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", f"{path}.private"], check=True, capture_output=True)
    public = subprocess.run(["openssl", "pkey", "-in", f"{path}.private", "-pubout"], check=True, capture_output=True, text=True).stdout
    Path(f"{path}.public").write_text(public)
    return public


def check(repository: Repository, commit: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the check's step on a checkout of `main`."""
    return run_step(*CHECK, repository.folder, {"BASE": repository.git("rev-parse", "main"), "COMMIT": commit, **variables})


def table(repository: Repository) -> str:
    return (repository.folder / "promotion.md").read_text(encoding="utf-8")


def test_a_model_may_be_called_example_and_the_form_is_no_model(repository: Repository) -> None:
    form = repository.folder / "models" / EXAMPLE.name
    form.write_text(f"{form.read_text(encoding='utf-8')}# changed\n", encoding="utf-8")
    done = check(repository, repository.proposed(models__example="version: [\n"))
    assert (done.returncode, "models/example.yaml: is not valid YAML" in done.stderr) == (2, True), done.stderr
    assert table(repository).count("###") == 1


@pytest.mark.slow
def test_who_proposes_a_change_brings_no_judge_and_no_rules_along(repository: Repository, wanted: dict[str, str]) -> None:
    repository.commit(params=parameters(gate__minimum_accuracy="1"))
    own = repository.folder / "ci" / "promote.sh"
    judge = own.read_text(encoding="utf-8")
    repository.git("checkout", "--quiet", "-B", "proposal")
    own.write_text("#!/bin/sh\nenv > stolen\n", encoding="utf-8")
    commit = repository.commit(params=parameters(), models__desk=yaml.safe_dump(wanted))
    repository.git("checkout", "--quiet", "main")
    done = check(repository, commit)
    assert done.returncode == 3, f"the rule that refused is told by the step's exit code: {done.stderr}"
    assert "minimum_accuracy" in table(repository)
    assert "**Rejected**" in table(repository)
    assert own.read_text(encoding="utf-8") == judge
    assert sorted(path.name for path in repository.folder.iterdir()) == [".git", "ci", "models", "params.yaml", "promotion.md"]
    assert [path.name for path in (repository.folder / "models").iterdir()] == [EXAMPLE.name]


@pytest.mark.slow
def test_a_check_moves_nothing_and_the_first_push_moves_the_stage(repository: Repository, wanted: dict[str, str], ask: Any, tmp_path: Path) -> None:
    repository.commit(params=parameters(registry__require_signature="true"))
    commit = repository.proposed(models__desk=yaml.safe_dump(wanted))
    keys = {"ASDFD_VERIFYING_KEYS": str(tmp_path / "trusted.pem")}
    for key, code in ((make_key(tmp_path / "theirs"), 3), ("no key", 2), ((tmp_path / "ours.public").read_text(), 0)):
        assert run_step("promote", "check", TRUST, repository.folder, {"PUBLIC_KEY": key, "RUNNER_TEMP": str(tmp_path)}).returncode == 0
        done = check(repository, commit, **keys)
        assert done.returncode == code, done.stderr
    assert table(repository).startswith(f"### `desk@{wanted['version']}` to `production`\n\n**Passed**")
    assert ask("registry", "history", "desk", "--stage", "production")[0] == 2, "a check moves nothing"
    repository.git("merge", "--quiet", "proposal")
    done = run_step(*MOVE, repository.folder, {"BEFORE": ZEROS, "COMMIT": commit, **keys})
    assert done.returncode == 0, done.stderr
    (move,) = ask("registry", "history", "desk", "--stage", "production")[1]["moves"]
    assert (move["version"], move["reason"]) == (wanted["version"], "by pull request")


@pytest.mark.slow
def test_only_what_was_changed_is_judged_and_the_worst_of_several_is_told(repository: Repository, wanted: dict[str, str], ask: Any) -> None:
    before = repository.commit(models__broken="version: 1\n")
    broken = yaml.safe_dump({**wanted, "version": "0" * 16, "unknown": 1})
    repository.commit(params=parameters(gate__minimum_accuracy="1"), models__desk=yaml.safe_dump(wanted))
    variables = {"BEFORE": before, "COMMIT": "main"}
    assert run_step(*MOVE, repository.folder, variables).returncode == 3
    assert "broken" not in table(repository)
    for one, other in (("broken", "desk"), ("desk", "zebra")):
        repository.git("reset", "--quiet", "--hard", before)
        repository.commit(
            **{"params": parameters(gate__minimum_accuracy="1"), f"models__{one}": broken, f"models__{other}": broken, "models__desk": yaml.safe_dump(wanted)}
        )
        done = run_step(*MOVE, repository.folder, variables)
        assert done.returncode == 2, "what cannot be judged goes before a rejection, whichever is the first"
        named = {"broken", "zebra"} & {one, other}
        assert f"### `models/{named.pop()}.yaml`\n\n**Not judged**: asdfd: models/" in table(repository)
        assert "unknown: extra inputs are not permitted" in done.stderr
        assert "**Rejected**" in table(repository)
    assert ask("registry", "history", "desk", "--stage", "production")[0] == 2, "nothing was moved"


@pytest.mark.slow
def test_a_check_takes_the_text_of_models_and_nothing_else(repository: Repository, tmp_path: Path) -> None:
    secret = tmp_path / "secret.yaml"
    secret.write_text("key: sesame\n")
    repository.commit(models__old="version: 1\n")
    done = check(repository, repository.proposed(models__old=None, models__folder__desk="x: 1\n", other="x: 1\n"))
    assert (done.returncode, done.stdout) == (0, "promote: no file models/NAME.yaml was changed; nothing is to be done\n")
    assert table(repository) == ""
    done = check(repository, repository.proposed(models__link=secret))
    assert done.returncode == 2, "a link is the text of a link"
    assert "sesame" not in done.stdout + done.stderr + table(repository)
    assert "### `models/link.yaml`\n\n**Not judged**: asdfd: models/link.yaml" in table(repository)


def test_a_commit_that_is_not_here_is_told(repository: Repository) -> None:
    for before in ("1" * 40, "--output=stolen"):
        done = run_step(*MOVE, repository.folder, {"BEFORE": before, "COMMIT": "main"})
        assert done.returncode == 2
        assert re.match(r"promote: what was changed between .* cannot be told: .*; fetch both with their history\n", done.stderr)
    assert not (repository.folder / "stolen").exists()


@pytest.mark.slow
def test_the_script_takes_files_as_well(repository: Repository, wanted: dict[str, str], ask: Any) -> None:
    repository.commit(models__desk=yaml.safe_dump(wanted))

    def script(*words: str) -> int:
        return run_shell(" ".join(["ci/promote.sh", *words]), repository.folder, {"REPORT": "table.md"}).returncode

    assert script("check", "models/desk.yaml") == 0
    assert ask("registry", "history", "desk", "--stage", "production")[0] == 2
    assert script("move", "models/desk.yaml", "models/no.yaml") == 2
    report = (repository.folder / "table.md").read_text()
    assert "**Passed**" in report
    assert "### `models/no.yaml`\n\n**Not judged**: asdfd: " in report
    assert len(ask("registry", "history", "desk", "--stage", "production")[1]["moves"]) == 1
    for wrong in (["check"], ["sell", "models/desk.yaml"], ["check", "--changed", "main"]):
        assert script(*wrong) == 2


GH = """#!/bin/sh
echo "$@" >> calls
case "$*" in *--edit-last*) exit ${EDIT:-0};; *) exit ${POST:-0};; esac
"""
"""A stand-in for GitHub's command line, which needs GitHub."""


@pytest.mark.parametrize(
    ("edit", "post", "calls", "code"),
    [("0", "0", ["--edit-last"], 0), ("1", "0", ["--edit-last", "promotion.md"], 0), ("1", "1", ["--edit-last", "promotion.md"], 1)],
)
def test_the_table_is_told_and_where_it_cannot_the_step_fails(tmp_path: Path, edit: str, post: str, calls: list[str], code: int) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "gh").write_text(GH.replace("${EDIT:-0}", edit).replace("${POST:-0}", post))
    (programs / "gh").chmod(0o755)
    variables = {"NUMBER": "7", "GH_TOKEN": "x", "GH_REPO": "x/y"}
    step = ("promote", "tell", "Show the table on the pull request")
    assert run_step(*step, tmp_path, variables, programs).returncode == 0, "there is no table, so there is nothing to tell"
    assert not (tmp_path / "calls").exists()
    (tmp_path / "promotion.md").write_text("### table\n")
    assert run_step(*step, tmp_path, variables, programs).returncode == code
    assert [line.split()[-1] for line in (tmp_path / "calls").read_text().splitlines()] == calls


def test_the_table_of_a_move_is_in_the_summary(tmp_path: Path) -> None:
    step = ("promote", "move", "Show the table in the summary")
    variables = {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
    assert run_step(*step, tmp_path, variables).returncode == 0
    assert not (tmp_path / "summary").exists()
    (tmp_path / "promotion.md").write_text("### table\n")
    assert run_step(*step, tmp_path, variables).returncode == 0
    assert (tmp_path / "summary").read_text() == "### table\n"


def test_who_holds_which_key() -> None:
    whole = workflow("promote")
    assert set(whole["on"]) == {"pull_request_target", "push"}, "with pull_request the workflow itself would be that of the pull request"
    assert whole["permissions"] == {}
    jobs = whole["jobs"]
    assert {name: job["permissions"] for name, job in jobs.items()} == {
        "check": {"contents": "read"},
        "tell": {"pull-requests": "write"},
        "move": {"contents": "read"},
    }
    assert {name: job.get("environment") for name, job in jobs.items()} == {"check": "promotion-check", "tell": None, "move": "production"}
    holders = {step.get("name") for job in jobs.values() for step in job["steps"] if "secrets." in str(step)}
    assert holders == {CHECK[2], MOVE[2]}, "only the step that judges sees the registry's key"
    assert "secrets." not in str(whole["env"])
    assert all("ref" not in step.get("with", {}) for step in jobs["check"]["steps"]), "the target branch is what pull_request_target checks out"
    assert "head.repo.full_name == github.repository" in jobs["check"]["if"]


@dataclass(frozen=True)
class Job:
    """A job of the example for GitLab."""

    before: list[str]
    script: list[str]


def gitlab_job(name: str) -> Job:
    document = yaml.safe_load(GITLAB.read_text(encoding="utf-8"))
    return Job(document[name]["before_script"], document[name]["script"])


def run_gitlab(job: Job, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a job as GitLab's runner does: all its lines in one bash that stops at the first error. pip is left out, since the code is installed here."""
    lines = [line for line in [*job.before, *job.script] if not line.startswith("pip ")]
    return run_shell("\n".join(lines), folder, variables | {"REPORT": str(folder / "promotion.md")}, "bash")


@pytest.mark.slow
def test_the_example_for_gitlab_checks_and_moves(repository: Repository, wanted: dict[str, str], ask: Any, tmp_path: Path) -> None:
    before = repository.commit(params=parameters(gate__minimum_accuracy="1"))
    repository.git("checkout", "--quiet", "-B", "proposal")
    (repository.folder / "ci" / "promote.sh").write_text("#!/bin/sh\nenv > stolen\n", encoding="utf-8")
    commit = repository.commit(params=parameters(), models__desk=yaml.safe_dump(wanted))
    clone = Repository(tmp_path / "clone")
    subprocess.run(["git", "clone", "--quiet", str(repository.folder), str(clone.folder)], check=True)
    known = {"CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main", "CI_BUILDS_DIR": str(tmp_path), "CI_COMMIT_SHA": commit}
    done = run_gitlab(gitlab_job("promotion-check"), clone.folder, **known)
    assert done.returncode == 3, f"{done.stderr}: judged by the rules of the target branch, and its exit code is kept"
    assert "**Rejected**" in table(clone)
    assert not (clone.folder / "stolen").exists()
    repository.git("checkout", "--quiet", "main")
    merged = repository.commit(params=parameters(), models__desk=yaml.safe_dump(wanted))
    done = run_gitlab(gitlab_job("promotion"), repository.folder, CI_COMMIT_BEFORE_SHA=before, CI_COMMIT_SHA=merged)
    assert done.returncode == 0, done.stderr
    assert len(ask("registry", "history", "desk", "--stage", "production")[1]["moves"]) == 1
    done = run_gitlab(gitlab_job("promotion"), repository.folder, CI_COMMIT_BEFORE_SHA="1" * 40, CI_COMMIT_SHA=merged)
    assert (done.returncode, "fetch both with their history" in done.stderr) == (2, True)


def test_the_installed_extras_are_there_and_the_example_is_what_the_script_takes() -> None:
    import tomllib

    from asdfd.steps.promotion import Wanted

    example = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    assert set(example) == set(Wanted.model_fields)
    Wanted.model_validate(example)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    installs = [step["run"] for job in workflow("promote")["jobs"].values() for step in job["steps"] if "pip install" in step.get("run", "")]
    installs += [line for name in ("promotion-check", "promotion") for line in gitlab_job(name).before if line.startswith("pip ")]
    assert len(installs) == 4
    for line in installs:
        (names,) = re.findall(r"\.\[([\w,]+)\]", line)
        assert set(names.split(",")) <= set(extras)
        assert "-c constraints.txt" in line
    assert os.access(ROOT / "ci" / "promote.sh", os.X_OK)
