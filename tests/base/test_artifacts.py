"""Artifacts: whole or not there, verified to the last byte, and never somebody else's files in the way."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asdfd.base import artifacts
from asdfd.base.artifacts import MANIFEST, Artifact, FileEntry, Recipe, Workspace, content_digest, open_workspace, read
from asdfd.base.errors import InputError

RECIPE = Recipe("bank", {"teacher": "ab" * 32}, {"samples": 3}, seed=7)
FILES = {"part-00000.safetensors": b"first part", "deeper/part-00001.safetensors": bytes(range(256))}
VERSIONS = {"torch": "2.13"}


def fill(workspace: Workspace) -> None:
    """What a step does: the same files every time."""
    for name, content in FILES.items():
        (workspace.artifact / name).parent.mkdir(exist_ok=True)
        (workspace.artifact / name).write_bytes(content)


def make(out: Path, recipe: Recipe = RECIPE) -> Artifact:
    """The artifact of a step, made or found."""
    workspace = open_workspace(out, recipe)
    if isinstance(workspace, Artifact):
        return workspace
    fill(workspace)
    return workspace.finish(VERSIONS)


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a manifest and make its digest fit again, as somebody with bad intent would."""
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    manifest["digest"] = content_digest(manifest["kind"], {name: FileEntry(**entry) for name, entry in manifest["files"].items()})
    (folder / MANIFEST).write_text(json.dumps(manifest))


def test_an_artifact_is_read_as_it_was_made(tmp_path: Path) -> None:
    made = make(tmp_path / "bank")
    found = read(tmp_path / "bank", "bank")
    assert found == made
    assert found.digest == made.digest
    assert found.recipe == RECIPE
    assert set(found.files) == set(FILES)
    assert {path.relative_to(made.path).as_posix() for path in made.path.rglob("*") if path.is_file()} == {*FILES, MANIFEST}
    assert [path.name for path in tmp_path.iterdir()] == ["bank"], "the partial folder must be gone"


def test_the_digest_does_not_depend_on_the_path_and_the_bytes_neither(tmp_path: Path) -> None:
    first, second = make(tmp_path / "a"), make(tmp_path / "deeper" / "b")
    assert first.digest == second.digest
    assert (first.path / MANIFEST).read_bytes() == (second.path / MANIFEST).read_bytes()
    assert str(tmp_path) not in (first.path / MANIFEST).read_text()


def test_the_digest_depends_on_kind_names_and_content() -> None:
    entry = FileEntry("0" * 64, 3)
    digests = {
        content_digest("bank", {"a": entry}),
        content_digest("student", {"a": entry}),
        content_digest("bank", {"b": entry}),
        content_digest("bank", {"a": FileEntry("0" * 64, 4)}),
        content_digest("bank", {"a": FileEntry("1" * 64, 3)}),
        content_digest("bank", {}),
    }
    assert len(digests) == 6


def test_making_it_again_returns_it_untouched(tmp_path: Path) -> None:
    made = make(tmp_path / "bank")
    before = {path: path.stat().st_mtime_ns for path in made.path.rglob("*")}
    again = open_workspace(tmp_path / "bank", RECIPE)
    assert again == made
    assert {path: path.stat().st_mtime_ns for path in made.path.rglob("*")} == before


@pytest.mark.parametrize("other", [Recipe("bank", {"teacher": "cd" * 32}, {"samples": 3}, 7), Recipe("bank", RECIPE.inputs, {"samples": 4}, 7)])
def test_an_artifact_of_other_inputs_is_never_overwritten(tmp_path: Path, other: Recipe) -> None:
    made = make(tmp_path / "bank")
    with pytest.raises(InputError, match=r"bank: holds a bank made from other inputs or parameters; remove it or name another --out"):
        open_workspace(tmp_path / "bank", other)
    assert read(tmp_path / "bank", "bank") == made


def test_what_an_interrupted_step_did_is_kept_for_the_same_recipe_only(tmp_path: Path) -> None:
    workspace = open_workspace(tmp_path / "bank", RECIPE)
    assert isinstance(workspace, Workspace)
    (workspace.path / "checkpoint").write_text("step 3")
    with pytest.raises(InputError, match=r"bank\.partial: holds an interrupted bank of other inputs"):
        open_workspace(tmp_path / "bank", Recipe("bank"))
    again = open_workspace(tmp_path / "bank", RECIPE)
    assert isinstance(again, Workspace)
    assert (again.path / "checkpoint").read_text() == "step 3"


