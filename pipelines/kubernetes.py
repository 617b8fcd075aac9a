"""What the tasks ask of Kubernetes. Below `asdfd run` none of it counts.

The secrets and the config map named here are optional: a key that is not there sets no variable.
"""

from __future__ import annotations

from dataclasses import dataclass

from kfp import kubernetes
from kfp.dsl import PipelineTask
from kfp.dsl.pipeline_channel import PipelineChannel

from asdfd.base.environment import CONFIG_FOLDER, CONFIG_MAP, SECRET, SIGNING_FOLDER, SIGNING_SECRET, keys_of

PIPELINE_RUN, RUN_LABEL = "ASDFD_PIPELINE_RUN", "metadata.labels['pipeline/runid']"
"""The run's identifier, under which every task leaves word of how it ended; read from the pod's label, since a parameter would make every run's tasks new."""
LABEL = "app.kubernetes.io/"
HOUR = 3600
USER = 10001
"""Of the image. A namespace that enforces Pod Security `restricted` asks every container to say that it is not root; Kubeflow sets the rest of that itself."""


@dataclass(frozen=True)
class Nodes:
    """Where the tasks run that compute, as the run form says it: inputs of the pipeline."""

    accelerator_type: PipelineChannel
    accelerator_count: PipelineChannel
    node_selector: PipelineChannel
    tolerations: PipelineChannel
    cpu: PipelineChannel
    memory: PipelineChannel


def basics(task: PipelineTask, image: str, *, hours: int) -> PipelineTask:
    """What every task has: image, labels, settings, credentials, an end. `hours` is when a task that hangs is ended."""
    task.set_container_image(image).set_env_variable("ASDFD_IMAGE", image)
    kubernetes.set_image_pull_policy(task, "IfNotPresent")
    kubernetes.add_pod_label(task, f"{LABEL}name", "asdfd")
    kubernetes.add_pod_label(task, f"{LABEL}component", task.name)
    kubernetes.use_config_map_as_env(task, CONFIG_MAP, {name: name for name in keys_of("config map")}, optional=True)
    kubernetes.use_config_map_as_volume(task, CONFIG_MAP, CONFIG_FOLDER, optional=True)
    kubernetes.use_secret_as_env(task, SECRET, {name: name for name in keys_of("secret")}, optional=True)
    kubernetes.use_field_path_as_env(task, PIPELINE_RUN, RUN_LABEL)
    kubernetes.set_timeout(task, hours * HOUR)
    kubernetes.set_security_context(task, run_as_user=USER, run_as_non_root=True)
    return task


def signing(task: PipelineTask) -> PipelineTask:
    """The task that stores versions: it alone holds the key that they are signed with."""
    kubernetes.use_secret_as_env(task, SIGNING_SECRET, {name: name for name in keys_of("signing secret")}, optional=True)
    return kubernetes.use_secret_as_volume(task, SIGNING_SECRET, SIGNING_FOLDER, optional=True)


def with_scratch(task: PipelineTask, size: str = "20Gi") -> PipelineTask:
    """Room for downloads that goes when the pod goes; the root of the container is read-only.

    An empty directory, which every user may write to: a claim's volume belongs to root unless its pod has an fsGroup, and Kubeflow gives its pods none.
    """
    kubernetes.empty_dir_mount(task, "scratch", "/scratch", size_limit=size)
    return task.set_env_variable("HF_HOME", "/scratch/huggingface").set_env_variable("TMPDIR", "/scratch")


def with_retries(task: PipelineTask, count: int = 10) -> PipelineTask:
    """Try a task again whose pod was deleted, as a drained or preempted node does it; it goes on where it was, or begins anew without harm.

    Kubeflow tries nothing again that ended in an error, but waits the pause out before it says so: there is none. What it calls the longest duration is counted
    from the beginning of the first try, and ends the later ones, so it is longer than any task may take.
    """
    return task.set_retry(count, backoff_max_duration=f"{30 * 24 * HOUR}s")


def late(task: PipelineTask) -> PipelineTask:
    """A task that hours of work came before: it sits out an object store that is away for near three minutes."""
    return task.set_env_variable("S3_TRIES", "14")


def small(task: PipelineTask, memory: str = "4Gi") -> PipelineTask:
    """A task that computes little: it fits beside others, and may use more `memory` for a moment."""
    return task.set_cpu_request("100m").set_memory_request("512Mi").set_memory_limit(memory)


def on_nodes(task: PipelineTask, nodes: Nodes) -> PipelineTask:
    """Put a task that computes where the run form says: on nodes with an accelerator, or on any for a count of 0."""
    task.set_cpu_request(nodes.cpu).set_memory_request(nodes.memory).set_memory_limit(nodes.memory)  # pyright: ignore[reportArgumentType]
    task.set_accelerator_type(nodes.accelerator_type).set_accelerator_limit(nodes.accelerator_count)
    kubernetes.add_node_selector_json(task, nodes.node_selector)  # pyright: ignore[reportArgumentType]
    kubernetes.add_toleration_json(task, nodes.tolerations)  # pyright: ignore[reportArgumentType]
    kubernetes.empty_dir_mount(task, "shared-memory", "/dev/shm", medium="Memory", size_limit="2Gi")
    return task
