"""The image, built with the very commands of docs/image.md, without a network, and with the PyTorch that is installed here.

What is large is moved as seldom as can be. The layers stay in podman's store, and while they are up to date no packages are packed. CUDA's libraries, which are
two thirds of the image and which no test calls, are never copied: their packages are installed empty, and their folders are lent from here to each container.
"""

from __future__ import annotations

import hashlib
import re
import sys
import tomllib
from dataclasses import dataclass
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from tests.container.podman import Podman
from tests.container.wheels import file_name, needed, write_wheel

ROOT = Path(__file__).parents[2]
EXTRAS = ("kubeflow", "s3", "prometheus", "serving", "signing")
"""What the image holds beside asdfd itself."""
PACKAGES = f"/opt/asdfd/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
"""Where the image has them."""
CUDA = ("nvidia", "triton")
"""Folders of packages that hold CUDA's libraries and its compiler. PyTorch's build for CPUs comes without."""


@dataclass(frozen=True)
class Image:
    """The image that was built."""

    name: str
    variant: str
    """What the page calls VARIANT."""
    lent: dict[str, str]
    """Folders of this machine, and where the image misses them."""
    serving: str
    """The image of the target `serving`, which misses none."""

    @property
    def volumes(self) -> list[str]:
        """The options of podman that lend them."""
        return [f"--volume={folder}:{place}:ro" for folder, place in self.lent.items()]


def documented(start: str) -> str:
    """The page's command that begins with `start`, with the lines that it goes on in; a comment behind it is left out."""
    page = (ROOT / "docs" / "image.md").read_text(encoding="utf-8")
    found = re.findall(rf"^    ({start}(?: .*\\\n)* .*?)(?: +# .*)?$", page, re.MULTILINE)
    assert len(found) == 1, f"the page has {len(found)} commands that begin with: {start}"
    return found[0]


def replaced(text: str, places: dict[str, str]) -> str:
    """The command with one's own words for those that the page leaves to the reader."""
    for name, place in places.items():
        assert text.count(name) == 1, f"{name} is not once in: {text}"
        text = text.replace(name, place)
    return text


def build(podman: Podman, base: str, desk: Path) -> Image:
    """Build the image twice, of the same layers: as the page says for a place without a network, and as it says for a release.

    `desk` is an empty folder; it gets the wheels and pip.conf.
    """
    import torch

    installed = needed("asdfd", EXTRAS)
    site = Path(str(installed["torch"].locate_file("")))
    lent = {str(site / folder): f"{PACKAGES}/{folder}" for folder in CUDA if (site / folder).is_dir()}
    without_network = documented("podman build")
    image = Image(without_network.split()[-2], "cuda" if torch.version.cuda else "cpu", lent, without_network.split()[-2].replace(":", "-serving:"))
    digest = podman.run("image", "inspect", "--format", "{{.Digest}}", base).stdout.strip().removeprefix("sha256:")
    kept = f"localhost/packages:{digest_of(installed, digest)}"
    up_to_date = podman.run("image", "exists", kept, check=False).returncode == 0
    (desk / "wheels").mkdir()
    for name in build_backend() if up_to_date else installed:
        write_wheel(installed[name], desk / "wheels", without=CUDA)

    ours = [*image.volumes, *(["--build-arg=VARIANT=cpu"] if image.variant == "cpu" else [])]
    places = {"$PWD/wheels": f"{desk}/wheels", "src=pip.conf": f"src={desk}/pip.conf", "podman build": " ".join(["podman build", *ours])}
    words = replaced(without_network, places)
    podman.shell(documented("printf"), desk)
    podman.shell(words if up_to_date else words.replace("podman build", "podman build --no-cache", 1), ROOT)
    options = words.partition(" --tag ")[0]
    podman.shell(replaced(documented("docker build"), {"docker build": options, "<digest>": digest}), ROOT)

    serving = replaced(without_network, {"$PWD/wheels": f"{desk}/wheels", "src=pip.conf": f"src={desk}/pip.conf", image.name: image.serving})
    podman.shell(serving.replace("podman build", "podman build --target serving", 1), ROOT)

    for name in podman.run("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "reference=localhost/packages").stdout.split():
        podman.run("untag", name, name)
    podman.run("tag", image.name, kept)
    podman.run("image", "prune", "--force")
    return image


def build_backend() -> list[str]:
    """The packages that asdfd itself is built with."""
    return [Requirement(text).name for text in project_file()["build-system"]["requires"]]


def digest_of(installed: dict[str, Distribution], base: str) -> str:
    """What the layer of the packages is made of: their versions, what is asked for, the base, what the Dockerfile does, and what goes into a wheel."""
    project = project_file()["project"]
    asked = [*project["dependencies"], *(text for extra in EXTRAS for text in project["optional-dependencies"][extra])]
    instructions = (ROOT / "Dockerfile").read_text(encoding="utf-8").partition("\nFROM build AS package")[0]
    sources = ((ROOT / name).read_text(encoding="utf-8") for name in ("constraints.txt", "tests/container/wheels.py"))
    parts = [base, *sorted(map(file_name, installed.values())), *asked, instructions, *sources]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def project_file() -> dict[str, Any]:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
