"""Every variable of the environment that asdfd reads: what it is for, and how it reaches the processes that read it.

The pipeline takes from here what it passes on to its tasks, and docs/environment.md is written from here (`make manifests`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CONFIG_MAP = "asdfd"
"""Config map of a namespace that its tasks and its servers read."""
SECRET = "asdfd-credentials"
SIGNING_SECRET = "asdfd-signing"
"""The key that versions are signed with: a secret of its own, since one task of a run needs it and nobody else."""
CONFIG_FOLDER = "/etc/asdfd/config"
"""Where the config map is mounted in every pod: a certificate or a public key is a key of it, and a variable names its file."""
SIGNING_FOLDER = "/etc/asdfd/signing"
"""Where the signing key is mounted in the pod of `push`."""

Way = Literal["", "config map", "secret", "signing secret", "pipeline", "cluster"]


@dataclass(frozen=True)
class Variable:
    """A variable of the environment."""

    name: str
    meaning: str
    pods: Way = ""
    """How it reaches the tasks of a run in a cluster: as a key of the config map or of a secret, set by the compiled pipeline or by the cluster, or not."""
    command_line: bool = True
    """Whether it means something where `asdfd` is typed."""
    serving: bool = False
    """Whether it reaches the pods that serve (k8s/serving)."""


VARIABLES = (
    Variable("S3_ENDPOINT", "Address of the S3 server; empty is AWS.", "config map", serving=True),
    Variable("S3_REGION", "Its region (also AWS_REGION or AWS_DEFAULT_REGION).", "config map", serving=True),
    Variable("AWS_REGION", "Region, where S3_REGION is not set.", "config map", serving=True),
    Variable("AWS_DEFAULT_REGION", "Region, where neither of the others is set.", "config map", serving=True),
    Variable("S3_ADDRESSING", "`path` or `virtual`.", "config map", serving=True),
    Variable("S3_CA_BUNDLE", "PEM file of the authority that signed the S3 server's certificate.", "config map", serving=True),
    Variable("SSL_CERT_FILE", "PEM file of the authorities that are trusted for every other server.", "config map", serving=True),
    Variable("S3_TRIES", "How often a request is tried again where the server cannot be reached or fails.", "pipeline"),
    Variable("AWS_ACCESS_KEY_ID", "Key of an account of the S3 server.", "secret", serving=True),
    Variable("AWS_SECRET_ACCESS_KEY", "The secret of that key.", "secret", serving=True),
    Variable("AWS_SESSION_TOKEN", "Token of a key that expires.", "secret", serving=True),
    Variable("AWS_SHARED_CREDENTIALS_FILE", "File of keys, in place of the variables."),
    Variable("AWS_WEB_IDENTITY_TOKEN_FILE", "Token of a workload, exchanged for a key.", "cluster", command_line=False, serving=True),
    Variable("AWS_ROLE_ARN", "Role that the token is exchanged for.", "cluster", command_line=False, serving=True),
    Variable("AWS_ENDPOINT_URL_STS", "Where it is exchanged, if not at AWS.", "config map", serving=True),
    Variable("HF_TOKEN", "Token for private models and data of the Hugging Face hub.", "secret"),
    Variable("HF_HUB_OFFLINE", "1: nothing is fetched from the hub; its local cache is used.", "config map"),
    Variable("HF_ENDPOINT", "Address of a mirror of the hub.", "config map"),
    Variable("HF_HOME", "Folder of the hub's local cache.", "pipeline"),
    Variable("TMPDIR", "Folder for downloads.", "pipeline", serving=True),
    Variable("HTTP_PROXY", "Proxy for http:// addresses.", "config map", serving=True),
    Variable("HTTPS_PROXY", "Proxy for https:// addresses. The S3 server is always reached without one.", "config map", serving=True),
    Variable("NO_PROXY", "Hosts that are reached without a proxy; in a cluster .svc,.cluster.local belongs there.", "config map", serving=True),
    Variable("PUSHGATEWAY_URL", "Pushgateway that steps and runs push their metrics to; empty pushes none.", "config map"),
    Variable("ASDFD_METRICS_PORT", "Port at which a running step answers /metrics; empty opens none.", "config map"),
    Variable("ASDFD_PIPELINE", "Name of the pipeline that metrics are filed under (compress).", "config map"),
    Variable("ASDFD_SIGNING_KEY", "PEM file of the private key that versions are signed with.", "signing secret"),
    Variable("ASDFD_VERIFYING_KEYS", "PEM files of the public keys that are trusted, divided by `:`.", "config map", serving=True),
    Variable("ASDFD_ACTOR", "Who is at work, for the history of a stage (else GITHUB_ACTOR, or the user of the system).", "config map"),
    Variable("ASDFD_GIT_COMMIT", "Commit that a version was made from (else GITHUB_SHA, CI_COMMIT_SHA, or the working folder's).", "config map"),
    Variable("ASDFD_IMAGE", "Image that a version was made in.", "pipeline"),
    Variable("ASDFD_RUN_ID", "Run that a version was made by (else GITHUB_RUN_ID, CI_PIPELINE_ID); the pipeline hands it to its tasks."),
    Variable("BROWSER", "What `report` opens a page with, where there is no desktop to ask."),
    Variable("NO_COLOR", "Anything: what a terminal shows has no colours."),
    Variable("GITHUB_ACTOR", "Set by GitHub Actions: who started the job."),
    Variable("GITHUB_SHA", "Set by GitHub Actions: the commit."),
    Variable("GITHUB_RUN_ID", "Set by GitHub Actions: the run."),
    Variable("CI_COMMIT_SHA", "Set by GitLab: the commit."),
    Variable("CI_PIPELINE_ID", "Set by GitLab: the run."),
    Variable("KF_PIPELINES_ENDPOINT", "Address of Kubeflow Pipelines."),
    Variable("KF_PIPELINES_UI_ENDPOINT", "Address of its user interface, for links, where it is another one."),
    Variable("KF_PIPELINES_TOKEN_PATH", "File of a bearer token, read again for every request."),
    Variable("KF_PIPELINES_SA_TOKEN_PATH", "The same, by the name that kfp gives it."),
)
"""All of them, in the order of the documentation."""
INTERNAL = ("ASDFD_RUN_FOLDER", "ASDFD_PIPELINE_RUN", "RANK", "LOCAL_RANK", "TORCHELASTIC_RUN_ID", "KUBERNETES_SERVICE_HOST", "DISPLAY", "WAYLAND_DISPLAY")
"""What processes of ours, torchrun, Kubernetes and a desktop tell; nobody sets them by hand."""


def keys_of(way: Way) -> tuple[str, ...]:
    """The variables that reach the tasks of a run in one way."""
    return tuple(variable.name for variable in VARIABLES if variable.pods == way)


PAGE = """\
# Variables of the environment

