"""Installing: what `pyproject.toml`, `constraints.txt` and `requirements/` promise, and a wheel."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import time
import tomllib
import venv
import zipfile
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

import httpx
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from retort.extras import EXTRA_OF_MODULE
from retort.loadtest.servers import free_port
from tests.docker.image import link_packages, locked

ROOT = Path(__file__).parent.parent
# As a server would choose on most machines; the choice itself takes a while.
SERVE = ("--backend=openvino", "--precision=int8", "--threads=1")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
ROOMS = ("loadtest", "models", "service", "training")
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]


def names(lines: list[str]) -> set[str]:
    """The packages that requirement lines name."""
    return {canonicalize_name(Requirement(line).name) for line in lines}


def pins() -> dict[str, Requirement]:
    """The lines of `constraints.txt` by package."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(pin.name): pin for pin in found}


@functools.cache
def all_needs(package: str, extra: str = "") -> frozenset[str]:
    """What an installed package needs, directly and through others, of what is installed here."""
    needs: set[str] = set()
    waiting = [(package, extra)]
    seen = set(waiting)
    while waiting:
        name, of = waiting.pop()
        try:
            lines = requires(name) or []
        except PackageNotFoundError:
            continue
        for need in map(Requirement, lines):
            if need.marker is not None and not need.marker.evaluate({"extra": of}):
                continue
            key = canonicalize_name(need.name)
            needs.add(key)
            for step in ((key, ""), *((key, wanted) for wanted in need.extras)):
                if step not in seen:
                    seen.add(step)
                    waiting.append(step)
    return frozenset(needs)


def test_serving_alone_needs_neither_torch_nor_transformers() -> None:
    base = names([*PROJECT["dependencies"], *EXTRAS["cpu"]])
    everything = base.union(*(all_needs(name) for name in base))
    assert len(everything) > len(base)
    assert everything.isdisjoint({"torch", "transformers", "sentence-transformers", "datasets"})


def test_no_extra_has_both_runtimes() -> None:
    runtimes = {"onnxruntime", "onnxruntime-gpu"}
    for extra, lines in EXTRAS.items():
        assert len(runtimes & names(lines)) <= 1, extra
    assert "onnxruntime" in names(EXTRAS["cpu"])
    assert "onnxruntime-gpu" in names(EXTRAS["gpu"])
    # Training goes with either, so it must bring neither, not through another package either.
    for extra in ("train", "loadtest", "dev"):
        direct = names(EXTRAS[extra])
        assert runtimes.isdisjoint(direct.union(*(all_needs(name) for name in direct))), extra


def test_every_requirement_is_pinned_to_a_version_it_allows() -> None:
    pinned = pins()
    for line in [*PROJECT["dependencies"], *(line for lines in EXTRAS.values() for line in lines)]:
        need = Requirement(line)
        pin = pinned.get(canonicalize_name(need.name))
        assert pin is not None, f"{need.name} has no line in constraints.txt"
        (version,) = pin.specifier
        assert version.operator == "=="
        assert need.specifier.contains(version.version), f"{pin} against {need}"


@pytest.mark.parametrize("extra", ["", *EXTRAS])
def test_what_the_requirements_need_is_pinned_too(extra: str) -> None:
    lines = EXTRAS[extra] if extra else PROJECT["dependencies"]
    wanted = set().union(*(all_needs(name) for name in names(lines)))
    # Other platforms' needs aside, which no resolve here has seen, and pip, which was there before.
    assert wanted - pins().keys() <= {"pip"}


# What each file in `requirements/` is for.
LOCKED = {
    "build": ["hatchling"],
    "cpu": [*PROJECT["dependencies"], *EXTRAS["cpu"], *EXTRAS["sign"], *EXTRAS["client"]],
    "gpu": [*PROJECT["dependencies"], *EXTRAS["gpu"], *EXTRAS["sign"], *EXTRAS["client"]],
    "loadtest": [*PROJECT["dependencies"], *EXTRAS["loadtest"]],
}


@pytest.mark.parametrize("name", LOCKED)
def test_what_images_install_has_hashes_and_the_versions_of_the_constraints(name: str) -> None:
    file = ROOT / "requirements" / f"{name}.txt"
    found = {canonicalize_name(Requirement(line).name): line for line in locked(file)}
    pinned = pins()
    assert found == {key: f"{key}=={next(iter(pinned[key].specifier)).version}" for key in found}
    needed = names(LOCKED[name])
    assert found.keys() >= needed.union(*(all_needs(need) for need in needed))
    for block in re.split(r"\n(?=\w)", file.read_text())[1:]:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), block
    assert {path.stem for path in file.parent.iterdir()} == LOCKED.keys()


def test_a_package_with_other_content_is_not_installed(tmp_path: Path) -> None:
    (line,) = [line for line in locked(ROOT / "requirements/cpu.txt") if line.startswith("idna==")]
    text = (ROOT / "requirements/cpu.txt").read_text()
    (block,) = re.findall(rf"^{re.escape(line)} (?:.*\n(?=  ))+.*\n", text, re.MULTILINE)
    # Of that name and version, and of its own making.
    name, version = line.split("==")
    info = f"{name}-{version}.dist-info"
    wheel = tmp_path / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    own = f"--hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"
    for step, (hashes, status) in enumerate([(block, 1), (f"{line} {own}\n", 0)]):
        asked = tmp_path / f"{step}.txt"
        asked.write_text(hashes)
        # As the Makefile and the images do, but from here.
        command = [*PIP, "install", "--require-hashes", "-r", str(asked)]
        here = ["--no-index", f"--find-links={tmp_path}", "--target", str(tmp_path / "target")]
        ended = subprocess.run([*command, *here], capture_output=True, text=True)
        assert ended.returncode == status, ended.stderr
        assert ("DO NOT MATCH THE HASHES" in ended.stderr) == (status == 1)


