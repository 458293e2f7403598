"""What `pyproject.toml` and `constraints.txt` promise about installing."""

from __future__ import annotations

import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from retort.cli import EXTRA_OF_MODULE

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]

# Modules that go by another name than the package that brings them.
PACKAGE_OF_MODULE = {"sklearn": "scikit-learn"}


def names(lines: list[str]) -> set[str]:
    """The packages that requirement lines name."""
    return {canonicalize_name(Requirement(line).name) for line in lines}


def pins() -> dict[str, Requirement]:
    """The lines of `constraints.txt` by package."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(pin.name): pin for pin in found}


def all_needs(package: str, extra: str = "") -> set[str]:
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
    return needs


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
    # Other platforms' needs aside, which no resolve here has seen, and pip's own.
    assert wanted - pins().keys() == set()


def test_torch_is_pinned_without_a_local_version() -> None:
    assert str(pins()["torch"]) == "torch==2.13.0"


def test_no_package_index_is_named() -> None:
    for name in ("pyproject.toml", "constraints.txt", "Makefile", ".ci/run"):
        text = (ROOT / name).read_text()
        assert "index-url" not in text, name
        assert "find-links" not in text, name


def test_the_extras_that_the_command_names_bring_those_modules() -> None:
    for module, extra in EXTRA_OF_MODULE.items():
        package = canonicalize_name(PACKAGE_OF_MODULE.get(module, module))
        reached = names(EXTRAS[extra])
        reached |= set().union(*(all_needs(name) for name in reached))
        assert package in reached, f"{module} does not come with {extra}"


def test_every_package_of_the_tree_is_built() -> None:
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    packages = {folder.parent.name for folder in ROOT.glob("*/__init__.py")} - {"tests"}
    assert set(built["only-include"]) == packages | {"retort.py"}


def test_this_python_is_supported() -> None:
    assert sys.version_info >= (3, 11)
    assert PROJECT["requires-python"] == ">=3.11"
