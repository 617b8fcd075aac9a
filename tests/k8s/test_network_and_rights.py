"""Who may reach whom, and who may ask Kubernetes for what: nothing that is not needed, and all that is."""

from __future__ import annotations

import ipaddress

import pytest

from tests.k8s.manifests import EVERY_BUILD, KUSTOMIZATIONS, Object, build, name_of, of_kind, one, pods, selects, task_labels

READING = {"get", "list", "watch"}
DRIVER = {"workflows.argoproj.io/workflow": "compress-abcde"}
"""The labels of the pods of a run in which only Kubeflow's own code runs: Argo sets this one on all of them."""


def egress_of(labels: dict[str, str], *builds: str) -> set[str]:
    """The policies, by name, that let a pod with these labels out to somewhere."""
    policies = (policy for name in builds for policy in of_kind(name, "NetworkPolicy"))
    return {policy["metadata"]["name"] for policy in policies if selects(policy["spec"]["podSelector"], labels) and policy["spec"].get("egress")}


def test_nothing_is_allowed_that_no_policy_allows() -> None:
    denial = one("base", "NetworkPolicy", "default-deny")["spec"]
    assert denial == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_a_task_reaches_the_store_kubeflow_the_pushgateway_and_what_runs_it() -> None:
    for name, labels in task_labels().items():
        expected = {"allow-dns", "allow-object-store", "allow-kubeflow-pipelines", "allow-kubernetes-api", "allow-metrics"}
        assert egress_of(labels, "base") == expected, name
    assert egress_of(DRIVER, "base") == {"allow-dns", "allow-object-store", "allow-kubeflow-pipelines", "allow-kubernetes-api"}
    assert egress_of({"app": "another"}, "base") == {"allow-dns"}
    assert egress_of({"app.kubernetes.io/name": "asdfd-serving", "app.kubernetes.io/instance": "student"}, "base", "serving") == {"allow-dns", "student"}


def test_no_policy_opens_a_port_to_everybody() -> None:
    for name in EVERY_BUILD:
        for policy in of_kind(name, "NetworkPolicy"):
            for rule in (*policy["spec"].get("egress", []), *policy["spec"].get("ingress", [])):
                assert rule.get("to") or rule.get("from"), f"{name}: {name_of(policy)}"
                assert rule.get("ports"), f"{name}: {name_of(policy)}"
                for peer in (*rule.get("to", []), *rule.get("from", [])):
                    assert peer not in ({}, {"namespaceSelector": {}}), f"{name}: {name_of(policy)}"


def test_only_the_components_for_it_reach_servers_outside() -> None:
    for name in EVERY_BUILD:
        outside = {policy["metadata"]["name"] for policy in of_kind(name, "NetworkPolicy") if "0.0.0.0/0" in str(policy)}
        expected = {"components/hub-access": {"allow-hub"}, "components/external-store": {"allow-object-store", "student"}}
        assert outside == expected.get(name, set()), name


def test_hub_access_is_for_the_tasks_that_fetch() -> None:
    policy = one("components/hub-access", "NetworkPolicy", "allow-hub")["spec"]["podSelector"]
    assert {name for name, labels in task_labels().items() if selects(policy, labels)} == {"exec-plan", "exec-fetch-teacher", "exec-evaluate"}


def test_an_outside_store_is_merged_into_the_settings() -> None:
    settings = one("components/external-store", "ConfigMap", "asdfd")["data"]
    base = one("base", "ConfigMap", "asdfd")["data"]
    assert settings == {**base, "S3_ENDPOINT": "", "S3_REGION": "eu-central-1", "S3_ADDRESSING": "virtual"}


@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_every_selector_takes_a_pod(name: str) -> None:
    known = [*task_labels().values(), *(dict(pod.labels) for pod in pods()), DRIVER]
    for item in build(name):
        selector = item["spec"].get("podSelector") if item["kind"] == "NetworkPolicy" else None
        if item["kind"] in ("PodDisruptionBudget", "PodMonitor"):
            selector = item["spec"]["selector"]
        if selector is not None:
            assert any(selects(selector, labels) for labels in known), f"{name}: {name_of(item)} selects no pod that there is: {selector}"


