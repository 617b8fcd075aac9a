"""With --json a verb prints one JSON object on stdout and nothing else, whatever comes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from asdfd.cli.main import main
from asdfd.registry.publication import push
from tests.registry.makers import make_judged, run_of


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """A registry with two versions of `tiny`, of which the second holds staging."""
    run = run_of(str(tmp_path / "registry"), gate={"champion_margin": 1.0})
    for content in ("one", "two"):
        push(run, make_judged(run, tmp_path / content, content), {})
    return tmp_path / "registry"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["params"], 0),
        (["params", "--describe"], 0),
        (["compile", "--out", "made/compress.yaml"], 0),
        (["compile", "--image", "asdfd:latest"], 2),
        (["monitoring", "--out", "made/monitoring"], 0),
        (["gate", "--evaluation", "one/evaluation", "--out", "made/verdict"], 0),
        (["gate", "--evaluation", "one/evaluation", "--out", "made/verdict", "--set", "gate.largest_bytes=1"], 3),
        (["registry", "list"], 0),
        (["registry", "show", "tiny@staging"], 0),
        (["registry", "history", "tiny"], 0),
        (["registry", "pull", "tiny@staging", "--out", "made/version"], 0),
        (["registry", "verify"], 0),
        (["registry", "verify", "tiny@staging"], 0),
        (["registry", "gc", "--older-than", "0"], 0),
        (["registry", "gc", "--keep", "1", "--older-than", "0", "--yes"], 0),
        (["rollback", "tiny", "--stage", "staging", "--reason", "why"], 0),
        (["rollback", "tiny", "--stage", "production", "--reason", "why"], 3),
        (["promote", "tiny@staging"], 2),
        (["status"], 0),
        (["no-such-verb"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_stdout_is_one_object(words: list[str], code: int, registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KF_PIPELINES_ENDPOINT", raising=False)
    where = [] if words[0] in ("compile", "monitoring", "no-such-verb") else ["--set", "registry.location=registry", "--set", "registry.name=tiny"]
    assert registry.is_dir()
    assert main([*words, *where, "--json"]) == code
    output = capsys.readouterr().out
    assert output.count("\n") == 1
    document = json.loads(output)
    assert isinstance(document, dict)
    assert (document.get("exit_code", 0), "error" in document) == (code, code != 0)


def test_a_damaged_registry_is_one_object_too(registry: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for weights in registry.rglob("model.safetensors"):
        weights.write_text("other")
    assert main(["registry", "verify", "--registry", str(registry), "--json"]) == 2
    output = capsys.readouterr().out
    assert output.count("\n") == 1
    document = json.loads(output)
    assert len(document["problems"]) == 2
    assert document["exit_code"] == 2
