"""What all steps share."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

ShouldStop = Callable[[], bool]


def never() -> bool:
    """The answer of a run that nobody can stop."""
    return False


def library_versions() -> dict[str, str]:
    """Versions of what decides the numbers, for manifests."""
    return {name: version(name) for name in ("torch", "transformers", "safetensors", "numpy")}
