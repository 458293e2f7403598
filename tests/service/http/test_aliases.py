from __future__ import annotations

from typing import Any

import httpx
import pytest

from retort.models.bundle import Bundle
from retort.service.settings import Settings
from tests.fake_bundle import InferFunction, overlap
from tests.service.running import ask, fragile

QUERY = "how tall is the eiffel tower"
TEXTS = ["who wrote hamlet", "the eiffel tower", "paris"]
SETTINGS = Settings(max_passages=10)


def told(
    bundle: Bundle,
    path: str,
    body: dict[str, Any],
    *,
    infer: InferFunction = overlap,
    status: int = 200,
    settings: Settings = SETTINGS,
) -> Any:
    replies: list[Any] = []

    async def test(client: httpx.AsyncClient, _: object) -> None:
        reply = await client.post(path, json=body)
        assert reply.status_code == status, reply.text
        replies.append(reply.json())

    ask(bundle, test, infer, settings)
    return replies[0]


def test_as_text_embeddings_inference(fake_bundle: Bundle) -> None:
    body = {"query": QUERY, "texts": TEXTS, "return_text": True, "truncate": True}
    results = told(fake_bundle, "/rerank", body)
    assert results[0]["index"] == 1
    assert results[0]["text"] == "the eiffel tower"
    assert set(told(fake_bundle, "/rerank", {"query": QUERY, "texts": TEXTS})[0]) == {
        "index",
        "score",
    }


def test_tei_without_truncation_refuses_only_what_is_not_read_whole(fake_bundle: Bundle) -> None:
    body = {"query": QUERY, "texts": ["paris", "old " * 500], "truncate": False}
    assert len(told(fake_bundle, "/rerank", body)) == 2
    body["texts"] = ["paris", "old " * 5_000]
    error = told(fake_bundle, "/rerank", body, status=422)["error"]
    assert error["param"] == "texts.1"


@pytest.mark.parametrize(
    ("direction", "order"), [("right", [0, 1]), ("Left", [1, 0]), ("LEFT", None)]
)
def test_tei_cuts_on_the_side_that_it_is_told(
    fake_bundle: Bundle, direction: str, order: list[int] | None
) -> None:
    filler = "old " * 200
    texts = ["eiffel tower " * 10 + filler, filler + "eiffel tower " * 10]
    body = {"query": QUERY, "texts": texts, "truncation_direction": direction}
    first = Settings(window_score="first")
    if order is None:
        told(fake_bundle, "/rerank", body, status=422, settings=first)
        return
    reply = told(fake_bundle, "/rerank", body, settings=first)
    assert [row["index"] for row in reply] == order
    assert all(row["flags"] == ["truncated"] for row in reply)


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank"])
def test_as_jina(fake_bundle: Bundle, path: str) -> None:
    body = {"model": "any", "query": QUERY, "documents": [*TEXTS, {"text": "france"}], "top_n": 2}
    reply = told(fake_bundle, path, body)
    assert reply["model"] == "fake"
    assert reply["usage"]["total_tokens"] > 0
    assert len(reply["results"]) == 2
    assert reply["results"][0]["document"] == {"text": "the eiffel tower"}
    assert set(reply["results"][0]) == {"index", "relevance_score", "document"}
    bare = told(fake_bundle, path, {**body, "return_documents": False, "top_n": 0})
    assert len(bare["results"]) == 4
    assert set(bare["results"][0]) == {"index", "relevance_score"}


def test_as_cohere(fake_bundle: Bundle) -> None:
    body = {"model": "rerank-v3.5", "query": QUERY, "documents": TEXTS, "max_tokens_per_doc": 4096}
    reply = told(fake_bundle, "/v2/rerank", body)
    assert reply["results"][0]["index"] == 1
    assert set(reply["results"][0]) == {"index", "relevance_score"}
    assert reply["meta"]["api_version"] == {"version": "2", "is_experimental": False}
    assert told(fake_bundle, "/v2/rerank", {**body, "top_n": 0}, status=422)


@pytest.mark.parametrize(
    "sides",
    [
        {"text_1": QUERY, "text_2": TEXTS},
        {"queries": QUERY, "documents": TEXTS},
        {"text_1": [QUERY], "text_2": TEXTS},
        {"text_1": [QUERY] * 3, "text_2": TEXTS},
    ],
)
def test_as_vllm(fake_bundle: Bundle, sides: dict[str, Any]) -> None:
    reply = told(fake_bundle, "/v1/score", {"model": "any", **sides})
    assert reply["object"] == "list"
    assert [row["index"] for row in reply["data"]] == [0, 1, 2]
    assert max(reply["data"], key=lambda row: row["score"])["index"] == 1
    raw = told(fake_bundle, "/v1/score", {**sides, "use_activation": False})
    assert min(row["score"] for row in raw["data"]) < 0


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text_1": QUERY},
        {"text_1": QUERY, "documents": TEXTS},
        {"text_1": [QUERY] * 2, "text_2": TEXTS},
        {"text_1": "", "text_2": TEXTS},
        {"text_1": QUERY, "text_2": TEXTS, "queries": QUERY, "documents": TEXTS},
        {"text_1": QUERY, "text_2": []},
    ],
)
def test_vllm_forms_that_make_no_sense(fake_bundle: Bundle, body: dict[str, Any]) -> None:
    error = told(fake_bundle, "/v1/score", body, status=422)["error"]
    assert error["type"] == "invalid_request"


@pytest.mark.parametrize(
    ("path", "field"),
    [("/rerank", "texts"), ("/v1/rerank", "documents"), ("/v2/rerank", "documents")],
)
def test_bad_input(fake_bundle: Bundle, path: str, field: str) -> None:
    good = {"query": QUERY, field: TEXTS}
    assert told(fake_bundle, path, {**good, "query": " "}, status=422)["error"]["param"] == "query"
    assert told(fake_bundle, path, {**good, field: []}, status=422)["error"]["param"] == field
    wrong = told(fake_bundle, path, {**good, field: ["a", 3]}, status=422)["error"]["param"]
    assert wrong == f"{field}.1"
    assert told(fake_bundle, path, {**good, "colour": 1}, status=422)["error"]["param"] == "colour"
    assert (
        told(fake_bundle, path, {**good, field: ["a"] * 11}, status=413)["error"]["param"] == field
    )


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
    fake_bundle: Bundle, path: str, body: dict[str, Any]
) -> None:
    error = told(fake_bundle, path, body, infer=fragile, status=500)["error"]
    assert "document 1" in error["message"]
