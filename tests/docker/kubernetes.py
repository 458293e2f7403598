"""Kubernetes manifests as `kubectl kustomize` builds them, and schemas of what has none at hand."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docker.dockerfile import DOCKER

FOLDER = DOCKER / "kubernetes"
OVERLAYS = ("cpu", "gpu", "shadow")
# Alternatives, of which one or none is taken.
BUNDLES = ((), ("bundle-volume",), ("bundle-image",), ("bundle-object-storage",))
OTHERS = ((), ("gateway", "monitoring", "keda"), ("monitoring", "hpa"))
Combination = tuple[str, tuple[str, ...]]


def combinations() -> list[Combination]:
    """Every overlay with every choice of bundles and of the rest; `shadow` has its bundles."""
    return [
        (overlay, bundle + others)
        for overlay in OVERLAYS
        for bundle in (BUNDLES if overlay != "shadow" else ((),))
        for others in OTHERS
    ]


@functools.cache
def kustomize_version() -> int:
    """The major version of kustomize in kubectl; 0 if there is none, or an old kubectl."""
    if shutil.which("kubectl") is None:
        return 0
    command = ["kubectl", "version", "--client", "--output=json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    told = json.loads(done.stdout) if done.returncode == 0 else {}
    return int(told.get("kustomizeVersion", "v0").removeprefix("v").partition(".")[0])


# Components came with version 4, and what replaces a whole mapping is safe from 5 on.
installed = pytest.mark.skipif(
    kustomize_version() < 5, reason="kubectl with kustomize 5 is not installed"
)


def build(folder: Path) -> list[dict[str, Any]]:
    """What `kubectl apply -k` would apply."""
    done = subprocess.run(
        ["kubectl", "kustomize", str(folder)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    # Whatever is deprecated is told on standard error.
    assert done.stderr == ""
    return list(yaml.safe_load_all(done.stdout))


@functools.cache
def built(combination: Combination) -> list[dict[str, Any]]:
    """The objects of an overlay with components, as a file outside the repository takes them."""
    overlay, components = combination
    with tempfile.TemporaryDirectory() as name:
        place = Path(name).resolve()

        def path(part: str) -> str:
            return os.path.relpath(FOLDER / part, place)

        kustomization = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [path(f"overlays/{overlay}")],
            "components": [path(f"components/{component}") for component in components],
        }
        (place / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        return build(place)


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The objects of a kind."""
    return [each for each in objects if each["kind"] == kind]


def deployment(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """The only deployment."""
    (found,) = of_kind(objects, "Deployment")
    return found


def pod(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """The specification of its pods."""
    found: dict[str, Any] = deployment(objects)["spec"]["template"]["spec"]
    return found


def server(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """The container that serves."""
    (found,) = pod(objects)["containers"]
    assert isinstance(found, dict)
    return found


def containers(objects: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every container of a pod, in the order in which they start."""
    yield from pod(objects).get("initContainers", [])
    yield from pod(objects)["containers"]


def settings(objects: list[dict[str, Any]]) -> dict[str, str]:
    """The variables that the settings' ConfigMap gives the server."""
    names = [
        source["configMapRef"]["name"]
        for source in server(objects)["envFrom"]
        if "configMapRef" in source
    ]
    found: dict[str, str] = {}
    for each in of_kind(objects, "ConfigMap"):
        if each["metadata"]["name"] in names:
            found |= each["data"]
    return found


def closed(required: str = "", /, **properties: Any) -> dict[str, Any]:
    """A schema of a mapping with these keys alone; those named in `required` must be there."""
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "required": required.split(),
    }


def some(item: Any) -> dict[str, Any]:
    """A schema of a list that is not empty."""
    return {"type": "array", "items": item, "minItems": 1}


TEXT = {"type": "string", "minLength": 1}
WHOLE = {"type": "integer", "minimum": 0}
DURATION = {"type": "string", "pattern": r"^\d+(ms|s|m|h)$"}
PATH = closed("type value", type={"enum": ["PathPrefix", "Exact"]}, value=TEXT)
REDIRECT = closed(
    path=closed("type replaceFullPath", type={"const": "ReplaceFullPath"}, replaceFullPath=TEXT),
    statusCode={"enum": [301, 302]},
)
SCALING = closed(
    stabilizationWindowSeconds=WHOLE,
    policies=some(closed("type value periodSeconds", type=TEXT, value=WHOLE, periodSeconds=WHOLE)),
)
LABELS = {"type": "object", "additionalProperties": TEXT}
METADATA = closed("name", name=TEXT, labels=LABELS)
# As much of these kinds as is used here, by their API's version. They come with operators, not with
# Kubernetes.
CUSTOM: dict[tuple[str, str], dict[str, Any]] = {
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): closed(
        "parentRefs rules",
        parentRefs=some(closed("name", name=TEXT, namespace=TEXT)),
        hostnames=some(TEXT),
        rules=some(
            closed(
                matches=some(closed(path=PATH)),
                filters=some(closed("type", type=TEXT, requestRedirect=REDIRECT)),
                backendRefs=some(closed("name port", name=TEXT, port=WHOLE)),
                timeouts=closed(request=DURATION),
            )
        ),
    ),
    ("keda.sh/v1alpha1", "ScaledObject"): closed(
        "scaleTargetRef triggers",
        scaleTargetRef=closed("name", name=TEXT),
        minReplicaCount=WHOLE,
        maxReplicaCount=WHOLE,
        pollingInterval=WHOLE,
        fallback=closed(
            "failureThreshold replicas",
            failureThreshold=WHOLE,
            replicas=WHOLE,
            behavior={"enum": ["static", "currentReplicas", "currentReplicasIfHigher"]},
        ),
        advanced=closed(
            horizontalPodAutoscalerConfig=closed(
                behavior=closed(scaleUp=SCALING, scaleDown=SCALING)
            )
        ),
        triggers=some(
            closed(
                "type metadata",
                type={"const": "prometheus"},
                # All of them are texts.
                metadata=closed(
                    "serverAddress query threshold",
                    serverAddress={"type": "string", "pattern": "^https?://"},
                    query=TEXT,
                    threshold={"type": "string", "pattern": r"^\d+$"},
                ),
            )
        ),
    ),
    ("monitoring.coreos.com/v1", "ServiceMonitor"): closed(
        "selector endpoints",
        selector=closed(matchLabels=LABELS),
        jobLabel=TEXT,
        endpoints=some(
            closed("port", port=TEXT, path=TEXT, interval=DURATION, scrapeTimeout=DURATION)
        ),
    ),
}


def custom_schema(thing: dict[str, Any]) -> dict[str, Any] | None:
    """The schema of an object whose kind comes with an operator."""
    spec = CUSTOM.get((thing["apiVersion"], thing["kind"]))
    if spec is None:
        return None
    return closed(
        "apiVersion kind metadata spec", apiVersion=TEXT, kind=TEXT, metadata=METADATA, spec=spec
    )
