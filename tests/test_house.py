"""The house itself: the direction of imports, what is light to import, what the pages promise, and what no committed file may hold."""

from __future__ import annotations

import ast
import csv
import re
import shlex
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest
import yaml

from asdfd import __version__
from asdfd.base.loading import load_run
from asdfd.cli.main import build_parser, main
from tests.docs.blocks import blocks_of, pages

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"
EXAMPLE = ROOT / "examples" / "support-desk"

LIGHT = ("asdfd", "asdfd.base.loading", "asdfd.base.artifacts", "asdfd.base.telemetry", "asdfd.base.interruption", "asdfd.steps", "asdfd.cli.main")
TORCH_USERS = ("torch", "transformers", "datasets", "safetensors.torch", "sklearn", "matplotlib")


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name, those of the linked folders too."""
    folders = [(SOURCE / "asdfd", SOURCE), *((ROOT / name, ROOT) for name in ("components", "pipelines"))]
    paths = {path: path.relative_to(root).with_suffix("").parts for folder, root in folders for path in folder.rglob("*.py")}
    named = {path: ("asdfd", *(part for part in parts if part not in ("asdfd", "__init__"))) for path, parts in paths.items()}
    return {".".join(parts): path for path, parts in named.items()}


def imports(path: Path, known: set[str]) -> Iterator[tuple[str, bool]]:
    """Our modules that a file imports, wherever in it, and whether it does so when it runs (and not for type checking only)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {inner for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute, so that a reader sees where a name comes from"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in known else str(node.module) for name in whole]
        else:
            continue
        yield from ((name, node not in for_types) for name in names if name.partition(".")[0] == "asdfd")


def wing(module: str) -> str:
    """The package below `asdfd` that a module stands in; empty for `asdfd` itself."""
    return ".".join(module.split(".")[1:2])


def may_import() -> dict[str, set[str]]:
    """What each wing may import, as the last sentences of its docstring say."""
    found = {}
    for name in {wing(module) for module in modules()} - {""}:
        text = ast.get_docstring(ast.parse(modules()[f"asdfd.{name}"].read_text(encoding="utf-8"))) or ""
        (sentence,) = re.findall(r"(?:It|it) may import (.*?)\.", " ".join(text.split()))
        found[name] = set(re.findall(r"`(\w+)`", sentence))
    return found


def test_every_module_stands_in_a_wing_that_says_what_it_is_for_and_what_it_imports() -> None:
    known = modules()
    assert [name for name in known if name.count(".") == 1 and known[name].name != "__init__.py"] == [], "a module beside the wings"
    allowed = may_import()
    arrows = {(name, target) for name, path in known.items() for target, _ in imports(path, set(known)) if wing(target) not in ("", wing(name))}
    assert [f"{name} imports {target}" for name, target in sorted(arrows) if wing(target) not in allowed[wing(name)]] == []
    unused = [(name, target) for name, targets in allowed.items() for target in targets if (name, target) not in {(wing(a), wing(b)) for a, b in arrows}]
    assert unused == [], "a wing says that it may import another, and does not"


def test_wings_look_down_only() -> None:
    left = may_import()
    assert len(left) > 5
    while free := [name for name, targets in left.items() if not targets & left.keys()]:
        for name in free:
            del left[name]
    assert left == {}, "these wings may import each other in a circle"


def test_no_modules_import_each_other_in_a_circle() -> None:
    known = modules()
    left = {name: {target for target, running in imports(path, set(known)) if running and target != name} for name, path in known.items()}
    left.pop("asdfd")  # holds the version only, checked below
    while free := [name for name, targets in left.items() if not targets & left.keys()]:
        for name in free:
            del left[name]
    assert left == {}
    assert list(imports(SOURCE / "asdfd" / "__init__.py", set(known))) == []


def test_the_architecture_names_every_wing_and_the_tests_mirror_it() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("## Wings")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", page, re.MULTILINE)
    named = {name: set(re.findall(r"`(\w+)`", text)) for name, text in rows if name != "components"}
    inside = [name.split(".")[1:] for name in modules() if name.count(".") == 2 and not name.endswith("__main__")]
    assert [(name, module) for name, module in inside if module not in named.get(name, {module})] == [], "modules that the page does not name"
    order = [name for name, _ in rows]
    below = {name: order[place:] for place, name in enumerate(order)}
    assert [(name, target) for name, targets in may_import().items() for target in targets if target not in below[name]] == [], (
        "the table goes from the top down"
    )
    assert {name for name, _ in rows} == may_import().keys()
    tested = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and any(path.rglob("test_*.py"))}
    assert may_import().keys() - tested - {"components"} == set(), "each wing has a folder of tests; the components are run by those of the pipelines"


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_import_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*[name for name in {TORCH_USERS} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


def test_the_version_stands_in_one_place_only() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "asdfd.__version__"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)


