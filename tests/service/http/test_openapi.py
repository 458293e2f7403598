"""The OpenAPI document: complete, and good enough that clients are generated from it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from retort.models.bundle import Bundle
from retort.service.http.app import create_app
from retort.service.settings import Settings
from tests.fake_bundle import overlap
from tests.service.running import ROOT, fake_service, server

# Kept between runs: a generator is not tested here, only what it makes of our document.
TOOLS = ROOT / "build" / "generators"
PYTHON_GENERATOR = "openapi-python-client==0.29.1"
TYPESCRIPT_GENERATOR = ("openapi-typescript@7.13.0", "typescript@5.9.3")

# Uses the client that was generated into the current folder.
PYTHON_PROGRAM = """
import sys
from generated import Client
from generated.api.scores import score
from generated.api.other_rerankers import v1_score, v2_rerank
from generated.models import RerankRequest, ScoreRequest, VllmScoreRequest
client = Client(sys.argv[1])
texts = ["paris is old", "the tower is tall"]
own = score.sync(client=client, body=ScoreRequest("how tall is the tower", texts, top_n=1))
other = v2_rerank.sync(client=client, body=RerankRequest("how tall is the tower", texts, top_n=1))
pairs = v1_score.sync(client=client, body=VllmScoreRequest(text_1="how tall", text_2=texts))
assert own.results[0].index == other.results[0].index
assert own.results[0].score == other.results[0].relevance_score
assert [pair.index for pair in pairs.data] == [0, 1]
wrong = score.sync(client=client, body=ScoreRequest("", texts))
assert wrong.error.param == "query"
"""

# Compiles if the types are as a user would expect them.
TYPESCRIPT_PROGRAM = """
import type { components, paths } from "./schema";
type Schemas = components["schemas"];
const body: Schemas["ScoreRequest"] = { query: "q", passages: ["a", { id: 7, text: "b" }] };
type Posted = paths["/v2/rerank"]["post"];
type Answer = Posted["responses"][200]["content"]["application/json"];
type Refusal = Posted["responses"][422]["content"]["application/json"];
export const best = (answer: Answer): number => answer.results[0].relevance_score;
export const why = (refusal: Refusal): string => refusal.message;
export const sent = JSON.stringify(body);
"""


@pytest.fixture(scope="module")
def document(fake_bundle: Bundle) -> dict[str, Any]:
    return create_app(fake_service(fake_bundle, overlap, Settings())).openapi()


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    """Every object in a document."""
    if isinstance(node, dict):
        yield node
    for child in (
        node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    ):
        yield from nodes(child)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, verbs in document["paths"].items():
        for operation in verbs.values():
            yield path, operation


def test_every_answer_has_a_schema(document: dict[str, Any]) -> None:
    for path, operation in operations(document):
        for status, answer in operation["responses"].items():
            for media_type, content in answer.get("content", {}).items():
                if media_type == "application/json":
                    assert content["schema"], (path, status)


def test_no_two_values_differ_by_case_alone(document: dict[str, Any]) -> None:
    enums = [node["enum"] for node in nodes(document) if isinstance(node.get("enum"), list)]
    assert enums
    for values in enums:
        assert len({str(value).lower() for value in values}) == len(values)


def test_references_lead_somewhere(document: dict[str, Any]) -> None:
    references = {node["$ref"] for node in nodes(document) if "$ref" in node}
    schemas = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references
    assert references <= schemas


def test_operations_have_names_of_their_own(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(names)) == len(names)
    assert "v2_rerank" in names


def test_paths_that_need_a_key_say_so(document: dict[str, Any]) -> None:
    needed = {path for path, operation in operations(document) if operation.get("security")}
    assert {"/score", "/v2/rerank", "/v1/models", "/admin/models/{name}", "/info"} <= needed
    assert not {"/livez", "/readyz", "/health", "/metrics"} & needed
    schemes = document["components"]["securitySchemes"].values()
    assert {scheme["type"] for scheme in schemes} == {"http", "apiKey"}


def installed(command: list[str]) -> None:
    """Run what installs a generator; without a network there is nothing to test."""
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=300)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"a generator could not be installed: {error}")


@pytest.mark.slow
def test_a_python_client_is_generated_and_works(document: dict[str, Any], tmp_path: Path) -> None:
    tool = TOOLS / "python" / "bin" / "openapi-python-client"
    if not tool.exists():
        installed([sys.executable, "-m", "venv", str(TOOLS / "python")])
        installed([str(TOOLS / "python" / "bin" / "pip"), "install", "-q", PYTHON_GENERATOR])
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    # Without the formatter that it would call.
    (tmp_path / "config.yaml").write_text("post_hooks: []\n")
    made = subprocess.run(
        f"{tool} generate --path openapi.json --output-path generated --meta none "
        "--config config.yaml".split(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    assert "Warning" not in made.stdout, made.stdout
    with server("--bundle", "tests/tiny-bundle") as running:
        program = [str(tool.with_name("python")), "-c", PYTHON_PROGRAM, running.url]
        used = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True)
    assert used.returncode == 0, used.stderr


@pytest.mark.slow
def test_types_for_typescript_are_generated(document: dict[str, Any], tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    tools = TOOLS / "typescript"
    if not (tools / "node_modules" / ".bin" / "tsc").exists():
        tools.mkdir(parents=True, exist_ok=True)
        installed(["npm", "install", "--prefix", str(tools), "--silent", *TYPESCRIPT_GENERATOR])
    binaries = tools / "node_modules" / ".bin"
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    (tmp_path / "program.ts").write_text(TYPESCRIPT_PROGRAM)
    for command in (
        [f"{binaries}/openapi-typescript", "openapi.json", "-o", "schema.d.ts"],
        [f"{binaries}/tsc", "--noEmit", "--strict", "program.ts"],
    ):
        made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert made.returncode == 0, made.stdout + made.stderr
