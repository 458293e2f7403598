"""The compose stack against facts: files, ports, settings, and what every container is denied."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from retort.service.settings import OTHER_VARIABLES, PREFIX, Settings
from tests.docker.dockerfile import DOCKER, ROOT, environment, only, stages

STACK: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
SETTINGS = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | OTHER_VARIABLES
# The port on which each listens inside.
LISTENS = {"service": 8080, "prometheus": 9090, "grafana": 3000}

each = pytest.mark.parametrize("name", SERVICES)


def mounts(name: str) -> list[tuple[str, str, bool]]:
    """Source, target and whether it is read-only, of each of a container's volumes."""
    lines = (str(line).split(":") for line in SERVICES[name].get("volumes", []))
    return [(parts[0], parts[1], parts[2:] == ["ro"]) for parts in lines]


@each
def test_containers_may_do_little(name: str) -> None:
    container = SERVICES[name]
    assert container["read_only"] is True
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in container


@each
def test_images_are_built_here_or_pinned(name: str) -> None:
    container = SERVICES[name]
    if "build" in container:
        build = container["build"]
        assert (DOCKER / build["context"]).resolve() == ROOT
        assert (ROOT / build["dockerfile"]).is_file()
    else:
        assert re.search(r":v?\d+\.\d+\.\d+$", container["image"])


@each
def test_ports_are_those_that_are_listened_on_and_closed_to_others(name: str) -> None:
    for line in SERVICES[name].get("ports", []):
        address, _, inside = line.rpartition(":")
        assert address.startswith("127.0.0.1:")
        assert int(inside) == LISTENS[name]


@each
def test_mounted_files_are_there_and_may_not_be_written(name: str) -> None:
    for source, _, read_only in mounts(name):
        if source.startswith("."):
            assert read_only, source
            # Bundles that were made here; Docker makes the folder if none was.
            assert source == "../runs/bundles" or (DOCKER / source).is_dir(), source
        else:
            assert source in STACK["volumes"]


def test_variables_of_the_service_are_settings() -> None:
    lines = [str(line) for line in SERVICES["service"]["environment"]]
    names = [line.partition("=")[0] for line in lines]
    assert len(names) == len(set(names))
    assert set(names) <= SETTINGS
    # Student, teacher and how they work together can be set from outside.
    wanted = {"teacher", "mode", "shadow", "cascade_share", "disagreements"}
    assert {f"{PREFIX}{name.upper()}" for name in wanted} <= set(names)
    # An empty value is not the same as none: these are passed on, or they are not there.
    assert [line for line in lines if "${" in line] == []


def test_volumes_of_the_service_are_where_the_image_looks() -> None:
    inside = environment(stages(DOCKER / "Dockerfile.cpu")[-1])
    targets = {target: source for source, target, _ in mounts("service")}
    assert targets[inside["RETORT_MODELS"]] == "../runs/bundles"
    assert targets[inside["RETORT_CACHE_DIR"]] == "cache"


def test_the_service_has_time_to_finish() -> None:
    drain = dict(line.split("=") for line in SERVICES["service"]["environment"] if "DRAIN" in line)
    grace = int(SERVICES["service"]["stop_grace_period"].removesuffix("s"))
    assert grace > int(drain["RETORT_DRAIN_SECONDS"])


def test_the_load_generator_runs_a_file_that_its_image_has() -> None:
    load = SERVICES["load"]
    assert (ROOT / "requirements" / f"{load['build']['args']['REQUIREMENTS']}.txt").is_file()
    (file,) = re.findall(r"--locustfile=/opt/retort/lib/(python[\d.]+)/site-packages/(\S+)",
                         " ".join(load["command"]))  # fmt: skip
    base = (DOCKER / "Dockerfile.cpu").read_text(encoding="utf-8")
    assert f"PYTHON_IMAGE={file[0].replace('python', 'python:')}." in base
    assert (ROOT / file[1]).is_file()
    assert f"--host=http://service:{LISTENS['service']}" in load["command"]
    assert load["profiles"] == ["load"]
    assert load["healthcheck"] == {"disable": True}


def test_every_container_that_serves_has_a_health_check() -> None:
    image = stages(DOCKER / "Dockerfile.cpu")[-1]
    assert "/readyz" in only(image, "HEALTHCHECK").text
    for name in ("prometheus", "grafana"):
        test = SERVICES[name]["healthcheck"]["test"]
        assert test[0] == "CMD"
        assert f"http://127.0.0.1:{LISTENS[name]}" in test[-1]
    for container in SERVICES.values():
        for needed, how in container.get("depends_on", {}).items():
            assert needed in SERVICES
            assert how["condition"] == "service_healthy"


def test_prometheus_reads_the_configuration_that_is_mounted() -> None:
    (source, target, _), *_ = mounts("prometheus")
    (flag,) = [c for c in SERVICES["prometheus"]["command"] if c.startswith("--config.file=")]
    inside = Path(flag.partition("=")[2])
    assert (DOCKER / source / inside.relative_to(target)).is_file()
    (data,) = [c for c in SERVICES["prometheus"]["command"] if "storage.tsdb.path" in c]
    assert data.partition("=")[2] in {target for _, target, _ in mounts("prometheus")}


def test_grafana_finds_its_source_and_its_board() -> None:
    folders = {target: DOCKER / source for source, target, _ in mounts("grafana")}
    provisioning = folders["/etc/grafana/provisioning"]
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())[
        "datasources"
    ]
    host, _, port = source["url"].removeprefix("http://").partition(":")
    assert int(port) == LISTENS[host]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "retort.yaml").read_text())[
        "providers"
    ]
    boards = folders[provider["options"]["path"]]
    home = Path(SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (boards / home.name).is_file()
    assert str(home.parent) == provider["options"]["path"]
    interval = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text())["global"]
    assert source["jsonData"]["timeInterval"] == interval["scrape_interval"]


def test_nobody_can_log_in_to_grafana() -> None:
    settings = SERVICES["grafana"]["environment"]
    assert settings["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert settings["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"


def test_the_gpu_stack_changes_only_what_is_there() -> None:
    gpu = yaml.safe_load((DOCKER / "compose.gpu.yaml").read_text(encoding="utf-8"))
    assert set(gpu["services"]) <= set(SERVICES)
    build = gpu["services"]["service"]["build"]
    text = (ROOT / build["dockerfile"]).read_text(encoding="utf-8")
    assert all(f"ARG {name}" in text for name in build["args"])
