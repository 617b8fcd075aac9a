"""Artifacts: directories that are whole or not there, and that are verified when read.

A step works in `<out>.partial/` and renames `<out>.partial/artifact` to `<out>` at the end, so a killed step leaves nothing that looks finished and what it
had done (parts, checkpoints) waits in the partial folder, where one process at a time may work. `manifest.json` names the kind, the SHA-256 of every file, the
digests of the inputs, the parameters, the seed and the versions. It holds no time and no path: the same inputs give the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from asdfd import __version__
from asdfd.base.errors import InputError
from asdfd.base.locking import take_lock

SCHEMA = 1
MANIFEST = "manifest.json"
MAKERS = {
    "teacher": "fetch",
    "bank": "synthesize",
    "bank-shard": "synthesize --shard N/COUNT",
    "student": "distill",
    "export": "export",
    "evaluation": "evaluate",
    "verdict": "gate",
}
"""What of the command line makes an artifact, by its kind."""


@dataclass(frozen=True)
class FileEntry:
    """One file of an artifact."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Recipe:
    """All that decides an artifact's content: two artifacts of one recipe are the same."""

    kind: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Digest of every input, by its role."""
    config: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    made_by: str = f"asdfd {__version__}"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the recipe's canonical JSON."""
        return hashlib.sha256(canonical_json(asdict(self))).hexdigest()


@dataclass(frozen=True)
class Artifact:
    """A verified artifact on disk."""

    path: Path
    recipe: Recipe
    files: Mapping[str, FileEntry]
    versions: Mapping[str, str]

    @property
    def digest(self) -> str:
        """Content digest: SHA-256 over kind, schema and every file's name, hash and size."""
        return content_digest(self.recipe.kind, self.files)


def canonical_json(value: Any) -> bytes:
    """Bytes of `value` as JSON with sorted keys and no spaces, the form that is hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def content_digest(kind: str, files: Mapping[str, FileEntry]) -> str:
    """Digest of an artifact's content, independent of where it lies and who made it."""
    content = {"kind": kind, "schema": SCHEMA, "files": {name: asdict(entry) for name, entry in files.items()}}
    return hashlib.sha256(canonical_json(content)).hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_entries(folder: Path) -> dict[str, FileEntry]:
    """Hash and size of every file below `folder` except the manifest."""
    return {name: FileEntry(sha256_of(folder / name), (folder / name).stat().st_size) for name in _file_names(folder)}


def _file_names(folder: Path) -> list[str]:
    """Every file below `folder` except the manifest; links are refused since they point outside of what is hashed."""
    names: list[str] = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise InputError(f"{path}: is a symbolic link; an artifact holds plain files only, copy the file there")
        if path.is_file() and path != folder / MANIFEST:
            names.append(path.relative_to(folder).as_posix())
    return names