@pytest.mark.parametrize("what", ["file", "folder", "empty folder", "dangling link"])
def test_something_else_in_the_place_of_out_is_left_alone(tmp_path: Path, what: str) -> None:
    out = tmp_path / "bank"
    if what == "file":
        out.write_text("mine")
    elif what == "dangling link":
        out.symlink_to(tmp_path / "nowhere")
    else:
        out.mkdir()
        if what == "folder":
            (out / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=r"bank: exists and is not a bank of ours"):
        open_workspace(out, RECIPE)
    assert [path.name for path in tmp_path.iterdir()] == ["bank"]
    assert what != "folder" or (out / "mine.txt").read_text() == "mine"


def test_a_folder_of_the_user_in_the_place_of_the_partial_one_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "bank.partial" / "artifact" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(InputError, match=r"mine\.txt: is in the way, steps work in bank\.partial; move it or name another --out"):
        open_workspace(tmp_path / "bank", RECIPE)
    assert mine.read_text() == "mine"


def test_temporary_files_of_a_killed_write_do_not_become_a_part_of_the_artifact(tmp_path: Path) -> None:
    wanted = make(tmp_path / "wanted").digest
    workspace = open_workspace(tmp_path / "bank", RECIPE)
    assert isinstance(workspace, Workspace)
    (workspace.artifact / "deeper").mkdir()
    for leftover in (".tmpA1b2C3", "part-00000.tmp", "deeper/.tmpX", f"{MANIFEST}.tmp", MANIFEST):
        (workspace.artifact / leftover).write_text("half of")
    (workspace.path / ".tmpA1b2C3").write_text("half of a checkpoint")
    made = make(tmp_path / "bank")
    assert made.digest == wanted
    assert {path.relative_to(made.path).as_posix() for path in made.path.rglob("*") if path.is_file()} == {*FILES, MANIFEST}


def test_every_file_may_be_read_by_whom_the_manifest_may(tmp_path: Path) -> None:
    workspace = open_workspace(tmp_path / "bank", RECIPE)
    assert isinstance(workspace, Workspace)
    fill(workspace)
    (workspace.artifact / "part-00000.safetensors").chmod(0o600)
    workspace.finish(VERSIONS)
    modes = {path.stat().st_mode for path in (tmp_path / "bank").rglob("*") if path.is_file()}
    assert modes == {(tmp_path / "bank" / MANIFEST).stat().st_mode}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(FILES)), st.integers(min_value=0), st.integers(0, 7))
def test_a_flipped_bit_is_found(tmp_path: Path, name: str, position: int, bit: int) -> None:
    make(tmp_path / "bank")
    content = bytearray(FILES[name])
    content[position % len(content)] ^= 1 << bit
    (tmp_path / "bank" / name).write_bytes(content)
    try:
        with pytest.raises(InputError, match=rf"{name}: is not the file that the manifest describes"):
            read(tmp_path / "bank", "bank")
    finally:
        (tmp_path / "bank" / name).write_bytes(FILES[name])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(min_value=0), st.integers(0, 7))
def test_a_flipped_bit_in_the_manifest_is_one_clear_error_or_changes_no_content(tmp_path: Path, position: int, bit: int) -> None:
    made = make(tmp_path / "bank")
    whole = (tmp_path / "bank" / MANIFEST).read_bytes()
    content = bytearray(whole)
    content[position % len(content)] ^= 1 << bit
    (tmp_path / "bank" / MANIFEST).write_bytes(content)
    try:
        found = read(tmp_path / "bank", "bank").digest
    except InputError as error:
        found = str(error)
    (tmp_path / "bank" / MANIFEST).write_bytes(whole)
    assert found == made.digest or (found.startswith(f"{tmp_path}/bank") and "\n" not in found)


def test_a_file_too_many_and_one_too_few_are_found(tmp_path: Path) -> None:
    make(tmp_path / "bank")
    extra = tmp_path / "bank" / "deeper" / "extra.txt"
    extra.write_text("")
    with pytest.raises(InputError, match=r"deeper/extra\.txt: is not named in the manifest"):
        read(tmp_path / "bank", "bank")
    extra.unlink()
    (tmp_path / "bank" / "part-00000.safetensors").unlink()
    with pytest.raises(InputError, match=r"part-00000\.safetensors: is missing"):
        read(tmp_path / "bank", "bank")


