"""The table of variables is whole: what the source reads stands in it, the pipeline passes on what it says, and the documentation shows it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import yaml

from asdfd.base.environment import CONFIG_FOLDER, CONFIG_MAP, INTERNAL, SECRET, SIGNING_SECRET, VARIABLES, keys_of, page

ROOT = Path(__file__).resolve().parents[2]
NAME = re.compile(r"RANK|BROWSER|DISPLAY|[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")
LIBRARIES = re.compile(r"AWS_\w+|HF_\w+|HTTPS?_PROXY|NO_COLOR|NO_PROXY|TMPDIR")
"""Variables that libraries read for us; every other one must be read by our own source."""

NO_VARIABLES = {"CERT_REQUIRED"}
"""Texts of the same modules that only look so."""


def names_in_source() -> dict[str, set[str]]:
    """Texts that look like a variable, of every module that reads or sets the environment."""
    found = {}
    for path in sorted((ROOT / "src" / "asdfd").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "os.environ" in text or "getenv" in text or re.search(r"^[A-Z_]+ = \"(ASDFD|KF|PUSH|S3|AWS)_", text, re.MULTILINE):
            texts = {node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
            found[str(path.relative_to(ROOT))] = {each for each in texts if NAME.fullmatch(each)}
    return found


def set_for_libraries() -> set[str]:
    """What `quiet_libraries` sets in our own process: the keys of its mapping, and what torchrun's workers are told."""
    return names_in_source()["src/asdfd/base/process.py"] | {"OMP_NUM_THREADS"}


def test_every_variable_that_the_source_reads_is_in_the_table() -> None:
    known = {variable.name for variable in VARIABLES} | set(INTERNAL) | set_for_libraries()
    files = {path: names for path, names in names_in_source().items() if path not in ("src/asdfd/base/environment.py", "src/asdfd/base/process.py")}
    assert len(files) > 8
    assert {path: names - known - NO_VARIABLES for path, names in files.items() if names - known - NO_VARIABLES} == {}


def test_every_variable_of_the_table_is_read() -> None:
    read = set().union(*(names for path, names in names_in_source().items() if path != "src/asdfd/base/environment.py"))
    assert [each.name for each in VARIABLES if each.name not in read and not LIBRARIES.fullmatch(each.name)] == []
    assert set(INTERNAL) <= read


def test_the_pods_get_what_the_table_says() -> None:
    specification, platforms = yaml.safe_load_all((ROOT / "pipelines" / "compress.yaml").read_text(encoding="utf-8"))
    for name, executor in platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"].items():
        (settings,) = executor["configMapAsEnv"]
        assert settings["configMapName"] == CONFIG_MAP
        assert {entry["configMapKey"]: entry["envVar"] for entry in settings["keyToEnv"]} == {each: each for each in keys_of("config map")}
        ways = {SECRET: keys_of("secret"), SIGNING_SECRET: keys_of("signing secret")}
        for secret in executor["secretAsEnv"]:
            assert {entry["secretKey"]: entry["envVar"] for entry in secret["keyToEnv"]} == {each: each for each in ways[secret["secretName"]]}
        assert [secret["secretName"] for secret in executor["secretAsEnv"]] == [SECRET, *([SIGNING_SECRET] if name == "exec-push" else [])]
        container = specification["deploymentSpec"]["executors"][name]["container"]
        assert {entry["name"] for entry in container["env"]} <= set(keys_of("pipeline"))
    assert not set(keys_of("secret")) & set(keys_of("config map"))


def test_the_pods_that_serve_get_what_the_table_says() -> None:
    deployment = yaml.safe_load((ROOT / "k8s" / "serving" / "deployment.yaml").read_text(encoding="utf-8"))
    (server,) = deployment["spec"]["template"]["spec"]["containers"]
    sources = {name: source["name"] for entry in server["envFrom"] for name, source in entry.items()}
    assert sources == {"configMapRef": CONFIG_MAP, "secretRef": SECRET}
    assert CONFIG_FOLDER in [mount["mountPath"] for mount in server["volumeMounts"]]
    named = {entry["name"] for entry in server["env"]}
    assert all(each.pods in ("config map", "secret", "cluster") or each.name in named for each in VARIABLES if each.serving)


def test_the_documentation_shows_the_table() -> None:
    assert (ROOT / "docs" / "environment.md").read_text(encoding="utf-8") == page(), "write it again: make manifests"
