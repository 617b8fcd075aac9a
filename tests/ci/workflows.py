"""GitHub's workflows as data, and their shell steps run as a runner runs them: same shell, same options, nothing but the variables that a step is given."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = ROOT / ".github" / "workflows"
KEPT = ("HOME", "LANG", "TMPDIR", "OMP_NUM_THREADS", "HF_HUB_OFFLINE", "COVERAGE_PROCESS_START")
"""What a step has of this process's environment, beside the path."""


def workflow(name: str) -> dict[str, Any]:
    """A workflow by the name of its file; `on`, which YAML 1.1 takes for true, is called `on`."""
    document = yaml.safe_load((WORKFLOWS / f"{name}.yaml").read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in document.items()}


def every_workflow() -> dict[str, dict[str, Any]]:
    return {path.stem: workflow(path.stem) for path in sorted(WORKFLOWS.glob("*.yaml"))}


def shell_step(name: str, job: str, title: str) -> dict[str, Any]:
    """The shell step of a job that has a title."""
    (step,) = [step for step in workflow(name)["jobs"][job]["steps"] if step.get("name") == title and "run" in step]
    return step


def run_step(name: str, job: str, title: str, folder: Path, variables: Mapping[str, str], path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a shell step in `folder`. `variables` gives a value to each variable of the step, the job and the workflow, and to those that the runner sets; `path`
    is a folder of programs that goes before the others."""
    whole = workflow(name)
    step = shell_step(name, job, title)
    named = {*whole.get("env", {}), *whole["jobs"][job].get("env", {}), *step.get("env", {})}
    constant = {key: value for part in (whole, whole["jobs"][job], step) for key, value in part.get("env", {}).items() if "${{" not in str(value)}
    runners = {key for key in variables if key.startswith(("GITHUB_", "RUNNER_"))}
    assert set(variables) - runners <= named, f"the step is not given {set(variables) - runners - named}"
    assert "${{" not in step["run"], "what comes from outside reaches a shell through the environment only"
    return run_shell(step["run"], folder, constant | dict(variables), step.get("shell", ""), path)


def run_shell(text: str, folder: Path, variables: Mapping[str, str], shell: str = "bash", path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run lines as GitHub does (without a shell named: `bash -e`), with the commands of this environment on the path."""
    options = {"": ["-e"], "bash": ["--noprofile", "--norc", "-eo", "pipefail"]}[shell]
    folders = [*([str(path)] if path else []), str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = {key: os.environ[key] for key in KEPT if key in os.environ} | {"PATH": ":".join(folders), "CI": "true"} | dict(variables)
    command = ["bash", *options, "-c", text]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