def test_serving_is_installed_by_hash_alone() -> None:
    rules = (ROOT / "Makefile").read_text()
    recipe = rules.partition("$(VENV)/.serve: ")[2].partition("\n\n")[0]
    installs = re.findall(r"\$\((HASHED|INSTALL|PIP)\)(.*)", recipe)
    assert [(name, "--no-deps" in rest) for name, rest in installs] == [
        ("HASHED", False),
        ("PIP", True),
    ]
    assert "\nHASHED = $(PIP) install --require-hashes\n" in rules


@pytest.mark.parametrize("status", [0, 1])
def test_an_audit_fails_if_the_auditor_does(tmp_path: Path, status: int) -> None:
    auditor = tmp_path / "bin" / "pip-audit"
    auditor.parent.mkdir()
    auditor.write_text(f'#!/bin/sh\necho "$@"\nexit {status}\n')
    for path in (auditor, tmp_path / "bin" / "python"):
        path.touch()
        path.chmod(0o755)
    # What it needs is there.
    os.utime(tmp_path / "bin" / "python", (0, 0))
    (tmp_path / ".audit").touch()
    command = ["make", "audit", f"VENV={tmp_path}", f"PYTHON={sys.executable}"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    # Without this word it passes if the service knows none of the packages, or answers to nothing.
    assert "--strict" in ended.stdout.split()
    assert (ended.returncode == 0) == (status == 0), ended.stderr
    assert ("could not be asked for" in ended.stdout) == (status == 1)


def test_torch_is_pinned_without_a_local_version() -> None:
    assert str(pins()["torch"]) == "torch==2.13.0"


def test_no_package_index_is_named() -> None:
    for name in ("pyproject.toml", "constraints.txt", "Makefile", ".ci/run"):
        text = (ROOT / name).read_text()
        assert "index-url" not in text, name
        assert "find-links" not in text, name


def test_the_extras_that_the_command_names_bring_those_modules() -> None:
    for module, extra in EXTRA_OF_MODULE.items():
        package = canonicalize_name(module)
        reached = names(EXTRAS[extra])
        reached |= set().union(*(all_needs(name) for name in reached))
        assert package in reached, f"{module} does not come with {extra}"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with wheel and sdist, built as the images build them: offline."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist"]
    subprocess.run([*command, "-d", str(folder)], cwd=ROOT, check=True, capture_output=True)
    return folder


def tracked(*folders: str) -> set[str]:
    """The tracked files of these folders, under the name by which they are imported."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *folders]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return {
        name if name.startswith("retort/") else f"retort/{name}"
        for name in listed.stdout.splitlines()
        if (ROOT / name).is_file() and not (ROOT / name).is_symlink()
    }


def test_the_wheel_holds_the_tree_under_one_name(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == tracked("retort", *ROOMS)
    assert {
        "retort/py.typed",
        "retort/loadtest/extract.tsv",
        "retort/models/retort-small/model.onnx",
        "retort/service/http/static/index.html",
    } <= names


def test_the_sdist_holds_real_files(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        members = archive.getmembers()
    assert all(member.isfile() for member in members)
    names = {member.name.partition("/")[2] for member in members}
    assert {name for name in names if name.startswith("retort/")} == tracked("retort", *ROOMS)
    assert {name.partition("/")[0] for name in names} <= {
        "retort", "pyproject.toml", "README.md", "LICENSE", "PKG-INFO", ".gitignore",
    }  # fmt: skip


def readme_example() -> tuple[dict[str, Any], dict[str, Any]]:
    """The request that the README sends to a server, and the answer that it prints."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (request,) = re.findall(r"curl -s localhost:8080/score .*? -d '(.*?)'", text, re.DOTALL)
    (answer,) = re.findall(r"^```json\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return json.loads(request), json.loads(answer)


@pytest.mark.slow
def test_an_installed_wheel_serves_beside_folders_of_the_same_names(
    built: Path, tmp_path: Path
) -> None:
    (wheel,) = built.glob("*.whl")
    prefix = tmp_path / "environment"
    venv.create(prefix, with_pip=False)
    link_packages([*PROJECT["dependencies"], *EXTRAS["cpu"]], prefix)
    python = prefix / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    install = ["install", "--no-index", "--no-deps", "--no-compile", str(wheel)]
    subprocess.run([*pip, *install], check=True, capture_output=True)
    for name in (*ROOMS, "tests"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the wrong package')\n")
    port = str(free_port())
    server = subprocess.Popen(
        [python, "-m", "retort", "serve", f"--port={port}", *SERVE],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        end = time.monotonic() + 120
        while True:
            assert server.poll() is None, server.communicate()[1]
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                    break
            assert time.monotonic() < end
            time.sleep(0.1)
        asked, promised = readme_example()
        reply = httpx.post(f"http://127.0.0.1:{port}/score", json=asked, timeout=60).json()
        for result, expected in zip(reply["results"], promised["results"], strict=True):
            # int8 differs a little from processor to processor.
            assert result == pytest.approx(expected, abs=0.02)
        for name in ("model", "version", "mode", "usage"):
            assert reply[name] == promised[name]
        assert reply["timings_ms"].keys() == promised["timings_ms"].keys()
    finally:
        server.terminate()
        server.communicate()
    assert server.returncode == 0


def test_this_python_is_supported() -> None:
    assert sys.version_info >= (3, 11)
    assert PROJECT["requires-python"] == ">=3.11"
