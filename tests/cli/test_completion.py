"""Completion in real shells, which ask `asdfd` as they do for whoever presses the tabulator."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from asdfd.base.loading import PRESETS
from asdfd.cli.main import main

pytestmark = pytest.mark.slow

ASK = """
eval "$(asdfd completion bash)"
COMP_LINE="$1" COMP_POINT=${#1} COMP_TYPE=9 COMP_KEY=9
read -ra COMP_WORDS <<< "$1"
[[ $1 == *' ' ]] && COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
handler="$(complete -p asdfd | sed 's/.*-F \\([^ ]*\\) .*/\\1/')"
"$handler" asdfd "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def completed(line: str, folder: Path) -> list[str]:
    """What bash offers for a line; what stands before an @ or = is not repeated, as bash takes these for the ends of words."""
    return sorted(word.strip() for word in shown(["bash", "--norc", "-c", ASK, "bash", line], folder).splitlines() if word.strip())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a registry that has one version of one model, by its names alone, and a file."""
    (tmp_path / "texts.csv").write_text("text,label\n", encoding="utf-8")
    for path in ("models/desk/versions/0123456789abcdef/manifest.json", "aliases/desk/staging.json", "aliases/desk/production.json"):
        place = tmp_path / "registry" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("{}", encoding="utf-8")
    return tmp_path


def test_verbs_options_and_values_are_completed(folder: Path) -> None:
    assert completed("asdfd di", folder) == ["distill"]
    assert completed("asdfd registry h", folder) == ["history"]
    assert completed("asdfd distill --te", folder) == ["--teacher"]
    assert completed("asdfd run --preset ", folder) == sorted(PRESETS)
    assert completed("asdfd run --set synthesis.prior=", folder) == ["uniform", "zipf"]
    assert completed("asdfd run --set distillation.ste", folder) == ["distillation.steps="]
    assert completed("asdfd run --data te", folder) == ["texts.csv"]


def test_what_a_registry_in_a_folder_holds_is_completed(folder: Path) -> None:
    assert completed("asdfd registry show --registry registry de", folder) == ["desk@0123456789abcdef", "desk@production", "desk@staging"]
    assert completed("asdfd serve --registry registry desk@st", folder) == ["staging"]
    assert completed("asdfd registry history --registry registry de", folder) == ["desk"]
    assert completed("asdfd rollback --registry registry desk --stage ", folder) == ["production", "staging"]
    assert completed("asdfd registry show --registry s3://nowhere/registry de", folder) == [], "no server is asked"


TYPE = """
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell 'PS1=READY; eval "$(asdfd completion zsh)"'
zpty -r -m shell text '*READY*'
zpty -w -n shell "$1"$'\t'
zpty -r -m shell text "$2"
print -r -- "$text"
"""
"""A zsh of its own without anybody's settings, and a tabulator after the line; `zpty -r -m` reads until the pattern was shown."""


def test_fish_completes_what_is_typed(folder: Path) -> None:
    def offered(line: str) -> list[str]:
        script = 'asdfd completion fish | source; complete -C "$argv[1]"'
        return sorted(row.split("\t")[0] for row in shown(["fish", "--no-config", "-c", script, line], folder).splitlines())

    assert offered("asdfd di") == ["distill"]
    assert offered("asdfd run --preset ") == sorted(PRESETS)
    assert offered("asdfd serve --registry registry desk@st") == ["desk@staging"]
    assert offered("asdfd run --data te") == ["texts.csv"]


@pytest.mark.parametrize(("line", "seen"), [("asdfd di", "*distill*"), ("asdfd run --preset qu", "*quick*"), ("asdfd run --data te", "*texts.csv*")])
def test_a_new_zsh_completes_what_is_typed(line: str, seen: str, folder: Path) -> None:
    assert shown(["zsh", "-f", "-c", TYPE, "zsh", line, seen], folder, seconds=120)


def test_a_shell_that_is_not_known_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "cmd"]) == 2
    assert "invalid choice: 'cmd'" in capsys.readouterr().err


def shown(command: list[str], folder: Path, seconds: float | None = None) -> str:
    """What a shell printed that has `asdfd` on its path."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=seconds)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout
