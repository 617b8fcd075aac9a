"""The image, built once, and the Debian that it stands on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.container import podman as podman_program
from tests.container.base_image import default_name, import_base
from tests.container.building import ROOT, Image, build
from tests.container.podman import Podman


@pytest.fixture(scope="session")
def podman() -> Iterator[Podman]:
    """Podman with a store that lasts; whoever else wants it meanwhile waits."""
    with podman_program.started() as podman:
        yield podman


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty folder for what is large and goes at the end."""
    folder = tmp_path_factory.mktemp("desk")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def image(podman: Podman, desk: Path) -> Image:
    """The image, whose layers are kept for the next run."""
    base = default_name(ROOT / "Dockerfile")
    (desk / "base").mkdir()
    import_base(podman, base, desk / "base")
    (desk / "build").mkdir()
    return build(podman, base, desk / "build")
