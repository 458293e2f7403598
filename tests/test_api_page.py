"""docs/api.md, held against the code: its routes, fields and errors, and that its commands work."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator

import msgspec
import pytest

from retort.models.bundle import find_bundle, read_bundle
from retort.service import errors
from retort.service.errors import ClientGone, ServiceError
from retort.service.http.aliases.lenient import AliasRequest
from retort.service.http.aliases.nim import NimRequest
from retort.service.http.aliases.rerank import RerankRequest
from retort.service.http.aliases.routes import ALIASES, SCORE
from retort.service.http.aliases.tei import PredictRequest, TeiRerankRequest
from retort.service.http.aliases.vllm import VllmScoreRequest
from retort.service.http.app import create_app
from retort.service.http.schemas import ScoreRequest
from retort.service.settings import Settings
from tests.fake_bundle import overlap
from tests.service.running import ROOT, fake_service, server

PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
CURLS = re.findall(r"```sh\ncurl -s localhost:8080(\S+) (-H .*?)\n```", PAGE, re.DOTALL)
RERANK_HEADING = "### Jina, Cohere, vLLM, infinity, Voyage, llama.cpp and others"
RESULTS = ("results", "data", "rankings")
# The tables of fields: under which heading, at which place, and whose.
TABLES: list[tuple[str, int, type[msgspec.Struct]]] = [
    ("## `POST /score`", 0, ScoreRequest),
    (RERANK_HEADING, 0, RerankRequest),
    ("### vLLM's pairs", 0, VllmScoreRequest),
    ("### text-embeddings-inference", 0, TeiRerankRequest),
    ("### text-embeddings-inference", 1, PredictRequest),
    ("### NVIDIA NIM", 0, NimRequest),
]


def section(heading: str) -> str:
    """What is under a heading, up to the next one of its level or above."""
    level = heading.partition(" ")[0]
    text = PAGE.partition(f"\n{heading}\n")[2]
    assert text, heading
    return re.split(rf"^#{{1,{len(level)}}} ", text, maxsplit=1, flags=re.MULTILINE)[0]


def fields_of_table(heading: str, place: int) -> set[str]:
    tables = re.findall(r"^\| field \|.*\n\|---.*\n((?:\|.*\n)+)", section(heading), re.MULTILINE)
    cells = re.findall(r"^\| (.+?) \|", tables[place], re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


def names(shape: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(shape)}


def test_the_routes_are_those_of_the_server() -> None:
    stated = set(re.findall(r"`(?:GET|POST) (/\S*)`", PAGE.partition("\n## ")[0]))
    service = fake_service(read_bundle(find_bundle("retort-small")), overlap, Settings())
    routes = create_app(service).openapi()["paths"]
    assert stated == routes.keys() | {"/", "/docs", "/openapi.json"}


@pytest.mark.parametrize(("heading", "place", "shape"), TABLES)
def test_the_fields_are_those_of_the_shape(
    heading: str, place: int, shape: type[msgspec.Struct]
) -> None:
    stated = fields_of_table(heading, place)
    # Told once for all shapes, or in the table that the text refers to.
    elsewhere = names(AliasRequest) if issubclass(shape, AliasRequest) else set()
    if shape is VllmScoreRequest:
        elsewhere |= fields_of_table(RERANK_HEADING, 0)
    if shape is PredictRequest:
        elsewhere |= fields_of_table(heading, 0)
    assert stated <= names(shape)
    assert names(shape) - stated <= elsewhere


def test_what_is_taken_and_what_is_not_done_is_stated() -> None:
    text = section("## The shapes of other rerankers")
    stated = set(re.findall(r"`(\w+)`", text))
    assert AliasRequest.inert <= stated
    assert set(AliasRequest.undone) - {"chat_template_kwargs"} <= stated


def kinds(kind: type[ServiceError] = ServiceError) -> Iterator[type[ServiceError]]:
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from kinds(child)


def test_the_errors_are_those_of_the_server() -> None:
    rows = re.findall(r"^\| (\d{3}) \| `(\w+)` \|", section("## Errors"), re.MULTILINE)
    expected = {(str(kind.status), kind.type) for kind in kinds() if kind is not ClientGone}
    assert set(rows) == expected
    assert len(rows) == len(expected)


def test_every_shape_has_a_command() -> None:
    shown = {path for path, _ in CURLS}
    paths = {route.path for route in (SCORE, *ALIASES)}
    # These take the same body as the ones that are shown.
    same = {"/reranking", "/v1/reranking", "/infinity/rerank"}
    assert shown == paths - same


@pytest.mark.slow
def test_the_commands_work() -> None:
    with server("--bundle", "retort-small") as running:
        for path, arguments in CURLS:
            done = subprocess.run(
                f"curl -s --fail-with-body {running.url}{path} {arguments}",
                shell=True,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stdout
            answer = json.loads(done.stdout)
            results = answer if isinstance(answer, list) else None
            if results is None:
                results = next(
                    answer[key] for key in ("results", "data", "rankings") if key in answer
                )
            if path not in ("/v1/score", "/predict"):
                assert results[0]["index"] == 1
