"""What the tasks ask of Kubernetes. Below `asdfd run` none of it counts.

The secret and the config map named here are optional: a key that is not there sets no variable.
"""

from __future__ import annotations

from collections.abc import Iterable

from kfp import kubernetes
from kfp.dsl import PipelineTask
from kfp.dsl.pipeline_channel import PipelineChannel

CONFIG_MAP = "asdfd"
CONFIG_VARIABLES = ("S3_ENDPOINT", "S3_REGION", "S3_ADDRESSING", "PUSHGATEWAY_URL", "ASDFD_METRICS_PORT")
SECRET = "asdfd-credentials"
SECRET_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN")
PIPELINE_RUN, RUN_LABEL = "ASDFD_PIPELINE_RUN", "metadata.labels['pipeline/runid']"
"""The run's identifier, under which every task leaves word of how it ended; read from the pod's label, since a parameter would make every run's tasks new."""
LABEL = "app.kubernetes.io/"
HOUR = 3600
USER = 10001
"""Of the image. A namespace that enforces Pod Security `restricted` asks every container to say that it is not root; Kubeflow sets the rest of that itself."""


def basics(task: PipelineTask, image: str, *, hours: int, cpu: str = "1", memory: str = "4Gi") -> PipelineTask:
    """What every task has: image, labels, settings, credentials, an end. `hours` is when a task that hangs is ended."""
    task.set_container_image(image).set_cpu_request(cpu).set_memory_request(memory).set_memory_limit(memory)
    kubernetes.set_image_pull_policy(task, "IfNotPresent")
    kubernetes.add_pod_label(task, f"{LABEL}name", "asdfd")
    kubernetes.add_pod_label(task, f"{LABEL}component", task.name)
    kubernetes.use_config_map_as_env(task, CONFIG_MAP, _same(CONFIG_VARIABLES), optional=True)
    kubernetes.use_secret_as_env(task, SECRET, _same(SECRET_VARIABLES), optional=True)
    kubernetes.use_field_path_as_env(task, PIPELINE_RUN, RUN_LABEL)
    kubernetes.set_timeout(task, hours * HOUR)
    kubernetes.set_security_context(task, run_as_user=USER, run_as_non_root=True)
    return task


def with_scratch(task: PipelineTask, size: str = "20Gi") -> PipelineTask:
    """Room for downloads that goes when the pod goes; the root of the container is read-only.

    An empty directory, which every user may write to: a claim's volume belongs to root unless its pod has an fsGroup, and Kubeflow gives its pods none.
    """
    kubernetes.empty_dir_mount(task, "scratch", "/scratch", size_limit=size)
    return task.set_env_variable("HF_HOME", "/scratch/huggingface").set_env_variable("TMPDIR", "/scratch")


def with_retries(task: PipelineTask, count: int = 3) -> PipelineTask:
    """Try a task again that goes on where it was stopped or begins anew without harm: a preempted node is no failure of the run."""
    return task.set_retry(count, backoff_duration="60s", backoff_factor=2.0, backoff_max_duration="1800s")


def with_accelerator(
    task: PipelineTask,
    accelerator_type: PipelineChannel,
    accelerator_count: PipelineChannel,
    node_selector: PipelineChannel,
    tolerations: PipelineChannel,
) -> PipelineTask:
    """Put a task on a node with an accelerator; a count of 0 takes none."""
    task.set_accelerator_type(accelerator_type).set_accelerator_limit(accelerator_count)
    kubernetes.add_node_selector_json(task, node_selector)  # pyright: ignore[reportArgumentType]
    kubernetes.add_toleration_json(task, tolerations)  # pyright: ignore[reportArgumentType]
    kubernetes.empty_dir_mount(task, "shared-memory", "/dev/shm", medium="Memory", size_limit="2Gi")
    return task


def _same(names: Iterable[str]) -> dict[str, str]:
    """Keys that are called as the variables."""
    return {name: name for name in names}
