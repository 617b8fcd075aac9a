"""What a stranger finds: the packages of a release, in an environment that has nothing of this checkout, and the files that people look for."""

from __future__ import annotations

import email
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
import yaml

from asdfd import __version__
from tests.ci.workflows import run_step
from tests.test_house import ROOT, committed_files

REPOSITORY = "https://code.example.org/team/asdfd"


def release_of(folder: Path, changelog: str) -> Path:
    """A Git repository of the committed files, with `changelog` in place of the one that is there."""
    for path in committed_files():
        copy = folder / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy, follow_symlinks=False)
    for link in ("components", "pipelines"):
        (folder / "src" / "asdfd" / link).symlink_to(f"../../{link}")
    (folder / "CHANGELOG.md").write_text(changelog)
    author = ["-c", "user.name=tests", "-c", "user.email=tests@example.org"]
    for words in (["init", "--quiet"], ["add", "--all"], [*author, "commit", "--quiet", "--message", "x"]):
        subprocess.run(["git", "-C", str(folder), *words], check=True)
    return folder


def built(folder: Path, tag: str) -> subprocess.CompletedProcess[str]:
    """What the step of the release's workflow does."""
    return run_step("release", "build", "Build the sdist and the wheel", folder, {"TAG": tag, "REPOSITORY_URL": REPOSITORY})


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder dist/ of a release of this version. Read only."""
    folder = release_of(tmp_path_factory.mktemp("release"), f"# Changelog\n\n## [{__version__}] - 2026-01-01\n")
    done = built(folder, f"v{__version__}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [f"asdfd-{__version__}-py3-none-any.whl", f"asdfd-{__version__}.tar.gz"]
    return folder / "dist"


@pytest.mark.slow
def test_the_wheel_runs_where_nothing_of_this_checkout_is(release: Path, tmp_path: Path) -> None:
    """In an environment of its own; what asdfd needs is lent to it from here, so that nothing is downloaded."""
    (wheel,) = release.glob("*.whl")
    place = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    python = place / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-index", "--no-deps", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    (packages,) = (place / "lib").glob("python3*/site-packages")
    (packages / "lent.pth").write_text(str(Path(torch.__file__).parents[1]))
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}

    def run(*words: str) -> str:
        done = subprocess.run([str(place / "bin" / "asdfd"), *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "exit codes:" in run("--help")
    assert run("--version") == f"asdfd {__version__}\n"
    assert "steps: 2000" in run("params")
    assert run("init", "desk", "--teacher", "x", "--data", "y").startswith("params.yaml, dvc.yaml")
    assert run("compile", "--out", "compress.yaml") == "compress.yaml\n"
    assert run("monitoring", "--out", "monitoring").count("monitoring/") == 2
    origin = subprocess.run(
        [str(python), "-c", "import asdfd; print(asdfd.__file__)"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert Path(origin.stdout.strip()).is_relative_to(packages)


@pytest.mark.slow
def test_the_packages_hold_every_file_and_say_what_they_are(release: Path) -> None:
    (sdist,) = release.glob("*.tar.gz")
    (wheel,) = release.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
        (information,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(opened.read(information))
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    ours = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src" / "asdfd").rglob("*") if path.suffix in (".py", ".j2", ".yaml", ".typed")}
    ours |= {f"asdfd/{path.relative_to(ROOT).as_posix()}" for name in ("components", "pipelines") for path in (ROOT / name).rglob("*.py")}
    assert ours - names == set()
    assert {"asdfd/py.typed", "asdfd/pipelines/compress.yaml", "asdfd/base/templates/report.html.j2"} <= names
    assert [name for name in names if name.startswith("tests")] == []
    assert {f"src/{name}" for name in ours} - inside == set()
    assert {"LICENSE", "README.md", "pyproject.toml"} <= inside
    assert (metadata["Version"], metadata["License-Expression"], metadata["Requires-Python"]) == (__version__, "Apache-2.0", ">=3.11")
    links = dict(link.split(", ", 1) for link in metadata.get_all("Project-URL", []))
    assert set(links) == {"Paper", "Source", "Issues", "Changelog"}
    assert links["Changelog"] == f"{REPOSITORY}/blob/v{__version__}/CHANGELOG.md"
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])


@pytest.mark.slow
def test_a_tag_that_is_not_the_version_builds_nothing(tmp_path: Path) -> None:
    folder = release_of(tmp_path, "# Changelog\n\n## [Unreleased]\n")
    done = built(folder, "v99.0.0")
    line = f"dist: the tag is v99.0.0 and src/asdfd/__init__.py holds {__version__}; change __version__ and tag that commit v{__version__}\n"
    assert (done.returncode, done.stderr) == (2, line)
    done = built(folder, f"v{__version__}")
    assert (done.returncode, f"has no section [{__version__}]" in done.stderr) == (2, True)
    assert not (folder / "dist").exists()


def test_where_the_version_is_repeated_it_is_this_one() -> None:
    found = {}
    for path in committed_files():
        for version in re.findall(r"\basdfd:(\d+\.\d+\.\d+)\b|^ARG VERSION=(.*)$", path.read_bytes().decode("utf-8", "replace"), re.MULTILINE):
            found.setdefault("".join(version), []).append(str(path.relative_to(ROOT)))
    assert set(found) == {__version__}, found
    assert "version" not in yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def test_the_files_that_people_look_for_are_there() -> None:
    for name in ("CHANGELOG.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "LICENSE", "CITATION.cff", ".github/pull_request_template.md"):
        assert len((ROOT / name).read_text(encoding="utf-8")) > 300, name
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert titles[0] == "[Unreleased]"
    assert [title for title in titles[1:] if not re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", title)] == []
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.*)$", text, re.MULTILINE)) <= kinds
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yaml"):
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert {"name", "description", "body"} <= set(form), path
        identifiers = [field["id"] for field in form["body"]]
        assert len(identifiers) == len(set(identifiers))
