"""What can be read from a compiled pipeline (pipelines/compress.yaml) without Kubeflow: its name, the parameters of its run form, its images and its digest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from asdfd import __version__
from asdfd.base.artifacts import canonical_json
from asdfd.base.errors import InputError

DIGEST = re.compile(r".+@sha256:[0-9a-f]{64}")
VERSION_TAG = re.compile(r".+:[^:/]*\d[^:/]*")
"""An image by a tag with a number in it, as versions and commits have one; `latest`, `main` and no tag at all move."""

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The safe loader written in C is ten times as fast, and a compiled pipeline is long."""


@dataclass(frozen=True)
class Compiled:
    """A compiled pipeline."""

    path: Path
    name: str
    description: str
    parameters: Mapping[str, Mapping[str, Any]]
    """Type, default and description of every parameter of the run form, by its name."""
    images: tuple[str, ...]
    digest: str
    """SHA-256 of the pipeline's meaning: of its content without the version of the compiler and the order of its entries."""

    @property
    def version(self) -> str:
        """Name of this very pipeline as a version: never the same for two different ones."""
        return f"{__version__}-{self.digest[:12]}"

    @property
    def moving_images(self) -> tuple[str, ...]:
        """Images whose content may change under their name: a cached result would outlive the code that made it."""
        return tuple(image for image in self.images if not DIGEST.fullmatch(image) and not VERSION_TAG.fullmatch(image))


def read_documents(path: Path) -> list[dict[str, Any]]:
    """The documents of a compiled pipeline: its specification and, where there is something, what it asks of Kubernetes.

    Raises:
        InputError: the file is missing or is none.
    """
    try:
        documents = [document for document in yaml.load_all(path.read_text(encoding="utf-8"), LOADER) if document]
    except OSError as error:
        raise InputError(
            f"{path}: the compiled pipeline cannot be read ({error.strerror}); write it with `asdfd compile`, or name it with --pipeline"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise InputError(f"{path}: is not valid YAML; write it again with `asdfd compile`") from None
    if not documents or not isinstance(documents[0], dict) or "pipelineInfo" not in documents[0] or "root" not in documents[0]:
        raise InputError(f"{path}: is not a compiled pipeline; write one with `asdfd compile`")
    return documents


def read_compiled(path: Path) -> Compiled:
    """The compiled pipeline in a file.

    Raises:
        InputError: the file is missing or is none.
    """
    documents = read_documents(path)
    main = documents[0]
    executors = main.get("deploymentSpec", {}).get("executors", {})
    images = {executor["container"]["image"] for executor in executors.values() if "container" in executor}
    meaning = [{name: value for name, value in document.items() if name != "sdkVersion"} for document in documents]
    return Compiled(
        path,
        main["pipelineInfo"]["name"],
        main["pipelineInfo"].get("description", ""),
        main["root"].get("inputDefinitions", {}).get("parameters", {}),
        tuple(sorted(images)),
        hashlib.sha256(canonical_json(meaning)).hexdigest(),
    )


def check_arguments(compiled: Compiled, arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that the compiled pipeline does not have.

    Raises:
        InputError: one is unknown there.
    """
    if unknown := [name for name in arguments if name not in compiled.parameters]:
        raise InputError(f"{compiled.path}: the pipeline has no parameter {unknown[0]}; another version compiled it, write it again with `asdfd compile`")
