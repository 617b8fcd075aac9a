"""What the tests keep on a machine from one run to the next, since it takes minutes to make."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """A folder below ASDFD_TEST_CACHE, or else below `asdfd-tests` in the user's cache; it exists."""
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("ASDFD_TEST_CACHE") or user / "asdfd-tests") / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