class Workspace:
    """The partial folder of one step: `artifact/` becomes the artifact, everything else beside it is the step's own state."""

    def __init__(self, out: Path, recipe: Recipe) -> None:
        self.out = out
        self.recipe = recipe
        self.path = out.with_name(out.name + ".partial")
        self.artifact = self.path / "artifact"
        self._lock: int | None = None

    def enter(self) -> bool:
        """Make the partial folder and be the only process in it until it is removed or the process ends; false where another one is in it."""
        while True:
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                self._lock = take_lock(self.lock)
            except FileNotFoundError:  # whoever finished this very moment removed the folder
                continue
            return self._lock is not None

    def finish(self, versions: Mapping[str, str]) -> Artifact:
        """Write the manifest, make everything durable and move the artifact to its place in one rename."""
        files = file_entries(self.artifact)
        manifest = {
            "schema": SCHEMA,
            **asdict(self.recipe),
            "digest": content_digest(self.recipe.kind, files),
            "files": {name: asdict(entry) for name, entry in files.items()},
            "versions": dict(versions),
        }
        write_atomically(self.artifact / MANIFEST, json.dumps(manifest, indent=2, sort_keys=True) + "\n")
        mode = (self.artifact / MANIFEST).stat().st_mode
        for path in self.artifact.rglob("*"):
            if path.is_file():
                path.chmod(mode)  # safetensors lets nobody else read what it writes
            sync(path)
        sync(self.artifact)
        self.artifact.rename(self.out)
        sync(self.out.parent)
        self.remove()
        as_read, _, _ = _read_manifest(self.out, self.recipe.kind)  # with the order and the types of JSON: whoever is handed it on writes what a reader would
        return Artifact(self.out, as_read, files, dict(versions))

    def clear(self) -> None:
        """Take away what the artifact has by now, to begin it anew."""
        shutil.rmtree(self.artifact)
        self.artifact.mkdir()

    @property
    def mark(self) -> Path:
        """File that says whose partial folder this is. But for the lock it comes first and goes last, so that a folder without it holds nothing of ours."""
        return self.path / "recipe.sha256"

    @property
    def lock(self) -> Path:
        """File that the process which works here has locked."""
        return self.path / "lock"

    def is_empty(self) -> bool:
        """Whether the partial folder is there with nothing in it but perhaps the lock."""
        return self.path.is_dir() and {entry.name for entry in self.path.iterdir()} <= {self.lock.name}

    def is_ours(self) -> bool:
        """Whether the partial folder is there and is one of this recipe."""
        return self.mark.is_file() and self.mark.read_text(encoding="utf-8") == self.recipe.fingerprint

    def remove(self) -> None:
        """Remove the partial folder."""
        for entry in self.path.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry not in (self.mark, self.lock):
                entry.unlink()
        self.mark.unlink(missing_ok=True)
        self.leave()

    def leave(self) -> None:
        """Let go of the partial folder; it goes too, if nothing is left in it."""
        self.lock.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # something of somebody else is there, or somebody just came in
            self.path.rmdir()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def open_workspace(out: Path, recipe: Recipe) -> Workspace | Artifact:
    """Start or go on with a step: the finished artifact of this very recipe if it is there, else a workspace, with what an interrupted run left in it.

    Raises:
        InputError: `out` or its partial folder holds something of another recipe, which is never overwritten, or another process works there.
    """
    workspace = Workspace(out, recipe)
    if out.exists() or out.is_symlink():
        return _finished(workspace)
    _check_mark(workspace)
    try:
        if not workspace.enter():
            raise InputError(f"{out}: another process is making it; wait until that is done, or name another --out")
        if out.exists():  # finished between our two looks
            workspace.leave()
            return _finished(workspace)
        _check_mark(workspace)
        if not workspace.mark.is_file():
            _clear_unmarked(workspace)
        workspace.artifact.mkdir(exist_ok=True)
        write_atomically(workspace.mark, recipe.fingerprint)
        (workspace.artifact / MANIFEST).unlink(missing_ok=True)  # of a `finish` that was killed
        for pattern in ("*.tmp", ".tmp*"):  # of a write that was killed, ours or safetensors's; in the artifact's folder they would be taken for a part of it
            for leftover in list(workspace.path.rglob(pattern)):
                leftover.unlink()
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); name another --out") from None
    return workspace


def _finished(workspace: Workspace) -> Artifact:
    """The artifact that lies at a workspace's `out`, if it is the one that is wanted."""
    out, recipe = workspace.out, workspace.recipe
    if not (out / MANIFEST).is_file():
        raise InputError(f"{out}: exists and is not {with_article(recipe.kind)} of ours; remove it or name another --out")
    found = read(out, recipe.kind)
    if found.recipe.fingerprint != recipe.fingerprint:
        raise InputError(f"{out}: holds a {recipe.kind} made from other inputs or parameters; remove it or name another --out")
    if (workspace.is_ours() or workspace.is_empty()) and workspace.enter():
        workspace.remove()  # killed between its rename and its cleaning up
    return found


def _check_mark(workspace: Workspace) -> None:
    """Refuse a partial folder of another recipe."""
    if workspace.mark.is_file() and not workspace.is_ours():
        kind = workspace.recipe.kind
        raise InputError(f"{workspace.path}: holds an interrupted {kind} of other inputs or parameters; remove it or name another --out")


