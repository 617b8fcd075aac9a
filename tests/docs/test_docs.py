"""The site builds without a warning, its reference is that of the code, what pages name exists, and their commands run."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

from asdfd.cli.exit_codes import EXIT_CODES, for_help
from asdfd.cli.main import build_parser
from asdfd.cli.reference import pages as reference_pages
from tests.ci.workflows import ROOT
from tests.cli.conftest import tiny_options
from tests.docs.blocks import Block, blocks_of, pages

DOCS = ROOT / "docs"
MKDOCS = ROOT / ".venv-tools" / "bin" / "mkdocs"
BLOCKS = [block for page in pages() for block in blocks_of(page, page.read_text(encoding="utf-8"))]


def build_site(repository: Path, out: Path) -> subprocess.CompletedProcess[str]:
    assert MKDOCS.exists(), f"the tests need {MKDOCS}; install it with: make tools"
    command = [str(MKDOCS), "build", "--strict", "--config-file", str(repository / "mkdocs.yaml"), "--site-dir", str(out)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"})


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The pages in a repository of their own, to be changed."""
    folder = tmp_path / "repository"
    for name in ("docs", "ci"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "mkdocs.yaml", folder)
    for name in {target.partition("/")[0] for page in DOCS.rglob("*.md") for target in re.findall(r"\]\((?:\.\./)+([^)#]+)", page.read_text(encoding="utf-8"))}:
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    return folder


@pytest.mark.slow
def test_the_site_builds_strictly_with_every_page_and_asks_nobody_for_anything(tmp_path: Path) -> None:
    done = build_site(ROOT, tmp_path / "site")
    assert done.returncode == 0, done.stderr
    made = {path.relative_to(tmp_path / "site").with_suffix(".md") for path in (tmp_path / "site").rglob("*.html")} - {Path("404.md")}
    assert made == {path.relative_to(DOCS) for path in DOCS.rglob("*.md")}
    for path in (tmp_path / "site").rglob("*.html"):
        outside = r"<(?:script|img|iframe)\b[^>]*\bsrc=\"?(https?:[^\" >]+)|<link\b[^>]*rel=\"?stylesheet\"?[^>]*href=\"?(https?:[^\" >]+)"
        loaded = re.findall(outside, path.read_text(encoding="utf-8"))
        assert loaded == [], path.name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "said"),
    [("[x](nowhere.md)", "nowhere.md"), ("[x](glossary.md#nowhere)", "nowhere"), ("[x](../nowhere.py)", "the link ../nowhere.py leads nowhere")],
)
def test_a_link_that_leads_nowhere_fails_the_build(line: str, said: str, copied: Path, tmp_path: Path) -> None:
    page = copied / "docs" / "limits.md"
    page.write_text(f"{page.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    done = build_site(copied, tmp_path / "site")
    assert (done.returncode != 0, said in done.stderr) == (True, True), done.stderr


def test_the_navigation_has_what_people_look_for() -> None:
    text = re.sub(r"!!\S+", "", (ROOT / "mkdocs.yaml").read_text(encoding="utf-8"))
    titles = [title for entry in yaml.safe_load(text)["nav"] for title in entry]
    wanted = ["Start", "Tutorial", "Kubeflow", "Promotion by CI", "Serving", "Operations", "Reference", "How it works", "Benchmarks", "Privacy", "Limits"]
    assert titles[1:] == wanted


def test_the_reference_is_that_of_the_code() -> None:
    made = reference_pages()
    assert {path.name for path in (DOCS / "reference").iterdir()} == set(made)
    for name, text in made.items():
        assert (DOCS / "reference" / name).read_text(encoding="utf-8") == text, f"docs/reference/{name}: write it again: make manifests"
    assert all(len(line) <= 95 for line in for_help().splitlines())
    assert for_help() in build_parser().format_help()
    assert [code for code, _ in EXIT_CODES] == ["0", "1", "2", "3", "4", "130", "141", "143"]


def named_in_the_code(name: str) -> object:
    """What a page calls by its module and its name, such as `method.prior.prior_of`."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(f"asdfd.{module}"), attribute)


def test_the_equations_stand_beside_the_lines_that_compute_them() -> None:
    text = (DOCS / "how-it-works.md").read_text(encoding="utf-8")
    excerpts = re.findall(r"^`([\w.]+)`:\n\n```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(excerpts) == text.count("```") // 2 >= 9
    for name, excerpt in excerpts:
        source = textwrap.dedent(inspect.getsource(named_in_the_code(name)))  # pyright: ignore[reportArgumentType]
        lines = [line.strip() for line in source.splitlines()]
        wanted = [line.strip() for line in excerpt.splitlines()]
        assert any(lines[start : start + len(wanted)] == wanted for start in range(len(lines))), f"{name} has no such lines any more"
    for name in re.findall(r"`(method\.\w+\.\w+)`", text):
        named_in_the_code(name)


def test_every_block_of_commands_says_whether_it_is_run() -> None:
    assert len(BLOCKS) > 40
    assert [str(block) for block in BLOCKS if block.mark is None] == [], "before it: <!-- run -->, <!-- run by tests/... --> or <!-- not run: why -->"


def test_a_block_without_a_mark_is_found() -> None:
    text = "x\n\n    asdfd params\n\n<!-- run -->\n\n    asdfd params\n\n```console\nls\n```\n\n<!-- not run: why -->\n```sh\nls\n```\n\n    a: listing\n"
    assert [(block.line, block.mark is not None) for block in blocks_of(ROOT / "x.md", text)] == [(3, False), (7, True), (9, False), (14, True)]


def commands(block: Block) -> list[list[str]]:
    """The words of each line that calls asdfd or dvc."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [line.split() for line in lines if line.split()[:1] in (["asdfd"], ["dvc"])]


def test_who_is_said_to_run_a_block_knows_its_commands() -> None:
    tests = [block for block in BLOCKS if block.mark and block.mark.group(2)]
    assert len(tests) > 5
    for block in tests:
        assert block.mark is not None
        text = (ROOT / block.mark.group(2)).read_text(encoding="utf-8")
        assert [words[:2] for words in commands(block) if not re.search(rf"\b{words[1]}\b", text)] == [], block


RUN = sorted({block.page for block in BLOCKS if block.mark and block.mark.group(1)})


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_the_blocks_that_are_to_be_run_run(page: Path, teacher_folder: Path, data: Path, tmp_path: Path) -> None:
    """One after the other, in a folder with a tiny teacher, its texts and parameters that take seconds."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "my-classifier").symlink_to(teacher_folder)
    shutil.copy(data, tmp_path / "test.csv")
    tree: dict[str, dict[str, object]] = {}
    for setting in tiny_options()[1::2]:
        name, _, value = setting.partition("=")
        tree.setdefault(name.partition(".")[0], {})[name.partition(".")[2]] = yaml.safe_load(value)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree))
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for block in (block for block in BLOCKS if block.page == page and block.mark and block.mark.group(1)):
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", block.text], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{block}: {done.stderr}"


def test_something_is_run() -> None:
    assert sum(1 for block in BLOCKS if block.mark and block.mark.group(1)) >= 4