Written from `asdfd.base.environment` by `make manifests`. Parameters of a run are none of these: `asdfd params --describe` lists them.

| variable | meaning | command line | tasks of a run | serving |
| --- | --- | --- | --- | --- |
{rows}

*Tasks of a run* says how a variable gets into their pods: as a key of that name in the config map `{config_map}` or the secret `{secret}` of their namespace,
both optional; from the compiled pipeline; or from the cluster, which sets it for a workload identity. The *signing secret* is `{signing_secret}`, optional as
well, and only the task `push` gets it.

Some variables name a file, which is one more key: in a pod, the config map is mounted at `{config_folder}`, and in that of `push` the signing secret at
`{signing_folder}`.

<!-- not run: needs a cluster -->
```console
kubectl -n asdfd patch configmap {config_map} --patch "$(jq -n --rawfile pem ca.pem '{{data: {{"ca.pem": $pem, "S3_CA_BUNDLE": "{config_folder}/ca.pem"}}}}')"
kubectl -n asdfd create secret generic {signing_secret} --from-file=signing.pem --from-literal=ASDFD_SIGNING_KEY={signing_folder}/signing.pem
```
"""


def page() -> str:
    """The page of the documentation that shows the table."""
    rows = (f"| `{v.name}` | {v.meaning} | {'yes' if v.command_line else ''} | {v.pods} | {'yes' if v.serving else ''} |" for v in VARIABLES)
    names = {"config_map": CONFIG_MAP, "secret": SECRET, "signing_secret": SIGNING_SECRET}
    names |= {"config_folder": CONFIG_FOLDER, "signing_folder": SIGNING_FOLDER}
    return PAGE.format(rows="\n".join(rows), **names)


if __name__ == "__main__":
    print(page(), end="")
