"""What a cluster has for the tasks of a run: nodes that are large enough, a quota that lets them in, addresses that exist.

Kubernetes is asked with the kubeconfig of whoever asks, who may not see all of it: each question stands by itself. Everything else works without Kubernetes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from asdfd.base.environment import CONFIG_MAP, SECRET
from asdfd.base.errors import InputError
from asdfd.base.form import Form, Toleration

OWN_NAMESPACE = "kubeflow"
"""Where the runs of a server with one user live."""
IN_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
ANSWER_SECONDS = 10.0
SERVER_VARIABLES = ("S3_ENDPOINT", "PUSHGATEWAY_URL")
"""Keys of the config map that hold the address of a server, which mostly stands in the cluster."""


class NoSightError(InputError):
    """Kubernetes cannot be asked: there is no kubeconfig, or it does not allow the question."""


@dataclass(frozen=True)
class Node:
    """A node that takes pods."""

    name: str
    labels: Mapping[str, str]
    taints: tuple[Mapping[str, str], ...]
    """Those that keep pods away which do not tolerate them: NoSchedule and NoExecute."""
    room: Mapping[str, Decimal]
    """What it has for pods, used or not: cores, bytes, accelerators."""


def connect() -> Any:
    """Kubernetes' core API, as a kubeconfig names it, or the account of this pod.

    Raises:
        NoSightError: there is neither.
    """
    try:
        from kubernetes import client, config
    except ModuleNotFoundError:
        raise NoSightError("this needs the extra `kubeflow`: pip install 'asdfd[kubeflow]'") from None
    configuration: Any = client.Configuration()
    try:
        if IN_POD.is_file() and not os.environ.get("KUBECONFIG"):
            config.load_incluster_config(configuration)
        else:
            config.load_kube_config(os.environ.get("KUBECONFIG"), client_configuration=configuration)  # read now, not when the package is imported
    except (config.ConfigException, OSError) as error:
        raise NoSightError(f"no cluster is named by a kubeconfig ({error}); set KUBECONFIG to have it looked at") from None
    configuration.retries = False
    return client.CoreV1Api(client.ApiClient(configuration))


def ask(call: Callable[..., Any], *arguments: object) -> Any:
    """The answer of Kubernetes' API; None where there is no such object.

    Raises:
        NoSightError: it may not be asked this.
        InputError: it does not answer, or refuses for another reason.
    """
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        return call(*arguments, _request_timeout=ANSWER_SECONDS)
    except ApiException as error:
        if error.status == 404:
            return None
        if error.status in (401, 403):
            raise NoSightError(f"this kubeconfig does not allow to {call.__name__.removeprefix('read_').replace('_', ' ')}") from None
        raise InputError(f"Kubernetes refuses this ({error.status} {error.reason})") from None
    except HTTPError as error:
        raise InputError(f"Kubernetes does not answer ({type(error).__name__}); is the kubeconfig's cluster running?") from None


def installed_version(core: Any) -> str:
    """The release of Kubeflow Pipelines as its manifests wrote it down; empty where that may not be read, or somebody changed them."""
    try:
        found = ask(core.read_namespaced_config_map, "pipeline-install-config", OWN_NAMESPACE)
    except InputError:
        return ""
    return str(((found and found.data) or {}).get("appVersion", ""))


def check_nodes(core: Any, form: Form) -> str:
    """See that the nodes have room for the largest tasks that the form describes; returns what was found, in a few words.

    Raises:
        NoSightError: nodes may not be listed.
        InputError: no node will ever take such a task.
    """
    nodes = [_node(item) for item in ask(core.list_node).items if not item.spec.unschedulable]
    if not nodes:
        raise InputError("no node takes pods: none is there, or all are cordoned")
    wanted = _wanted(form)
    allowed = [node for node in nodes if _allows(node, form)]
    if not allowed:
        labels = ", ".join(f"{name}={value}" for name, value in form.node_selector.items()) or "none asked for"
        taints = ", ".join(sorted({taint["key"] for node in nodes for taint in node.taints})) or "none"
        remedy = "set node_selector and tolerations with --cluster"
        raise InputError(f"no node may take the tasks (labels: {labels}; taints of the nodes: {taints}); {remedy}")
    fitting = [node for node in allowed if all(node.room.get(name, Decimal(0)) >= amount for name, amount in wanted.items())]
    if fitting:
        return f"{len(fitting)} of {len(nodes)} may take the tasks ({_shown(wanted)})"
    largest = {name: max(node.room.get(name, Decimal(0)) for node in allowed) for name in wanted}
    remedy = "ask for less, such as --cluster cpu=250m --cluster memory=2Gi, or add a node"
    raise InputError(f"no node has room for a task that asks for {_shown(wanted)}: the most that one has is {_shown(largest)}; {remedy}")


def check_quota(core: Any, namespace: str, form: Form) -> str:
    """See that the namespace's quotas and limits let one such task in.

    Raises:
        NoSightError: they may not be read.
        InputError: one is too small; the line names it.
    """
    wanted = _wanted(form)
    asked = {f"requests.{name}": amount for name, amount in wanted.items()} | {"limits.memory": wanted.get("memory", Decimal(0))}
    quotas = ask(core.list_namespaced_resource_quota, namespace).items
    for quota in quotas:
        for name, most in (quota.spec.hard or {}).items():
            if asked.get(name, asked.get(f"requests.{name}", Decimal(0))) > _amount(most):
                raise InputError(
                    f"the quota {quota.metadata.name} of namespace {namespace} gives {name} {most}, and a task asks for {_shown(wanted)}; raise it"
                )
    for limits in ask(core.list_namespaced_limit_range, namespace).items:
        for limit in limits.spec.limits:
            for name, most in (limit.max or {}).items():
                if limit.type == "Container" and wanted.get(name, Decimal(0)) > _amount(most):
                    raise InputError(
                        f"the limit range {limits.metadata.name} of namespace {namespace} allows a container {name} {most}; raise it, or ask for less"
                    )
    return f"{len(quotas)} in namespace {namespace}" if quotas else f"none in namespace {namespace}"


def check_settings(core: Any, namespace: str) -> str:
    """See that the config map and the secret of the tasks are there, and that the servers in the cluster which they name are.

    Raises:
        NoSightError: they may not be read.
        InputError: something is missing; the line says where it stands.
    """
    found = ask(core.read_namespaced_config_map, CONFIG_MAP, namespace)
    if found is None:
        raise InputError(f"namespace {namespace} has no config map {CONFIG_MAP}, so tasks know no address; kubectl apply -k k8s/base, or an overlay, makes it")
    values: Mapping[str, str] = found.data or {}
    for name in SERVER_VARIABLES:
        _check_service(core, namespace, name, values.get(name, ""))
    if ask(core.read_namespaced_secret, SECRET, namespace) is None and values.get("S3_ENDPOINT"):
        raise InputError(
            f"namespace {namespace} has no secret {SECRET}, so tasks have no key for {values['S3_ENDPOINT']}; docs/kubeflow.md says how it is made"
        )
    return f"config map {CONFIG_MAP} of namespace {namespace}"


def _check_service(core: Any, namespace: str, variable: str, address: str) -> None:
    """The name of a service is `service`, `service.namespace` or `service.namespace.svc...`; anything else stands outside of the cluster."""
    host = urlsplit(address if "://" in address else f"//{address}").hostname or ""
    service, _, rest = host.partition(".")
    place, _, domain = (rest or namespace).partition(".")
    if not service or host.replace(".", "").isdigit() or (domain and domain.partition(".")[0] != "svc"):
        return
    names = sorted(item.metadata.name for item in ask(core.list_namespaced_service, place).items)
    if service not in names and (names or not rest):  # a namespace without any service may as well be a domain outside
        there = f"it has {', '.join(names)}" if names else "it has none"
        where = f"config map {CONFIG_MAP} of namespace {namespace}: {variable} is {address}"
        raise InputError(f"{where}, and namespace {place} has no service {service} ({there}); name one that is there, or leave {variable} out")


def _node(item: Any) -> Node:
    taints = tuple(
        {"key": taint.key or "", "value": taint.value or "", "effect": taint.effect}
        for taint in item.spec.taints or ()
        if taint.effect in ("NoSchedule", "NoExecute")
    )
    return Node(item.metadata.name, item.metadata.labels or {}, taints, {name: _amount(amount) for name, amount in item.status.allocatable.items()})


def _wanted(form: Form) -> dict[str, Decimal]:
    """What a task that computes asks for."""
    wanted = {"cpu": _amount(form.cpu), "memory": _amount(form.memory), form.accelerator_type: _amount(form.accelerator_count)}
    return {name: amount for name, amount in wanted.items() if amount}


def _allows(node: Node, form: Form) -> bool:
    tolerations = [Toleration.model_validate(each) for each in form.tolerations]
    return form.node_selector.items() <= node.labels.items() and all(any(_tolerates(each, taint) for each in tolerations) for taint in node.taints)


def _tolerates(toleration: Toleration, taint: Mapping[str, str]) -> bool:
    """As Kubernetes has it ("Taints and Tolerations"): an empty key with Exists is any taint, an empty effect is any effect."""
    same_key = toleration.key == taint["key"] if toleration.key else toleration.operator == "Exists"
    same_value = toleration.operator == "Exists" or toleration.value == taint["value"]
    return same_key and same_value and toleration.effect in ("", taint["effect"])


def _amount(quantity: str) -> Decimal:
    from kubernetes.utils.quantity import parse_quantity

    return parse_quantity(quantity)


def _shown(amounts: Mapping[str, Decimal]) -> str:
    def words(name: str, amount: Decimal) -> str:
        return f"memory {amount / 2**30:.3g} GiB" if name == "memory" else f"{name} {amount.normalize():f}"

    return ", ".join(words(name, amount) for name, amount in amounts.items())
