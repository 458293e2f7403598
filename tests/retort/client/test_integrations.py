"""The examples of docs/integrations.md, and the client's in docs/api.md, against a real server.

A framework that is not installed is skipped: they come with none of the extras.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.service.running import ROOT, ServerProcess, server

pytestmark = pytest.mark.slow

URL = "http://localhost:8080"
PACKAGES = {
    "LangChain": ("langchain_core", "langchain-core"),
    "LlamaIndex": ("llama_index.core", "llama-index-core"),
    "Haystack": ("haystack", "haystack-ai"),
}


def sections(name: str) -> dict[str, list[str]]:
    """The Python blocks under each heading of a page."""
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    found = re.split(r"^##+ (.+)$", text, flags=re.MULTILINE)[1:]
    return {
        heading: re.findall(r"^```python\n(.*?)^```", body, re.MULTILINE | re.DOTALL)
        for heading, body in zip(found[::2], found[1::2], strict=True)
    }


@pytest.fixture(scope="module")
def running() -> Iterator[ServerProcess]:
    flags = ("--backend=onnxruntime", "--precision=fp32", "--threads=1")
    with server("--bundle=retort-small", *flags) as process:
        yield process


def printed(block: str, running: ServerProcess) -> list[str]:
    """The lines that a block prints, with the server of the test for that of the page."""
    assert URL in block
    done = subprocess.run(
        [sys.executable, "-c", block.replace(URL, running.url)],
        cwd=ROOT,
        env={**os.environ, "HAYSTACK_TELEMETRY_ENABLED": "False"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("framework", PACKAGES)
def test_a_framework_gets_the_best_passage(framework: str, running: ServerProcess) -> None:
    module, package = PACKAGES[framework]
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        found = None
    if found is None:
        pytest.skip(f"{framework} is not installed: pip install {package}")
    (block,) = sections("integrations.md")[framework]
    (line,) = printed(block, running)
    score, _, text = line.partition(" ")
    assert 0.5 < float(score) < 1
    assert text.startswith("The tower is 330 m")


def test_the_frameworks_are_those_of_the_page() -> None:
    assert sections("integrations.md").keys() == PACKAGES.keys()


def test_the_example_of_the_client(running: ServerProcess) -> None:
    blocks = sections("api.md")["A client in Python"]
    assert len(blocks) == 2
    for block in blocks:
        *_, last = printed(block, running)
        assert last.startswith("a2 0.")
