"""Environments with other versions of transformers, made once and kept between runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from tests.cache import cache_folder

PINS: dict[str, tuple[str, ...]] = {
    "4.57": ("transformers==4.57.6", "tokenizers==0.22.2", "huggingface-hub==0.36.2"),
    "5.0": ("transformers==5.0.0", "tokenizers==0.22.2", "huggingface-hub==1.33.0", "httpx==0.28.1", "httpcore==1.0.9"),
    "5.24": ("transformers==5.24.0", "tokenizers==0.23.3", "huggingface-hub==2.4.0"),
}
"""Packages of an environment that are not those of the tests, of the last version 4, the oldest 5 and the newest. All else is shared, PyTorch above all."""


def python_with(version: str) -> Path:
    """The Python of the environment with that version of transformers."""
    folder = cache_folder("transformers") / version
    python, made = folder / "bin" / "python", folder / "made"
    wanted = "\n".join([*PINS[version], sys.version])
    if not made.is_file() or made.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", folder], check=True)
        subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", *PINS[version]], check=True)
        made.write_text(wanted)
    packages = next((folder / "lib").glob("python*")) / "site-packages"
    (packages / "shared.pth").write_text(f"{Path(torch.__file__).parents[1]}\n")  # after its own; the tests may have been moved since
    return python