@pytest.mark.parametrize("name", ["part-00000.safetensors", "new", "deeper"])
def test_links_are_refused_also_those_to_the_right_content(tmp_path: Path, name: str) -> None:
    make(tmp_path / "bank")
    path, aside = tmp_path / "bank" / name, tmp_path / "aside"
    if path.exists():
        path.rename(aside)
    else:
        aside.write_text("content")
    path.symlink_to(aside)
    with pytest.raises(InputError, match=r"symbolic link|outside of the bank"):
        read(tmp_path / "bank", "bank")


@pytest.mark.parametrize("name", ["../secret", "deeper/../../secret", "/etc/hostname"])
def test_a_manifest_that_names_files_outside_is_refused(tmp_path: Path, name: str) -> None:
    make(tmp_path / "bank")
    (tmp_path / "secret").write_text("secret")
    entry = {"sha256": artifacts.sha256_of(tmp_path / "secret"), "bytes": 6}
    edit_manifest(tmp_path / "bank", lambda manifest: manifest["files"].update({name: entry}))
    with pytest.raises(InputError, match="names a file outside of the bank"):
        read(tmp_path / "bank", "bank")


def test_a_manifest_that_names_an_impossible_file_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "bank")
    edit_manifest(tmp_path / "bank", lambda manifest: manifest["files"].update({"a\0b": {"sha256": "0" * 64, "bytes": 6}}))
    with pytest.raises(InputError, match="is missing; make it again with `asdfd synthesize`, or fetch it again"):
        read(tmp_path / "bank", "bank")


def test_a_newer_schema_says_what_reads_it(tmp_path: Path) -> None:
    make(tmp_path / "bank")
    edit_manifest(tmp_path / "bank", lambda manifest: manifest.update(schema=2, made_by="asdfd 9.0"))
    with pytest.raises(InputError, match=r"has schema 2, this version reads schema 1; use the asdfd that wrote it \(asdfd 9\.0\)"):
        read(tmp_path / "bank", "bank")


def test_another_kind_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "bank")
    with pytest.raises(InputError, match=r"bank: is a bank, a student is needed here; check the order of the arguments"):
        read(tmp_path / "bank", "student")
    with pytest.raises(InputError, match=r"bank: is a bank, an evaluation is needed here"):
        read(tmp_path / "bank", "evaluation")


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", "not json", '{"schema": 1}', '{"schema": 1, "kind": "bank", "files": []}', "\udcff"])
def test_what_is_no_manifest_is_one_clear_error(tmp_path: Path, text: str) -> None:
    make(tmp_path / "bank")
    (tmp_path / "bank" / MANIFEST).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=r"manifest\.json: is not a valid manifest; make it again with `asdfd synthesize`"):
        read(tmp_path / "bank", "bank")


def test_no_folder_and_no_manifest_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder; name the folder of a bank, as `asdfd synthesize` makes it"):
        read(tmp_path / "bank", "bank")
    (tmp_path / "bank").mkdir()
    with pytest.raises(InputError, match=r"holds no manifest\.json"):
        read(tmp_path / "bank", "bank")


class Crash(BaseException):
    """The process ends here: nothing of ours catches it."""


def crash_at(line: int, action: Callable[[], object]) -> bool:
    """Do `action` and crash before the given line, counted over what it runs in artifacts.py and in shutil; whether it got that far."""
    seen = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal seen
        del argument
        if Path(frame.f_code.co_filename).name not in ("artifacts.py", "shutil.py"):
            return None
        if event == "line":
            seen += 1
            if seen == line:
                raise Crash
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    except Crash:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the crash leaves files open, as it should
def test_a_crash_between_any_two_operations_leaves_nothing_that_looks_finished_and_nothing_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From opening the workspace to the last clean-up: after a crash `out` is absent or whole, and making it again gives the same and leaves no rest.

    A crash of the process, not of the machine, so nothing has to reach the disk: without fsync the test takes a tenth of its time.
    """
    monkeypatch.setattr(artifacts, "sync", Path)
    wanted = make(tmp_path / "wanted").digest
    line = 0
    crashed = True
    while crashed:
        line += 1
        out = tmp_path / str(line) / "bank"
        crashed = crash_at(line, lambda out=out: make(out))
        if out.exists():
            assert read(out, "bank").digest == wanted, f"crash at line {line}"
        assert make(out).digest == wanted, f"crash at line {line}"
        assert read(out, "bank").digest == wanted
        assert [path for path in out.parent.rglob("*") if path.is_file() and out not in path.parents] == [], f"crash at line {line}"
    assert line > 60, "the trace must have seen the operations"
