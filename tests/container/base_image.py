"""A base image without a registry of images: Debian as this machine's package manager gets it, with Python and its venv module."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.container.podman import Podman

LEFT_OUT = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale", "usr/share/man")


def default_name(dockerfile: Path) -> str:
    """The base image that a Dockerfile takes where no argument names one."""
    found = re.search(r"^ARG BASE_IMAGE=(\S+)$", dockerfile.read_text(encoding="utf-8"), re.MULTILINE)
    assert found, f"{dockerfile} names no BASE_IMAGE"
    return found.group(1)


def mirror(suite: str) -> str:
    """The address that apt takes this machine's Debian packages from."""
    form = ["--format", "$(REPO_URI)", "Created-By: Packages", f"Codename: {suite}", "Component: main"]
    lines = subprocess.run(["apt-get", "indextargets", *form], capture_output=True, text=True, check=True).stdout.split()
    if not lines:
        pytest.fail(f"apt has no source of Debian {suite}; the tests of the image make their base from it", pytrace=False)
    return lines[0]


def import_base(podman: Podman, name: str, folder: Path) -> None:
    """Have the base image `name` in podman's store; it is made in `folder` where it is not there yet."""
    if podman.run("image", "exists", name, check=False).returncode == 0:
        return
    suite = platform.freedesktop_os_release()["VERSION_CODENAME"]
    root = folder / "root"
    path = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    words = ["debootstrap", "--variant=minbase", "--include=python3,python3-venv", suite, str(root), mirror(suite)]
    made = subprocess.run(words, capture_output=True, text=True, check=False, env=path)
    if made.returncode != 0:
        pytest.fail(f"debootstrap failed:\n{made.stdout[-3000:]}{made.stderr[-1000:]}", pytrace=False)
    check_python(root)
    archive = folder / "base.tar"
    subprocess.run(["tar", "-C", str(root), *(f"--exclude=./{path}" for path in LEFT_OUT), "-cf", str(archive), "."], check=True)
    podman.run("import", str(archive), name)
    archive.unlink()


def check_python(root: Path) -> None:
    """Refuse a base whose Python is another than ours: the wheels that are installed here would not fit it."""
    found = (root / "usr/bin/python3").readlink().name
    ours = f"python{sys.version_info.major}.{sys.version_info.minor}"
    if found != ours:
        pytest.fail(f"this Debian has {found} and the tests run with {ours}; make .venv with the same: make setup PYTHON={found}", pytrace=False)
