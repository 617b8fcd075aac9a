"""Wheels made again from what is installed here, so that an image is built from the very files that the other tests ran, in seconds and without a network."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from itertools import product
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def needed(name: str, extras: Iterable[str]) -> dict[str, Distribution]:
    """What `name[extras]` needs, directly or not, as it is installed here, by canonical name; `name` itself is left out."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(name, extra) for extra in ("", *extras)]
    while waiting:
        package, extra = waiting.pop()
        if (package, extra) in seen:
            continue
        seen.add((package, extra))
        found[package] = distribution(package)
        for text in found[package].requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                waiting += [(canonicalize_name(requirement.name), wanted) for wanted in ("", *requirement.extras)]
    del found[name]
    return found


def write_wheel(installed: Distribution, folder: Path, without: Iterable[str] = ()) -> Path:
    """Write the wheel that `installed` came from, as far as it lies in site-packages: commands are left to pip, which makes them from the entry points.

    Files are stored, not compressed: the wheel is read once. Those below a folder of site-packages that `without` names are left out.
    """
    if installed.files is None:
        raise PackageNotFoundError(f"{installed.name} has no list of its files")
    kept = [file for file in installed.files if file.parts[0] not in ("..", *without) and file.suffix != ".pyc"]
    information = next(file.parts[0] for file in kept if file.name == "WHEEL" and file.parts[0].endswith(".dist-info"))
    made_here = {f"{information}/{name}" for name in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")}
    record = io.StringIO()
    rows = csv.writer(record, lineterminator="\n")
    path = folder / file_name(installed)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, strict_timestamps=False) as wheel:
        for file in kept:
            if file.as_posix() not in made_here:
                wheel.write(str(installed.locate_file(file)), file.as_posix())
                rows.writerow((file.as_posix(), "", ""))
        rows.writerow((f"{information}/RECORD", "", ""))
        wheel.writestr(f"{information}/RECORD", record.getvalue())
    return path


def file_name(installed: Distribution) -> str:
    """The name of the wheel that `installed` came from."""
    information = next(file.parts[0] for file in installed.files or () if file.name == "WHEEL" and file.parts[0].endswith(".dist-info"))
    return f"{information.removesuffix('.dist-info')}-{tag_of(installed)}.whl"


def tag_of(installed: Distribution) -> str:
    """The compressed tag of a wheel's file name, such as py2.py3-none-any, from the tags that its WHEEL file lists."""
    lines = (installed.read_text("WHEEL") or "").splitlines()
    tags = [line.removeprefix("Tag:").strip().split("-") for line in lines if line.startswith("Tag:")]
    parts = [sorted(set(part)) for part in zip(*tags, strict=True)]
    assert sorted(product(*parts)) == sorted(map(tuple, tags)), f"{installed.name} lists tags that no file name can hold: {tags}"
    return "-".join(".".join(part) for part in parts)
