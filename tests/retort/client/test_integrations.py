"""The examples of docs/integrations.md, and the client's in docs/api.md, against a real server.

The frameworks are installed into an environment of their own; without a network these are skipped.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.clients.client import Environment
from tests.clients.environments import prepared
from tests.service.running import ROOT, ServerProcess, server

pytestmark = pytest.mark.slow

URL = "http://localhost:8080"
# With what `retort.Client` needs: the repository is on the path, its environment is not.
FRAMEWORKS = Environment(
    "frameworks",
    "python",
    (
        "haystack-ai==3.4.1",
        "langchain-core==1.8.3",
        "llama-index-core==0.14.25",
        "anyio",
        "httpx",
        "msgspec",
        "orjson",
    ),
)


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


def printed(block: str, running: ServerProcess, python: str = sys.executable) -> list[str]:
    """The lines that a block prints, with the server of the test for that of the page."""
    assert URL in block
    done = subprocess.run(
        [python, "-c", block.replace(URL, running.url)],
        cwd=ROOT,
        env={**os.environ, "HAYSTACK_TELEMETRY_ENABLED": "False", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def python() -> str:
    """A Python that has the frameworks, in an environment of its own."""
    try:
        return str(prepared(FRAMEWORKS) / "bin" / "python")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"the frameworks could not be installed: {error}")


@pytest.mark.parametrize("framework", ["LangChain", "LlamaIndex", "Haystack"])
def test_a_framework_gets_the_best_passage(
    framework: str, python: str, running: ServerProcess
) -> None:
    (block,) = sections("integrations.md")[framework]
    (line,) = printed(block, running, python)
    score, _, text = line.partition(" ")
    assert 0.5 < float(score) < 1
    assert text.startswith("The tower is 330 m")


def test_the_example_of_the_client(running: ServerProcess) -> None:
    blocks = sections("api.md")["A client in Python"]
    assert len(blocks) == 2
    for block in blocks:
        *_, last = printed(block, running)
        assert last.startswith("a2 0.")
