"""dvc.yaml in a repository of its own, with a tiny teacher and parameters that take seconds: the stages, the commands and DVC are the real ones."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from asdfd.base.config import Run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STAGES = ["train-teacher", "fetch", "synthesize", "distill", "teacher-int8", "export", "evaluate", "gate"]
STEPS = 8
SMALL = {
    "synthesis": {"samples": 96, "pool": 64, "maximum_length": 8},
    "distillation": {"steps": STEPS, "batch_size": 8, "log_every": 1},
    "evaluation": {"latency_runs": 2},
    "gate": {"largest_drop": 1.0, "minimum_agreement": 0.0},
}
TEACHER = """
import sys
from pathlib import Path
from tests.tiny_models import make_teacher
make_teacher(Path(sys.argv[-1]))
"""
"""In place of the demo's training, which takes a minute."""
TEXTS = ["wonderful movie,praise", "delivery late again,complaint", "where is my order,question", "boring plot,complaint", "i like this phone,praise"]
RUNS_AND_SHOWS = (
    *("cli", "monitoring", "base.config", "base.errors", "base.evidence", "base.figures", "base.interruption", "base.loading", "base.locking", "base.parts"),
    *("base.process", "base.telemetry"),
    *(
        "storage",
        "steps.checkpoints",
        "steps.checks",
        "steps.ending",
        "steps.kept",
        "steps.kept_parts",
        "steps.launching",
        "steps.releases",
        "steps.banks",
        "steps.students",
        "steps.evaluations",
    ),
)
"""Modules that read, run, keep, tell and show; a result depends on none of them. Config's values are in params.yaml; every stage tells figures and evidence."""


@dataclass(frozen=True)
class Project:
    """A repository with dvc.yaml."""

    folder: Path

    def run(self, *words: str, **environment: str) -> str:
        """Do a command in the repository and return all that it prints."""
        home = self.folder.parent / "home"
        names = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in (("NAME", "tests"), ("EMAIL", "tests@example.org"))}
        folders = {f"DVC_{what}_DIR": str(home / what) for what in ("SITE_CACHE", "GLOBAL_CONFIG", "SYSTEM_CONFIG")}
        path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "HOME": str(home), "DVC_NO_ANALYTICS": "1"}
        everything = os.environ | names | folders | path | environment
        done = subprocess.run(words, cwd=self.folder, env=everything, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-4000:]}"
        return done.stdout

    def commit(self) -> None:
        """Commit everything that Git does not ignore."""
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", "State")

    def set(self, section: str, **values: float) -> None:
        """Change params.yaml."""
        path = self.folder / "params.yaml"
        tree = yaml.safe_load(path.read_text())
        tree[section].update(values)
        path.write_text(yaml.safe_dump(tree, sort_keys=False))

    def document(self, name: str) -> Any:
        """A JSON file of the repository."""
        return json.loads((self.folder / name).read_text())


