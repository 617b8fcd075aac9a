"""The image, built once from the Dockerfile in the way that docs/image.md describes for a place without a network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.container import podman as podman_program
from tests.container.base_image import default_name, import_base
from tests.container.podman import Podman
from tests.container.wheels import needed, write_wheel

ROOT = Path(__file__).parents[2]
IMAGE = "localhost/asdfd:tested"
EXTRAS = ("kubeflow", "s3", "prometheus")
"""What the image holds beside asdfd itself."""
PIP = """\
[global]
no-index = true
find-links = /srv
disable-pip-version-check = true
"""


@pytest.fixture(scope="session")
def podman() -> Podman:
    """Podman with a store that lasts."""
    return podman_program.start()


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of all wheels that the image needs, and the pip.conf that names it. They are as large as the image, so they go at the end."""
    folder = tmp_path_factory.mktemp("wheels")
    for installed in needed("asdfd", EXTRAS).values():
        write_wheel(installed, folder)
    (folder / "pip.conf").write_text(PIP)
    yield folder
    shutil.rmtree(folder)


def build(podman: Podman, wheels: Path, *options: str) -> None:
    """Build the Dockerfile as it is, without a network: nothing is pulled, and pip finds wheels in a mounted folder."""
    offline = ["--pull=never", "--network=none", "--secret", f"id=pip,src={wheels / 'pip.conf'}", "--volume", f"{wheels}:/srv:ro"]
    podman.run("build", *offline, *options, str(ROOT))


@pytest.fixture(scope="session")
def image(podman: Podman, wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of the CPU image. Its layers are kept for the next run."""
    base = default_name(ROOT / "Dockerfile")
    folder = tmp_path_factory.mktemp("base")
    import_base(podman, base, folder)
    shutil.rmtree(folder)
    variant = ("--build-arg", f"BASE_IMAGE={base}", "--build-arg", "VARIANT=cpu")
    build(podman, wheels, *variant, "--target", "dependencies", "--tag", "localhost/asdfd-dependencies:tested")
    build(podman, wheels, *variant, "--build-arg", "REVISION=0123456789abcdef", "--tag", IMAGE)
    podman.run("image", "prune", "--force")
    return IMAGE