def _clear_unmarked(workspace: Workspace) -> None:
    """Empty a partial folder that was killed before it was marked, or that somebody else made and left empty; never a file of anybody's."""
    known = (workspace.lock, workspace.mark.with_name(f"{workspace.mark.name}.tmp"))
    files = [file for file in workspace.path.rglob("*") if file not in known and not file.is_dir()]
    if files:
        workspace.leave()
        raise InputError(f"{files[0]}: is in the way, steps work in {workspace.path.name}; move it or name another --out")
    for entry in workspace.path.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)


def read(path: Path, kind: str) -> Artifact:
    """Read an artifact and verify every byte of it.

    Raises:
        InputError: not there, of another kind, of a newer schema, or not what its manifest says; the line names the file.
    """
    recipe, files, versions = _read_manifest(path, kind)
    for name, entry in files.items():
        file = path / name
        if name.startswith("/") or ".." in Path(name).parts or file.is_symlink():
            raise InputError(f"{path / MANIFEST}: names a file outside of the {kind}: {name}; do not use this {kind}")
        if not file.is_file():
            raise InputError(f"{file}: is missing; {again(kind)}")
        if file.stat().st_size != entry.bytes or sha256_of(file) != entry.sha256:
            raise InputError(f"{file}: is not the file that the manifest describes (changed or damaged); {again(kind)}")
    extra = sorted(set(_file_names(path)) - set(files))
    if extra:
        raise InputError(f"{path / extra[0]}: is not named in the manifest; remove it, or {again(kind)}")
    return Artifact(path, recipe, files, versions)


def verified(source: Path | Artifact, kind: str) -> Artifact:
    """An artifact that this process has verified already, as it is, or the one that is read at a path.

    Raises:
        InputError: as `read` does.
    """
    if not isinstance(source, Artifact):
        return read(source, kind)
    if source.recipe.kind != kind:
        raise InputError(f"{source.path}: is {with_article(source.recipe.kind)}, {with_article(kind)} is needed here; check the order of the arguments")
    return source


def again(kind: str) -> str:
    """What to do where an artifact of a kind is of no use."""
    return f"make it again with `asdfd {MAKERS[kind]}`, or fetch it again"


def with_article(kind: str) -> str:
    """`a bank`, `an evaluation`."""
    return f"{'an' if kind[:1] in 'aeiou' else 'a'} {kind}"


def _read_manifest(path: Path, kind: str) -> tuple[Recipe, dict[str, FileEntry], dict[str, str]]:
    """Parse the manifest; every way in which it can be wrong is an InputError."""
    manifest_path = path / MANIFEST
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; name the folder of {with_article(kind)}, as `asdfd {MAKERS[kind]}` makes it")
    if not manifest_path.is_file():
        raise InputError(f"{path}: holds no {MANIFEST}, so it is not {with_article(kind)} of ours; name the folder that `asdfd {MAKERS[kind]}` wrote")
    try:
        manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
        schema, found = manifest["schema"], manifest["kind"]
        if schema != SCHEMA:
            raise InputError(f"{manifest_path}: has schema {schema}, this version reads schema {SCHEMA}; use the asdfd that wrote it ({manifest['made_by']})")
        if found != kind:
            raise InputError(f"{path}: is {with_article(str(found))}, {with_article(kind)} is needed here; check the order of the arguments")
        recipe = Recipe(kind, manifest["inputs"], manifest["config"], manifest["seed"], manifest["made_by"])
        files = {name: FileEntry(**entry) for name, entry in manifest["files"].items()}
        if content_digest(kind, files) != manifest["digest"]:
            raise InputError(f"{manifest_path}: the digest does not fit the files that it lists; {again(kind)}")
        return recipe, files, manifest["versions"]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{manifest_path}: is not a valid manifest; {again(kind)}") from None


def write_atomically(path: Path, text: str) -> None:
    """Write a small text file so that it is whole or not there, also after a crash."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    sync(temporary)
    temporary.replace(path)


def sync(path: Path) -> None:
    """Make a file or a folder's entries durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def library_versions() -> dict[str, str]:
    """Versions of what decides the numbers, for manifests."""
    return {name: version(name) for name in ("torch", "transformers", "safetensors", "numpy")}
