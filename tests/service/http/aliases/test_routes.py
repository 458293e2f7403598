from __future__ import annotations

import httpx
import pytest

from retort.models.bundle import Bundle
from retort.service.http.aliases.routes import ALIASES
from retort.service.service import Service
from retort.service.settings import Settings
from tests.service.http.aliases.telling import QUERY, SETTINGS, TEXTS, told
from tests.service.running import ask, fragile

# A request of each shape that has a field `model`, without it.
NAMED = [
    ("/score", {"query": QUERY, "passages": TEXTS}),
    ("/rerank", {"query": QUERY, "documents": TEXTS}),
    ("/v1/rerank", {"query": QUERY, "documents": TEXTS}),
    ("/v1/reranking", {"query": QUERY, "documents": TEXTS}),
    ("/v2/rerank", {"query": QUERY, "documents": TEXTS}),
    ("/v1/score", {"queries": QUERY, "documents": TEXTS}),
    ("/v1/ranking", {"query": {"text": QUERY}, "passages": [{"text": text} for text in TEXTS]}),
    ("/infinity/rerank", {"query": QUERY, "documents": TEXTS}),
    ("/voyage/v1/rerank", {"query": QUERY, "documents": TEXTS}),
]


@pytest.mark.parametrize(("path", "body"), NAMED)
def test_a_model_that_is_not_there_is_404(
    fake_bundle: Bundle, path: str, body: dict[str, object]
) -> None:
    error = told(fake_bundle, path, body | {"model": "rerank-v3.5"}, status=404)
    assert error["error"]["type"] == "model_not_found"
    assert "fake" in error["error"]["message"]
    told(fake_bundle, path, body | {"model": "fake"})
    for alias in ("rerank-v3.5=fake", "*=fake"):
        told(
            fake_bundle,
            path,
            body | {"model": "rerank-v3.5"},
            settings=Settings(alias=(alias,)),
        )


def test_models_are_listed_under_every_name(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        for path in ("/v1/models", "/models"):
            listed = (await client.get(path)).json()["data"]
            assert [(entry["id"], entry["version"]) for entry in listed] == [
                ("fake", "0.0.1"),
                ("rerank-v3.5", "0.0.1"),
            ]

    ask(fake_bundle, test, settings=Settings(alias=("rerank-v3.5=fake", "*=fake")))


@pytest.mark.parametrize(
    ("path", "field"),
    [("/rerank", "texts"), ("/v1/rerank", "documents"), ("/v2/rerank", "documents")],
)
def test_bad_input_is_named(fake_bundle: Bundle, path: str, field: str) -> None:
    def param(body: dict[str, object], status: int = 422) -> object:
        error = told(fake_bundle, path, body, status=status)
        return (error if field == "texts" else error["error"])["param"]

    good: dict[str, object] = {"query": QUERY, field: TEXTS}
    assert param({**good, "query": " "}) == "query"
    assert param({**good, field: []}) == field
    assert param({**good, field: ["a", 3]}) == f"{field}.1"
    assert param({**good, field: ["a"] * (SETTINGS.max_passages + 1)}, 413) == field


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/rerank", {"query": QUERY, "texts": ["paris", "5 %"]}),
        ("/v1/rerank", {"query": QUERY, "documents": ["paris", "5 %"]}),
        ("/v2/rerank", {"query": QUERY, "documents": ["paris", "5 %"]}),
        ("/v1/score", {"text_1": QUERY, "text_2": ["paris", "5 %"]}),
    ],
)
def test_a_pair_that_fails_fails_the_request(
    fake_bundle: Bundle, path: str, body: dict[str, object]
) -> None:
    error = told(fake_bundle, path, body, infer=fragile, status=500)
    assert "document 1" in error["message"]


def test_paths_that_are_not_there_have_an_error_that_every_client_reads(
    fake_bundle: Bundle,
) -> None:
    error = told(fake_bundle, "/v3/rerank", {}, status=404)
    assert error["error"]["message"] == error["message"] == error["detail"]


def test_every_alias_is_documented(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        api = (await client.get("/openapi.json")).json()
        for route in ALIASES:
            operation = api["paths"][route.path]["post"]
            content = operation["requestBody"]["content"]["application/json"]
            assert len(content["examples"]) == len(route.shapes)
            for name, example in content["examples"].items():
                reply = await client.post(route.path, json=_without_model(example["value"]))
                assert reply.status_code == 200, (route.path, name, reply.text)
                answer = operation["responses"]["200"]["content"]["application/json"]
                shown = answer["examples"][name]["value"]
                assert _shape(shown) <= _shape(reply.json()), (route.path, name)

    ask(fake_bundle, test)


def _without_model(example: dict[str, object]) -> dict[str, object]:
    """The example names the model that ships, and this server has another."""
    return {name: value for name, value in example.items() if name != "model"}


def _shape(answer: object) -> set[str]:
    """The fields of an answer, or of its first result."""
    while isinstance(answer, list):
        answer = answer[0]
    assert isinstance(answer, dict)
    return set(answer)
