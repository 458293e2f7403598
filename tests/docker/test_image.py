"""The CPU image, built step by step in a clean folder, and started."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from retort.loadtest.servers import free_port
from tests.docker.container import USER, WHY_NOT, Container, possible
from tests.docker.dockerfile import DOCKER
from tests.docker.image import Image

pytestmark = pytest.mark.slow
STACK = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
in_namespaces = pytest.mark.skipif(not possible(), reason=WHY_NOT)


@contextmanager
def built(**arguments: str) -> Iterator[Image]:
    # Not pytest's folder: nobody but its owner may enter that one.
    folder = Path(tempfile.mkdtemp(prefix="retort-image-"))
    folder.chmod(0o755)
    try:
        image = Image(folder, **arguments)
        image.build()
        yield image
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    with built() as image:
        yield image


@pytest.fixture(scope="module")
def container(image: Image) -> Iterator[Container]:
    running = Container(image, RETORT_PORT=str(free_port()), RETORT_THREADS="1")
    try:
        assert not running.check_health()
        running.wait_until_healthy()
        yield running
    finally:
        running.close()


def status_of(container: Container) -> dict[str, str]:
    lines = Path(f"/proc/{container.pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_nothing_of_training_is_in_it(image: Image) -> None:
    packages = next(image.prefix.glob("lib/python*/site-packages"))
    there = {path.name for path in packages.iterdir()}
    assert there.isdisjoint({"torch", "transformers", "datasets", "pytest", "pip", "hatchling"})
    assert {"onnxruntime", "openvino", "retort"} <= there
    assert there.isdisjoint({"loadtest", "models", "service", "training"})
    assert (packages / "retort" / "models" / "retort-small" / "model.onnx").is_file()
    # Installed, not linked to a checkout.
    assert not (packages / "retort").is_symlink()
    assert not (packages / "retort" / "service").is_symlink()


def test_modules_are_compiled_the_same_every_time(image: Image) -> None:
    compiled = list(image.prefix.glob("lib/python*/site-packages/retort/service/__pycache__/*.pyc"))
    assert compiled
    # The second word of a module that is checked by its source's hash, not its time (PEP 552).
    assert {path.read_bytes()[4:8] for path in compiled} == {b"\x03\0\0\0"}


def test_it_answers(container: Container) -> None:
    url = f"http://127.0.0.1:{container.environment['RETORT_PORT']}"
    asked = {"query": "how tall is the eiffel tower", "passages": ["It is 330 metres tall.", "Hm"]}
    reply = httpx.post(f"{url}/score", json=asked, timeout=60)
    assert reply.status_code == 200, reply.text
    assert [result["index"] for result in reply.json()["results"]] == [0, 1]
    assert httpx.get(f"{url}/info").json()["status"] == "ready"
    assert httpx.get(f"{url}/").status_code == 200


@in_namespaces
def test_it_has_no_privileges(container: Container) -> None:
    status = status_of(container)
    assert set(status["Uid"].split()) == {USER}
    assert status["NSpid"].split()[-1] == "1"
    assert status["NoNewPrivs"] == "1"
    assert {int(status[f"Cap{kind}"], 16) for kind in ("Eff", "Prm", "Bnd")} == {0}


@in_namespaces
def test_its_root_file_system_is_read_only(container: Container, image: Image) -> None:
    mounts = Path(f"/proc/{container.pid}/mountinfo").read_text().splitlines()
    options = {line.split()[4]: line.split()[5].split(",") for line in mounts}
    assert "ro" in options["/"]
    assert "rw" in options[str(image.cache)]
    # It kept what it measured at the start.
    assert list(image.cache.glob("backend-*.json"))
    inside = ["nsenter", f"--target={container.pid}", "--mount", "touch", f"{image.prefix}/x"]
    refused = subprocess.run(inside, capture_output=True, text=True)
    assert "Read-only file system" in refused.stderr


def test_the_load_generator_asks_it(container: Container) -> None:
    load = STACK["services"]["load"]
    url = f"http://127.0.0.1:{container.environment['RETORT_PORT']}"
    values = {"http://service:8080": url, "${LOAD_USERS:-10}": "5", "${LOAD_TIME:-10m}": "5s"}
    with built(**load["build"]["args"]) as image:
        command = [*load["entrypoint"], *load["command"]]
        for there, here in {**values, "/opt/retort": str(image.prefix)}.items():
            assert any(there in word for word in command), there
            command = [word.replace(there, here) for word in command]
        done = subprocess.run(
            command,
            executable=str(image.prefix / "bin" / command[0]),
            env=image.environment(),
            cwd="/tmp",
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    (counts,) = re.findall(r"Aggregated +(\d+) +(\d+)\(", done.stderr.partition("Response time")[0])
    assert int(counts[0]) > 0
    assert counts[1] == "0"


def test_a_stop_is_clean(container: Container) -> None:
    # The last: process 1 gets no signal that it does not handle itself.
    assert container.stop() == 0, container.output()
    assert "Traceback" not in container.output()
    assert not container.check_health()