def committed_files() -> list[Path]:
    """Files that are committed or would be; not the ignored ones."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a Git checkout, so nothing is committed")
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_committed_file_names_a_registry_or_a_home_folder() -> None:
    forbidden = ["index" + "-url", "extra" + "-index", "https://" + "pypi", "pythonhosted" + ".org"]
    values = ["index" + r"_url\s*[=:]\s*\w"]  # the name alone is an argument that the one who builds may give
    homes = [re.escape(str(Path.home())) + "/", "/" + r"home/(?!someone/)\w", "/" + r"Users/\w", "/" + "root/"]
    pattern = re.compile("|".join([*map(re.escape, forbidden), *values, *homes]), re.IGNORECASE)
    files = committed_files()
    found = [f"{path.relative_to(ROOT)}: {match.group()}" for path in files if (match := pattern.search(path.read_bytes().decode("utf-8", "replace")))]
    assert len(files) > 30
    assert found == []


@pytest.mark.parametrize("target", ["setup", "servers", "checkov", "tools", "manifests", "demo", "test", "lint", "bench", "clean"])
def test_make_knows_how_to_build_every_target_on_a_fresh_machine(target: str, tmp_path: Path) -> None:
    for path in committed_files():
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.touch()
    (tmp_path / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    planned = subprocess.run(["make", "--dry-run", target], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert planned.returncode == 0, planned.stderr
    assert planned.stdout.strip(), f"`make {target}` would do nothing"


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [re.split(r"[\[<>=; ]", entry)[0].lower() for entry in [*project["dependencies"], *extras["bench"], *extras["dev"]]]
    lines = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in lines}
    assert set(wanted) - pinned - {"asdfd"} == set()


def command_lines() -> Iterator[tuple[str, list[str]]]:
    """Every line that calls asdfd in a block of commands of the pages: where, and its words. Lines with something to fill in are left out."""
    for block in (block for page in pages() for block in blocks_of(page, page.read_text(encoding="utf-8"))):
        for line in block.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line.partition(" > ")[0], comments=True) if line.startswith("asdfd ") and not re.search(r"\.\.\.|…|<\w+>", line) else []
            if words:
                yield str(block), words[1 : words.index("&&") if "&&" in words else None]


def test_every_command_of_the_pages_parses_and_its_parameters_exist(capsys: pytest.CaptureFixture[str]) -> None:
    seen = set()
    for place, words in command_lines():
        arguments = build_parser().parse_args(words)
        if "preset" in arguments:
            load_run(arguments.preset, None, arguments.set)
        assert main([*words[: 2 if words[0] in ("registry", "schedule") else 1], "--help"]) == 0
        text = capsys.readouterr().out
        assert [word for word in words if word.startswith("--") and word not in text] == [], place
        seen.add(words[0])
    compression = {"init", "fetch", "synthesize", "merge", "distill", "evaluate", "export", "run", "params"}
    assert seen >= compression | {"doctor", "submit", "upload", "schedule", "status", "gate", "push", "registry", "promote", "rollback", "serve"}


def test_the_readme_fits_one_screen_and_a_half_and_its_make_targets_are_there() -> None:
    text, makefile = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "Makefile"))
    assert len(text.splitlines()) <= 75
    named = set(re.findall(r"^make ([\w-]+)$|`make ([\w-]+)`", text, re.MULTILINE))
    targets = {"".join(names) for names in named}
    assert {"demo", "test", "site"} <= targets
    assert [target for target in targets if not re.search(rf"^{target}:.*## ", makefile, re.MULTILINE)] == []


def test_every_link_of_the_pages_outside_the_site_leads_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "examples").rglob("*.md")]:
        targets = re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text(encoding="utf-8"))
        assert [target for target in targets if not (page.parent / target).exists()] == [], page.name


@pytest.mark.slow
def test_the_python_example_of_the_docs_works(
    teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "start.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    Path("models/my-classifier").symlink_to(teacher_folder)
    Path("test.csv").write_text("text,label\nwhere is my refund,question\nit is wonderful,praise\nthe screen is broken,complaint\n", encoding="utf-8")
    small = {
        "synthesis": {"samples": 96, "maximum_length": 8, "pool": 16},
        "distillation": {"steps": 3, "batch_size": 8, "log_every": 1},
        "evaluation": {"latency_runs": 2},
    }
    Path("params.yaml").write_text(yaml.safe_dump(small), encoding="utf-8")
    exec(compile(code, "start.md", "exec"), {})
    printed = capsys.readouterr().out
    assert Path("runs/third/evaluation/report.html").is_file()
    assert re.search(r"\[\{'label': '(complaint|praise|question)', 'score': 0\.\d+\}\]", printed)


def example_rows(name: str) -> list[dict[str, str]]:
    """Rows of one of the example's files."""
    with (EXAMPLE / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_example_data_obeys_its_readme() -> None:
    train, test = example_rows("train.csv"), example_rows("test.csv")
    table = re.findall(r"^\| `(\w+)` \|.*\| (\d+) \| (\d+) \|$", (EXAMPLE / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert Counter(row["label"] for row in train) == {label: int(count) for label, count, _ in table}
    assert Counter(row["label"] for row in test) == {label: int(count) for label, _, count in table}
    assert min(int(count) for _, count, _ in table) >= 60
    texts = [row["text"] for row in [*train, *test]]
    assert [text for text in texts if not 3 <= len(text.split()) <= 25 or text != text.strip()] == []
    words = [frozenset(re.findall(r"\w+", text.lower())) for text in texts]
    alike = [(one, other) for one, other in combinations(range(len(texts)), 2) if len(words[one] & words[other]) > 0.7 * len(words[one] | words[other])]
    assert [(texts[one], texts[other]) for one, other in alike] == []
