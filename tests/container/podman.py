"""Podman with a store of its own: what the tests build is kept for the next run, and is not mixed with a user's images."""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cache import cache_folder
from tests.patience import PATIENCE

PROGRAMS = {"podman": "podman", "buildah": "buildah", "debootstrap": "debootstrap", "runc": "runc", "conmon": "conmon", "tar": "tar"}
"""Programs, and the Debian packages that hold them."""
SETTINGS = """\
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
"""What lets podman run without systemd, and in a machine that may not raise its limits."""


@dataclass(frozen=True)
class Podman:
    """Podman on one store."""

    store: Path
    """Folder of the images."""
    state: Path
    """Folder of what runs."""

    @property
    def command(self) -> list[str]:
        """The program with the options that choose the store."""
        return ["podman", "--root", str(self.store), "--runroot", str(self.state)]

    @property
    def environment(self) -> dict[str, str]:
        """The environment that it needs."""
        return os.environ | {"CONTAINERS_CONF": str(self.store.parent / "containers.conf")}

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Do a podman command and return what it printed; with `check` a failure ends the test with podman's own words."""
        return finished([*self.command, *words], check, env=self.environment)

    def shell(self, text: str, folder: Path) -> None:
        """Do what a page says, in a shell in `folder` whose podman is this one; a failure ends the test."""
        programs = self.store.parent / "bin"
        programs.mkdir(exist_ok=True)
        (programs / "podman").write_text(f'#!/bin/sh\nexec {shutil.which("podman")} {shlex.join(self.command[1:])} "$@"\n')
        (programs / "podman").chmod(0o755)
        environment = self.environment | {"PATH": f"{programs}:{os.environ['PATH']}"}
        finished(["bash", "-euo", "pipefail", "-c", text], check=True, env=environment, cwd=folder)

    @contextmanager
    def service(self, folder: Path) -> Iterator[str]:
        """Podman's service that speaks as Docker does; its address."""
        socket = folder / "podman.sock"
        with (folder / "service.log").open("w") as log:
            words = [*self.command, "system", "service", "--time=0", f"unix://{socket}"]
            process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, env=self.environment)
            try:
                deadline = time.monotonic() + PATIENCE
                while not socket.exists():
                    if process.poll() is not None or time.monotonic() > deadline:
                        pytest.fail(f"podman's service did not start:\n{(folder / 'service.log').read_text()[-3000:]}", pytrace=False)
                    time.sleep(0.05)
                yield f"unix://{socket}"
            finally:
                process.kill()
                process.wait()
                self.run("rm", "--all", "--force", "--time=0", check=False)


def finished(words: list[str], check: bool, env: dict[str, str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A command that has ended; with `check` a failure ends the test with the command's own words."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=env, cwd=cwd)
    if check and done.returncode != 0:
        pytest.fail(f"{' '.join(words)[:1000]}\nfailed with {done.returncode}:\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}", pytrace=False)
    return done


@contextmanager
def started() -> Iterator[Podman]:
    """Podman, after a look at all that it needs; a test fails in one line where something is missing, since nothing else can stand in for it."""
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None]
    if missing:
        pytest.fail(f"the tests of the image need the Debian packages {', '.join(missing)}; install them with: make servers", pytrace=False)
    if os.geteuid() != 0:
        pytest.fail("the tests of the image make a Debian base with debootstrap, which needs root; run them as root", pytrace=False)
    folder = cache_folder("containers")
    podman = Podman(folder / "store", Path("/run/asdfd-tests"))
    podman.store.mkdir(exist_ok=True)
    (folder / "containers.conf").write_text(SETTINGS)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        finished(["buildah", *podman.command[1:], "rm", "--all"], check=True, env=podman.environment)  # what a build that was killed left behind
        yield podman


def hadolint() -> Path:
    """The linter of Dockerfiles, which pip installs beside Python."""
    return Path(sys.executable).with_name("hadolint")
