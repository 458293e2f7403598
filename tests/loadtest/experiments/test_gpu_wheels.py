"""What `loadtest/gpu.sh` brings along: all that an image for PyTorch lacks, and no more."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "loadtest" / "gpu.sh"
# In an image with PyTorch, transformers, sentence-transformers and what trains with them.
IMAGE = frozenset(
    {
        "accelerate", "annotated-doc", "certifi", "click", "filelock", "flatbuffers", "fsspec",
        "h11", "hf-xet", "httpcore", "httpx", "huggingface-hub", "idna", "jinja2",
        "markdown-it-py", "markupsafe", "mdurl", "ml-dtypes", "mpmath", "networkx", "numpy",
        "onnx", "packaging", "prometheus-client", "protobuf", "psutil", "pyarrow", "pygments",
        "pyyaml", "regex", "rich", "safetensors", "scikit-learn", "scipy",
        "sentence-transformers", "setuptools", "shellingham", "sympy", "threadpoolctl",
        "tokenizers", "torch", "tqdm", "transformers", "typer", "urllib3", "uvloop",
    }
)  # fmt: skip
# What is run there: the server, its processes, the load, and the measurement itself.
CODE = """
import importlib, importlib.abc, pkgutil, sys

class Nothing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in forbidden:
            raise ModuleNotFoundError(f"{name} is neither in the image nor brought", name=name)

forbidden = set(sys.argv[1:])
sys.meta_path.insert(0, Nothing())
import retort.cli, uvicorn.lifespan.on, uvicorn.loops.uvloop, uvicorn.protocols.http.httptools_impl
for package in ("retort.service", "retort.models", "retort.loadtest.experiments.gpu"):
    for found in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        if not found.name.endswith((".openvino", ".__main__")):
            importlib.import_module(found.name)
import retort.loadtest.client
"""


def plain(name: str) -> str:
    """A package's name as indexes compare it."""
    return name.lower().replace("_", "-")


def brought() -> set[str]:
    """The packages of the script's list."""
    listed = SCRIPT.read_text().partition('NEEDED="')[2].partition('"')[0].split()
    return {plain(name) for name in listed}


def importing(packages: set[str]) -> subprocess.CompletedProcess[str]:
    """Import all that runs there, with `packages` alone of those that are installed here."""
    packages = packages | {"retort"}
    modules = [
        module
        for module, owners in packages_distributions().items()
        if not packages.intersection(map(plain, owners))
    ]
    return subprocess.run(
        [sys.executable, "-c", CODE, *modules],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_everything_that_is_imported_is_brought_or_there() -> None:
    # Both builds of ONNX Runtime are one module; here the other is installed.
    done = importing(brought() | IMAGE | {"onnxruntime"})
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("left_out", ["fastapi", "opentelemetry-api"])
def test_what_is_left_out_is_missed(left_out: str) -> None:
    done = importing((brought() | IMAGE | {"onnxruntime"}) - {left_out})
    assert "is neither in the image nor brought" in done.stderr


def test_what_is_there_need_not_travel() -> None:
    # Those two the image has in older versions.
    assert brought() & IMAGE == set()
    assert {"anyio", "typing-extensions"} <= brought()


def test_what_is_brought_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert brought() <= {plain(line.partition("==")[0]) for line in lines}


def test_a_provider_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", str(SCRIPT), "wheels", str(tmp_path / "wheels")],
        env={"PROVIDER": "no-such-file", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "PROVIDER is no-such-file, and there is no such file" in done.stderr