def stages_run(output: str) -> list[str]:
    """The stages that ran, in order."""
    return re.findall(r"^Running stage '([\w-]+)'", output, re.MULTILINE)


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, str]:
    """A repository in which `dvc repro` ran once, committed, and what it printed, with every import. Read only: `project` is a copy."""
    folder = tmp_path_factory.mktemp("dvc") / "project"
    example = folder / "examples" / "support-desk"
    example.mkdir(parents=True)
    for name in ("dvc.yaml", "params.yaml", ".dvcignore", ".dvc/config", ".dvc/.gitignore", "tracked/.gitignore"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    shutil.copytree(ROOT / "src", folder / "src", symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    (example / "train_teacher.py").write_text(TEACHER)
    (example / "train.csv").write_text("text,label\n")
    (example / "test.csv").write_text("text,label\n" + "\n".join(TEXTS) + "\n")
    project = Project(folder)
    for section, values in SMALL.items():
        project.set(section, **values)
    project.run("git", "init", "--quiet")
    project.commit()
    printed = project.run("dvc", "repro", PYTHONPROFILEIMPORTTIME="1")
    project.commit()
    return project, printed


@pytest.fixture
def project(reproduced: tuple[Project, str], tmp_path: Path) -> Project:
    """A copy of the repository, to be changed."""
    shutil.copytree(reproduced[0].folder, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project")


def test_every_parameter_that_changes_a_result_belongs_to_a_stage() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert list(stages) == STAGES
    assert {name.partition(".")[0] for stage in stages.values() for name in stage.get("params", ())} == set(Run.model_fields) - {"device"}


def test_stages_depend_on_the_sources_that_they_use(reproduced: tuple[Project, str]) -> None:
    project, printed = reproduced
    assert stages_run(printed) == STAGES
    stages = yaml.safe_load((project.folder / "dvc.yaml").read_text())["stages"]
    parts = re.split(r"^Running stage '([\w-]+)'.*$", printed, flags=re.MULTILINE)
    missing = []
    for name, part in zip(parts[1::2], parts[2::2], strict=True):
        named = [path.removeprefix("src/asdfd/").removesuffix(".py").replace("/", ".") for path in stages[name]["deps"]]
        used = sorted(set(re.findall(r"\| +asdfd\.([\w.]+)$", part, re.MULTILINE)))
        assert used or name == "train-teacher"
        modules = [module for module in used if "." in module]  # not the wings themselves, which hold a docstring
        missing += [(name, module) for module in modules if not any(f"{module}.".startswith(f"{known}.") for known in (*named, *RUNS_AND_SHOWS))]
    assert missing == [], "each is a source that dvc.yaml does not name among the stage's deps"


def test_the_second_time_nothing_is_done(project: Project) -> None:
    printed = project.run("dvc", "repro")
    assert stages_run(printed) == []
    assert "Data and pipelines are up to date" in printed
    assert project.run("git", "status", "--porcelain") == ""


def test_a_changed_parameter_runs_only_what_depends_on_it(project: Project) -> None:
    project.set("gate", minimum_accuracy=1.0)
    assert json.loads(project.run("dvc", "params", "diff", "--json")) == {"params.yaml": {"gate.minimum_accuracy": {"old": 0.0, "new": 1.0, "diff": 1.0}}}
    printed = project.run("dvc", "repro")
    assert stages_run(printed) == ["gate"]
    assert project.document("tracked/verdict.json")["passed"] is False, "a rejection is a result, and the stage is done"
    assert json.loads(project.run("dvc", "metrics", "diff", "--json"))["tracked/verdict.json"]["passed"] == {"old": True, "new": False, "diff": -1}


def test_metrics_are_kept_in_git_and_shown(project: Project) -> None:
    measured = project.document("tracked/evaluation/metrics.json")
    assert project.document("tracked/metrics.json") == measured
    shown = json.loads(project.run("dvc", "metrics", "show", "--json"))[""]["data"]["tracked/metrics.json"]["data"]
    assert shown["student_accuracy"] == measured["student_accuracy"]
    kept = project.run("git", "ls-files", "tracked").split()
    assert kept == ["tracked/.gitignore", "tracked/metrics.json", "tracked/training.json", "tracked/verdict.json"]


def test_plots_hold_the_training_curve_and_the_confusion_matrix(project: Project) -> None:
    shown = json.loads(project.run("dvc", "plots", "show", "--json", "--out", "shown"))["data"]
    points = {name: plots[0]["content"]["data"]["values"] for name, plots in shown.items()}
    curve = [(point["step"], point["loss"]) for point in points["training curve"] if point["field"] == "loss"]
    assert curve == [(record["step"], record["loss"]) for record in project.document("tracked/training.json")]
    assert len(curve) == STEPS
    with (project.folder / "tracked/evaluation/predictions.csv").open(newline="") as stream:
        answers = [(row["label"], row["student"]) for row in csv.DictReader(stream)]
    assert [(point["label"], point["student"]) for point in points["tracked/evaluation/predictions.csv"]] == answers
    assert len(answers) == len(TEXTS)
    project.run("dvc", "plots", "show", "--out", "shown")
    assert "confusion matrix of the student" in (project.folder / "shown" / "index.html").read_text()


def test_an_experiment_changes_one_parameter_and_is_compared(project: Project) -> None:
    teacher = project.document("tracked/teacher/manifest.json")
    printed = project.run("dvc", "exp", "run", "--name", "longer", "--set-param", f"distillation.steps={STEPS + 2}")
    assert stages_run(printed) == ["distill", "export", "evaluate", "gate"]
    assert project.document("tracked/student/manifest.json")["config"]["distillation"]["steps"] == STEPS + 2
    assert project.document("tracked/teacher/manifest.json") == teacher
    assert len(project.document("tracked/training.json")) == STEPS + 2
    changed = json.loads(project.run("dvc", "exp", "diff", "--json", "HEAD", "longer"))
    assert changed["params"]["params.yaml"]["distillation.steps"] == {"old": STEPS, "new": STEPS + 2, "diff": 2}
    assert changed["metrics"]["tracked/metrics.json"]


def test_a_pushed_student_says_which_lock_file_it_belongs_to(project: Project, tmp_path: Path) -> None:
    folders = [word for kind in ("teacher", "student", "export", "evaluation", "verdict") for word in (f"--{kind}", f"tracked/{kind}")]
    project.run("asdfd", "push", "--params", "params.yaml", "--set", f"registry.location={tmp_path / 'registry'}", *folders)
    manifests = [path.read_text() for path in (tmp_path / "registry").rglob("manifest.json")]
    lock = hashlib.sha256((project.folder / "dvc.lock").read_bytes()).hexdigest()
    assert [text for text in manifests if json.loads(text).get("provenance", {}).get("dvc_lock") == lock]


def test_the_model_is_declared_for_those_who_look_for_one(project: Project) -> None:
    declared = yaml.safe_load((project.folder / "dvc.yaml").read_text())["artifacts"]["student"]
    assert declared["type"] == "model"
    assert (project.folder / declared["path"] / "model.safetensors").is_file()
