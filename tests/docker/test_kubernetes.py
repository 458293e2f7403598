"""The Kubernetes manifests: built, held against schemas and rules, and against the code."""

from __future__ import annotations

import functools
import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from retort.models.bundle import Bundle
from retort.models.errors import StartError
from retort.service.http.app import create_app
from retort.service.metrics import Metrics
from retort.service.processes.supervisor import FRONT_END_SILENCE_SECONDS, LAST_SECONDS
from retort.service.settings import Settings, drain_delay, load_settings
from tests.commands import COMMANDS
from tests.docker.dockerfile import DOCKER, ROOT, environment, only, stages
from tests.docker.kubernetes import (
    FOLDER,
    OVERLAYS,
    Combination,
    build,
    built,
    combinations,
    containers,
    custom_schema,
    deployment,
    installed,
    of_kind,
    pod,
    server,
    settings,
)
from tests.fake_bundle import overlap
from tests.service.running import fake_service

pytestmark = installed

# The oldest that is still maintained, and the newest that there are schemas of.
VERSIONS = ("1.35", "1.37")
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
IMAGES = {name: stages(DOCKER / f"Dockerfile.{name}")[-1] for name in ("cpu", "gpu")}
PAGE = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")


def name_of(combination: Combination) -> str:
    return "+".join((combination[0], *combination[1]))


each = pytest.mark.parametrize("combination", combinations(), ids=name_of)
each_overlay = pytest.mark.parametrize("overlay", OVERLAYS)
ALL: Combination = ("cpu", ("gateway", "monitoring", "keda"))


