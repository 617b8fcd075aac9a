"""The pipeline as a file for Kubeflow, and as a form that runs on one machine."""

from __future__ import annotations

import re
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from asdfd.base.artifacts import write_atomically
from asdfd.base.errors import InputError
from asdfd.kubeflow.compiled import LOADER, read_compiled, read_documents
from asdfd.kubeflow.rules import faults

if TYPE_CHECKING:
    from kfp.dsl.graph_component import GraphComponent

NEEDS_KUBEFLOW = "needs the extra `kubeflow`: pip install 'asdfd[kubeflow]'"
IMAGE = re.compile(r"[\w.-]+(:\d+)?(/[\w.-]+)*(:(?P<tag>[\w.-]+)|@(?P<digest>sha256:[0-9a-f]{64}))")
"""A reference to an image that names its version: a tag or a digest."""


def compile_pipeline(out: Path, image: str = "", *, kubernetes_manifest: bool = False) -> Path:
    """Write the pipeline, with all tasks in `image` (empty takes the one of this version), as Kubeflow reads it; or, with `kubernetes_manifest`, as objects of
    Kubernetes, `Pipeline` and `PipelineVersion`, for clusters whose pipelines are kept there.

    Raises:
        InputError: an image whose version can move, a file that cannot be written, a pipeline that the backend could not run; or Kubeflow's SDK is missing.
    """
    text = compiled_text(image, kubernetes_manifest=kubernetes_manifest)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, text)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); name another --out") from None
    return out


def compiled_text(image: str = "", *, kubernetes_manifest: bool = False) -> str:
    """The text that `compile_pipeline` writes."""
    pipeline = pipeline_of(image)
    from kfp.compiler import Compiler
    from kfp.compiler.compiler_utils import KubernetesManifestOptions

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        Compiler().compile(pipeline, str(path))
        if found := list(faults(read_documents(path))):
            raise InputError(f"the pipeline cannot run on Kubeflow: {'; '.join(found)}")
        if kubernetes_manifest:
            version = f"asdfd-compress-{read_compiled(path).version.replace('.', '-')}"  # a PipelineVersion never changes, so another pipeline is another one
            options = KubernetesManifestOptions(pipeline_name="asdfd-compress", pipeline_version_name=version, include_pipeline_manifest=True)
            Compiler().compile(pipeline, str(path), kubernetes_manifest_format=True, kubernetes_manifest_options=options)
        return path.read_text(encoding="utf-8")


def pipeline_of(image: str = "") -> GraphComponent:
    """The pipeline with all tasks in `image`.

    Raises:
        InputError: Kubeflow's SDK is missing, or the image's version can move.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from asdfd.pipelines.compress import compress, compress_pipeline
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("kfp"):
            raise
        raise InputError(f"the pipeline {NEEDS_KUBEFLOW}") from None
    if not image:
        return compress
    named = IMAGE.fullmatch(image)
    if named is None or named["tag"] == "latest":
        raise InputError(f"--image {image}: name a tag that never moves, or a digest (image@sha256:...); Kubeflow's cache knows an image by this text alone")
    return compress_pipeline(image)


def local_form(text: str, environment: dict[str, str]) -> str:
    """A compiled pipeline without what only a cluster has: images to be pulled, resources, and trying again (a mistake would be made three times, with pauses).

    `environment` is set for every task.
    """
    specification: dict[str, Any] = next(yaml.load_all(text, Loader=LOADER))
    for executor in specification["deploymentSpec"]["executors"].values():
        container = executor["container"]
        container.pop("resources", None)
        container["env"] = [{"name": name, "value": value} for name, value in environment.items()]
        container["image"] = f"python/{container['image']}"  # the runner doubts what is not called so
    dags = [specification["root"]["dag"], *(component["dag"] for component in specification["components"].values() if "dag" in component)]
    for task in (task for dag in dags for task in dag["tasks"].values()):
        task.pop("retryPolicy", None)
    return yaml.safe_dump(specification, sort_keys=False)