def test_metrics_are_scraped_where_the_tasks_serve_them() -> None:
    port = int(one("base", "ConfigMap", "asdfd")["data"]["ASDFD_METRICS_PORT"])
    policy = one("base", "NetworkPolicy", "allow-metrics")["spec"]
    assert [rule["ports"] for rule in policy["ingress"]] == [[{"protocol": "TCP", "port": port}]]
    if "monitoring" in KUSTOMIZATIONS:
        assert f":{port}" in str(of_kind("monitoring", "PodMonitor"))


def test_names_are_found_with_and_without_a_cache_on_the_node() -> None:
    (rule,) = one("base", "NetworkPolicy", "allow-dns")["spec"]["egress"]
    assert [next(iter(place)) for place in rule["to"]] == ["namespaceSelector", "ipBlock"]
    assert ipaddress.ip_address("169.254.20.10") in ipaddress.ip_network(rule["to"][1]["ipBlock"]["cidr"]), "where NodeLocal DNS listens"
    assert sorted(port["protocol"] for port in rule["ports"]) == ["TCP", "UDP"]


def test_pushes_go_to_the_pushgateway_that_is_installed() -> None:
    host, port = one("base", "ConfigMap", "asdfd")["data"]["PUSHGATEWAY_URL"].removeprefix("http://").split(":")
    (rule,) = one("base", "NetworkPolicy", "allow-metrics")["spec"]["egress"]
    assert [entry["port"] for entry in rule["ports"]] == [int(port)]
    if "monitoring" in KUSTOMIZATIONS:
        service = one("monitoring", "Service", host)
        assert service["metadata"]["namespace"] == one("base", "ConfigMap", "asdfd")["metadata"]["namespace"]
        assert int(port) in [entry["port"] for entry in service["spec"]["ports"]]
        (gateway,) = (pod for pod in pods() if pod.source == f"monitoring: Deployment/{host}")
        assert selects(rule["to"][0]["podSelector"], gateway.labels)


def roles() -> list[tuple[str, Object]]:
    return [
        (f"{name}: {name_of(item)}", rule) for name in EVERY_BUILD for item in build(name) if item["kind"] in ("Role", "ClusterRole") for rule in item["rules"]
    ]


def test_rights_have_no_wildcard_and_reach_no_cluster() -> None:
    assert roles()
    for source, rule in roles():
        assert all("*" not in value for key in ("apiGroups", "resources", "verbs") for value in rule[key]), source
        assert not set(rule["verbs"]) & {"impersonate", "bind", "escalate"}, source
        assert not {"pods/exec", "serviceaccounts/token", "roles", "rolebindings"} & set(rule["resources"]), source
    assert not [name_of(item) for name in EVERY_BUILD for item in build(name) if item["kind"] in ("ClusterRole", "ClusterRoleBinding")]


def test_a_run_reads_one_secret_and_one_config_map_and_writes_how_a_task_ended() -> None:
    rules = one("base", "Role", "asdfd-runs")["rules"]
    of_secrets = [rule for rule in rules if "secrets" in rule["resources"]]
    assert [(rule["resourceNames"], rule["verbs"]) for rule in of_secrets] == [(["mlpipeline-minio-artifact"], ["get"])]
    of_settings = [rule for rule in rules if "configmaps" in rule["resources"]]
    assert [(rule["resourceNames"], rule["verbs"]) for rule in of_settings] == [(["kfp-launcher"], ["get"])]
    writing = [(rule["resources"], sorted(set(rule["verbs"]) - READING)) for rule in rules if set(rule["verbs"]) - READING]
    assert writing == [(["workflowtaskresults"], ["create", "patch"])]


@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_rights_are_bound_to_accounts_that_exist(name: str) -> None:
    accounts = {(item["metadata"]["name"], item["metadata"]["namespace"]) for item in of_kind(name, "ServiceAccount")}
    names = {name_of(item) for item in build(name)}
    for binding in of_kind(name, "RoleBinding"):
        assert f"{binding['roleRef']['kind']}/{binding['roleRef']['name']}" in names
        assert {(subject["name"], subject["namespace"]) for subject in binding["subjects"]} <= accounts


def test_only_the_account_of_runs_gets_a_token_by_itself() -> None:
    tokens = {item["metadata"]["name"] for name in KUSTOMIZATIONS for item in of_kind(name, "ServiceAccount") if item.get("automountServiceAccountToken", True)}
    assert tokens == {"asdfd-runs"}