def read(combination: Combination, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings that the server reads in a pod. An unknown variable is an error."""
    objects = built(combination)
    variables = environment(IMAGES["gpu" if combination[0] == "gpu" else "cpu"])
    variables |= settings(objects)
    for variable in server(objects)["env"]:
        source = variable["valueFrom"]["resourceFieldRef"]
        assert source == {"resource": "limits.cpu"}
        variables[variable["name"]] = server(objects)["resources"]["limits"]["cpu"]
    for name, value in variables.items():
        if name.startswith("RETORT_"):
            monkeypatch.setenv(name, value)
    return load_settings()


@functools.cache
def check(text: str) -> None:
    """Raise `ValidationError` for an object, as JSON, that has no place in a cluster."""
    thing = json.loads(text)
    schema = custom_schema(thing)
    if schema is not None:
        jsonschema.validate(thing, schema)
        return
    for version in VERSIONS:
        kubernetes_validate.validate(thing, version, strict=True)


@each
def test_every_object_is_one_that_kubernetes_knows(combination: Combination) -> None:
    objects = built(combination)
    names = [(thing["kind"], thing["metadata"]["name"]) for thing in objects]
    assert len(set(names)) == len(names)
    for thing in objects:
        check(json.dumps(thing))


def test_schemas_refuse_what_is_misspelt() -> None:
    for thing in built(ALL):
        broken = json.dumps({**thing, "spec": {**thing.get("spec", {}), "replica": 1}})
        with pytest.raises(jsonschema.ValidationError):
            check(broken)


@each
def test_containers_may_do_little(combination: Combination) -> None:
    """What the Pod Security Standard `restricted` asks for, and more."""
    spec = pod(built(combination))
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    context = spec["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    user = only(IMAGES["cpu"], "USER").text
    assert f"{context['runAsUser']}:{context['runAsGroup']}" == user
    assert context["fsGroup"] == context["runAsGroup"]
    assert user == only(IMAGES["gpu"], "USER").text
    for container in containers(built(combination)):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, container["name"]
        for bound in ("requests", "limits"):
            assert {"cpu", "memory"} <= container["resources"][bound].keys(), container["name"]
        name, _, tag = container["image"].partition(":")
        assert re.search(r"\d", tag), f"{name} has no version"
    for volume in spec["volumes"]:
        if "emptyDir" in volume:
            assert "sizeLimit" in volume["emptyDir"], volume["name"]
    for account in of_kind(built(combination), "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    assert {a["metadata"]["name"] for a in of_kind(built(combination), "ServiceAccount")} == {
        spec["serviceAccountName"]
    }


@each
def test_labels_and_names_fit_together(combination: Combination) -> None:
    objects = built(combination)
    labels = deployment(objects)["spec"]["template"]["metadata"]["labels"]
    (service,) = of_kind(objects, "Service")
    port_names = {port["name"] for port in server(objects)["ports"]}
    (service_port,) = service["spec"]["ports"]
    assert service_port["targetPort"] in port_names
    selectors = [
        deployment(objects)["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        *(b["spec"]["selector"]["matchLabels"] for b in of_kind(objects, "PodDisruptionBudget")),
        *(p["spec"]["podSelector"]["matchLabels"] for p in of_kind(objects, "NetworkPolicy")),
        *(s["labelSelector"]["matchLabels"] for s in pod(objects)["topologySpreadConstraints"]),
    ]
    assert len(selectors) >= 6
    for selector in selectors:
        assert selector
        assert selector.items() <= labels.items()
    for policy in of_kind(objects, "NetworkPolicy"):
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        for rule in policy["spec"]["ingress"]:
            assert {port["port"] for port in rule["ports"]} <= port_names
    for monitor in of_kind(objects, "ServiceMonitor"):
        found = service["metadata"]["labels"]
        assert monitor["spec"]["selector"]["matchLabels"].items() <= found.items()
        assert {end["port"] for end in monitor["spec"]["endpoints"]} == {service_port["name"]}
        # The board and the alerts look for it.
        assert found[monitor["spec"]["jobLabel"]] == "retort"
    for route in of_kind(objects, "HTTPRoute"):
        for rule in route["spec"]["rules"]:
            for backend in rule.get("backendRefs", []):
                assert backend == {
                    "name": service["metadata"]["name"], "port": service_port["port"],
                }  # fmt: skip
    for kind in ("ScaledObject", "HorizontalPodAutoscaler"):
        for scaler in of_kind(objects, kind):
            assert (
                scaler["spec"]["scaleTargetRef"]["name"] == deployment(objects)["metadata"]["name"]
            )
    volumes = {volume["name"] for volume in pod(objects)["volumes"]}
    for container in containers(objects):
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        config_maps = {c["metadata"]["name"] for c in of_kind(objects, "ConfigMap")}
        for source in container["envFrom"]:
            if "configMapRef" in source:
                assert source["configMapRef"]["name"] in config_maps


@each_overlay
def test_ports_and_writable_places_are_those_of_the_image(overlay: str) -> None:
    image = environment(IMAGES["gpu" if overlay == "gpu" else "cpu"])
    container = server(built((overlay, ())))
    (port,) = container["ports"]
    assert port["containerPort"] == int(image["RETORT_PORT"])
    mounts = {
        mount["mountPath"]: mount.get("readOnly", False) for mount in container["volumeMounts"]
    }
    assert {place for place, read_only in mounts.items() if not read_only} == {
        image["RETORT_CACHE_DIR"], image["HOME"], "/dev/shm",
    }  # fmt: skip
    if overlay == "shadow":
        assert mounts[image["RETORT_MODELS"]] is True


@each_overlay
def test_variables_are_settings_and_the_server_takes_them(
    overlay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = read((overlay, ()), monkeypatch)
    resources = server(built((overlay, ())))["resources"]
    assert found.threads == int(resources["limits"]["cpu"])
    assert resources["limits"]["cpu"] == resources["requests"]["cpu"]
    assert (found.teacher is not None, found.shadow > 0) == (overlay == "shadow",) * 2
    assert ("nvidia.com/gpu" in resources["limits"]) == (overlay == "gpu")
    if overlay == "gpu":
        assert found.workers == found.threads // 2


def test_links_of_a_service_of_that_name_would_keep_the_server_from_starting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (service,) = of_kind(built(ALL), "Service")
    prefix = service["metadata"]["name"].upper()
    for name, value in (("PORT", "tcp://10.0.0.1:80"), ("SERVICE_HOST", "10.0.0.1")):
        with monkeypatch.context() as patch:
            patch.setenv(f"{prefix}_{name}", value)
            with pytest.raises(StartError):
                load_settings()
    assert pod(built(ALL))["enableServiceLinks"] is False


@each_overlay
def test_images_are_those_of_this_version(overlay: str) -> None:
    kind = "gpu" if overlay == "gpu" else "cpu"
    assert server(built((overlay, ())))["image"] == f"retort:{VERSION}-{kind}"


def test_probes_ask_for_paths_that_there_are(tiny_bundle: Bundle) -> None:
    app = create_app(fake_service(tiny_bundle, overlap, Settings()))
    paths = {getattr(route, "path", "") for route in app.routes}
    container = server(built(("cpu", ())))
    asked = {kind: container[kind]["httpGet"]["path"] for kind in container if "Probe" in kind}
    assert asked == {
        "startupProbe": "/readyz", "readinessProbe": "/readyz", "livenessProbe": "/livez",
    }  # fmt: skip
    assert set(asked.values()) <= paths
    assert {
        container[kind]["httpGet"]["port"] for kind in asked
    } == {port["name"] for port in container["ports"]}  # fmt: skip
    (monitor,) = of_kind(built(ALL), "ServiceMonitor")
    assert {end["path"] for end in monitor["spec"]["endpoints"]} <= paths
    assert "metrics" in Settings().open_paths


@each_overlay
def test_a_pod_has_time_to_start_and_to_finish(
    overlay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = built((overlay, ()))
    found = read((overlay, ()), monkeypatch)
    container = server(objects)
    # A preStop hook would run before the server knows, so /readyz would say yes all the while.
    assert "lifecycle" not in container
    grace = pod(objects)["terminationGracePeriodSeconds"]
    assert grace > drain_delay(found) + found.drain_seconds + LAST_SECONDS
    assert found.max_timeout_ms <= found.drain_seconds * 1000
    ready = container["readinessProbe"]
    noticed = ready["failureThreshold"] * ready["periodSeconds"] + ready["timeoutSeconds"]
    assert found.drain_delay_seconds > noticed
    # A front end that does not answer is replaced before anything is done to its pod.
    assert ready["timeoutSeconds"] >= FRONT_END_SILENCE_SECONDS
    live = container["livenessProbe"]
    assert live["failureThreshold"] * live["periodSeconds"] > 2 * FRONT_END_SILENCE_SECONDS
    start = container["startupProbe"]
    allowed = start["failureThreshold"] * start["periodSeconds"]
    assert deployment(objects)["spec"]["progressDeadlineSeconds"] > allowed
    if overlay == "gpu":
        # The server gives up first, and says why.
        assert allowed > found.start_seconds


def test_a_route_waits_longer_than_any_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    (route,) = of_kind(built(ALL), "HTTPRoute")
    hidden, shown = route["spec"]["rules"]
    waits = int(shown["timeouts"]["request"].removesuffix("s"))
    assert waits * 1000 > read(ALL, monkeypatch).max_timeout_ms
    assert {match["path"]["value"] for match in hidden["matches"]} == {"/admin", "/metrics"}
    assert "backendRefs" not in hidden


def test_the_board_is_the_one_of_the_stack() -> None:
    (board,) = [
        c
        for c in of_kind(built(ALL), "ConfigMap")
        if "grafana_dashboard" in c["metadata"]["labels"]
    ]
    file = DOCKER / "grafana" / "boards" / "retort.json"
    assert board["data"] == {file.name: file.read_text(encoding="utf-8")}
    # `kubectl apply` keeps a copy in an annotation, and those may have 256 KiB in all.
    assert len(json.dumps(board)) < 200_000


def test_both_autoscalers_go_by_the_tokens_that_wait() -> None:
    by_keda, by_adapter = (
        built(("cpu", ("monitoring", "keda"))),
        built(("cpu", ("monitoring", "hpa"))),
    )
    (keda,), (hpa,) = (
        of_kind(by_keda, "ScaledObject"),
        of_kind(by_adapter, "HorizontalPodAutoscaler"),
    )
    (trigger,) = keda["spec"]["triggers"]
    (metric,) = hpa["spec"]["metrics"]
    name = metric["pods"]["metric"]["name"]
    rule = yaml.safe_load((FOLDER / "components/hpa/adapter-rule.yaml").read_text())["rules"][0]
    assert name == "retort_queue_tokens"
    assert name in {family.name for family in Metrics().registry.collect()}
    assert f"{name}{{" in trigger["metadata"]["query"]
    assert rule["seriesQuery"].startswith(f"{name}{{")
    assert metric["pods"]["target"] == {
        "type": "AverageValue", "averageValue": trigger["metadata"]["threshold"],
    }  # fmt: skip
    assert int(trigger["metadata"]["threshold"]) < Settings().queue_tokens
    advanced = keda["spec"]["advanced"]["horizontalPodAutoscalerConfig"]
    assert advanced["behavior"] == hpa["spec"]["behavior"]
    least, most = keda["spec"]["minReplicaCount"], keda["spec"]["maxReplicaCount"]
    assert (least, most) == (hpa["spec"]["minReplicas"], hpa["spec"]["maxReplicas"])
    assert least == deployment(built(("cpu", ())))["spec"]["replicas"]
    # The number of replicas is not applied again.
    for objects in (by_keda, by_adapter):
        assert "replicas" not in deployment(objects)["spec"]


@pytest.mark.parametrize(
    ("component", "source"),
    [
        ("bundle-volume", "persistentVolumeClaim"),
        ("bundle-image", "image"),
        ("bundle-object-storage", "emptyDir"),
    ],
)
@pytest.mark.parametrize("overlay", ["cpu", "gpu"])
def test_bundles_are_checked_before_the_server_starts(
    overlay: str, component: str, source: str
) -> None:
    objects = built((overlay, (component,)))
    *before, verify = pod(objects)["initContainers"]
    serves = server(objects)
    for part in ("image", "env", "envFrom", "resources", "securityContext", "volumeMounts"):
        assert verify[part] == serves[part], part
    assert verify["args"] == ["verify", "$(RETORT_BUNDLE)"]
    assert "RETORT_BUNDLE" in settings(objects)
    COMMANDS["verify"].make_context("verify", ["retort-small"])
    (models,) = [v for v in pod(objects)["volumes"] if v["name"] == "models"]
    assert source in models
    (mount,) = [m for m in serves["volumeMounts"] if m["name"] == "models"]
    image = environment(IMAGES["gpu" if overlay == "gpu" else "cpu"])
    assert (mount["mountPath"], mount["readOnly"]) == (image["RETORT_MODELS"], True)
    (policy,) = of_kind(objects, "NetworkPolicy")
    assert bool(before) == bool(policy["spec"]["egress"]) == (component == "bundle-object-storage")
    for fetch in before:
        assert fetch["args"][-1] == f"{image['RETORT_MODELS']}/$(RETORT_BUNDLE)"
        (mount,) = [m for m in fetch["volumeMounts"] if m["name"] == "models"]
        assert (mount["mountPath"], mount.get("readOnly", False)) == (image["RETORT_MODELS"], False)


def test_the_pages_own_kustomization_builds(tmp_path: Path) -> None:
    (text,) = re.findall(
        r"^```yaml\n(# kustomization.yaml\n.*?)^```", PAGE, re.MULTILINE | re.DOTALL
    )
    here = os.path.relpath(ROOT, tmp_path.resolve())
    (tmp_path / "kustomization.yaml").write_text(text.replace("retort/docker", f"{here}/docker"))
    objects = build(tmp_path)
    assert of_kind(objects, "ScaledObject")
    images = {container["image"] for container in containers(objects)}
    assert len(images) == 1
    assert not images.pop().startswith("retort:")
    assert settings(objects)["RETORT_BUNDLE"] == "mine"
    assert {thing["metadata"]["namespace"] for thing in objects} == {"retort"}


def test_the_pages_command_makes_the_rules_an_object() -> None:
    """As the shell would: a head, then the file, indented."""
    (head,) = re.findall(r"printf '(.*?)'", PAGE)
    indented = re.sub(r"^", "  ", (DOCKER / "prometheus/rules.yml").read_text(), flags=re.MULTILINE)
    rule: dict[str, Any] = yaml.safe_load(head.replace(r"\n", "\n") + indented)
    assert (rule["apiVersion"], rule["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((DOCKER / "prometheus/rules.yml").read_text())
