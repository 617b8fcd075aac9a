"""The resource types of operators that the manifests use, as far as they use them: a field that is not here is refused, so a misspelled one is found.

Written after the types' own definitions. Their pods are checked in full beside.
"""

from __future__ import annotations

from typing import Any

TEXT = {"type": "string", "minLength": 1}
COUNT = {"type": "integer", "minimum": 0}
ANYTHING: dict[str, Any] = {}
METADATA = {"type": "object", "required": ["name"]}


def of(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """An object with these fields and no other."""
    return {"type": "object", "properties": {**required, **(optional or {})}, "required": [*required], "additionalProperties": False}


def listed(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": schema, "minItems": 1}


def resource(spec: dict[str, Any]) -> dict[str, Any]:
    """An object of Kubernetes with this specification."""
    return of({"apiVersion": TEXT, "kind": TEXT, "metadata": METADATA, "spec": spec})


EXTERNAL_SECRET = of(
    {
        "secretStoreRef": of({"name": TEXT, "kind": {"enum": ["SecretStore", "ClusterSecretStore"]}}),
        "target": of(
            {"name": TEXT}, {"creationPolicy": {"enum": ["Owner", "Orphan", "Merge", "None"]}, "deletionPolicy": {"enum": ["Retain", "Delete", "Merge"]}}
        ),
        "data": listed(of({"secretKey": TEXT, "remoteRef": of({"key": TEXT}, {"property": TEXT, "version": TEXT})})),
    },
    {"refreshInterval": {"type": "string", "pattern": "^[0-9]+[smh]$"}},
)
PREDICTOR = {
    "type": "object",
    "required": ["containers", "serviceAccountName"],
    "properties": {
        "labels": {"type": "object"},
        "minReplicas": COUNT,
        "maxReplicas": COUNT,
        "scaleMetric": {"enum": ["cpu", "memory", "concurrency", "rps"]},
        "scaleTarget": COUNT,
        "deploymentStrategy": of({"type": {"enum": ["RollingUpdate", "Recreate"]}}, {"rollingUpdate": ANYTHING}),
    },
}
PIPELINE_VERSION = of(
    {"pipelineName": TEXT, "pipelineSpec": {"type": "object", "required": ["pipelineInfo", "root", "deploymentSpec"]}},
    {"displayName": TEXT, "description": TEXT, "platformSpec": ANYTHING},
)
SELECTOR = {"type": "object", "required": ["matchLabels"]}
RELABELING = of(
    {"action": {"enum": ["keep", "drop", "replace", "labeldrop", "labelkeep", "labelmap"]}},
    {"sourceLabels": listed(TEXT), "regex": TEXT, "targetLabel": TEXT, "replacement": TEXT, "separator": {"type": "string"}},
)
SCRAPE = {
    "path": TEXT,
    "port": TEXT,
    "interval": TEXT,
    "scrapeTimeout": TEXT,
    "honorLabels": {"type": "boolean"},
    "relabelings": listed(RELABELING),
    "metricRelabelings": listed(RELABELING),
}
RULE = of({"alert": TEXT, "expr": TEXT}, {"for": TEXT, "keep_firing_for": TEXT, "labels": {"type": "object"}, "annotations": {"type": "object"}})
RECORD = of({"record": TEXT, "expr": TEXT}, {"labels": {"type": "object"}})
GROUP = of({"name": TEXT, "rules": listed({"anyOf": [RULE, RECORD]})}, {"interval": TEXT})
SCHEMAS = {
    ("monitoring.coreos.com/v1", "ServiceMonitor"): resource(of({"selector": SELECTOR, "endpoints": listed(of({}, SCRAPE))}, {"namespaceSelector": ANYTHING})),
    ("monitoring.coreos.com/v1", "PodMonitor"): resource(
        of({"selector": SELECTOR, "podMetricsEndpoints": listed(of({}, SCRAPE))}, {"namespaceSelector": ANYTHING})
    ),
    ("monitoring.coreos.com/v1", "PrometheusRule"): resource(of({"groups": listed(GROUP)})),
    ("external-secrets.io/v1", "ExternalSecret"): resource(EXTERNAL_SECRET),
    ("serving.kserve.io/v1beta1", "InferenceService"): resource(of({"predictor": PREDICTOR})),
    ("pipelines.kubeflow.org/v2beta1", "Pipeline"): of(
        {"apiVersion": TEXT, "kind": TEXT, "metadata": METADATA}, {"spec": of({}, {"displayName": TEXT, "description": TEXT})}
    ),
    ("pipelines.kubeflow.org/v2beta1", "PipelineVersion"): resource(PIPELINE_VERSION),
}
