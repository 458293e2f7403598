from __future__ import annotations

from typing import Any

import pytest

from retort.models.bundle import Bundle
from tests.service.http.aliases.telling import QUERY, TEXTS, reply_to, told

PATHS = ("/rerank", "/v1/rerank", "/reranking", "/v1/reranking")


@pytest.mark.parametrize("path", PATHS)
def test_documents_are_ranked_and_repeated(fake_bundle: Bundle, path: str) -> None:
    body = {"query": QUERY, "documents": [*TEXTS, {"text": "france"}], "top_n": 2}
    reply = told(fake_bundle, path, body)
    assert reply["model"] == "fake"
    usage = reply["usage"]
    assert (
        usage["total_tokens"] == usage["prompt_tokens"] == reply["meta"]["tokens"]["input_tokens"]
    )
    assert usage["completion_tokens"] == 0
    assert len(reply["results"]) == 2
    assert reply["results"][0]["document"] == {"text": "the eiffel tower"}
    assert set(reply["results"][0]) == {"index", "relevance_score", "document"}
    bare = told(fake_bundle, path, {**body, "return_documents": False, "top_n": 0})
    assert len(bare["results"]) == 4
    assert set(bare["results"][0]) == {"index", "relevance_score"}


def test_cohere_has_its_own_answer(fake_bundle: Bundle) -> None:
    body = {"query": QUERY, "documents": TEXTS * 3, "max_tokens_per_doc": 4096, "top_n": 1}
    reply = told(fake_bundle, "/v2/rerank", body)
    assert reply["results"] == [{"index": 1, "relevance_score": pytest.approx(0.8565, abs=1e-3)}]
    assert reply["meta"]["api_version"] == {"version": "2", "is_experimental": False}
    assert reply["meta"]["billed_units"] == {"search_units": 1}
    assert "warnings" not in reply["meta"]
    assert len(told(fake_bundle, "/v2/rerank", {**body, "top_n": 0})["results"]) == 9
    assert told(fake_bundle, "/v2/rerank", {**body, "top_n": -1}, status=422)


def test_warnings_are_where_cohere_has_them(fake_bundle: Bundle) -> None:
    body = {"query": QUERY, "documents": TEXTS, "instruction": "rank by height"}
    for path in ("/v1/rerank", "/v2/rerank"):
        reply = reply_to(fake_bundle, path, body)
        (warning,) = reply.json()["meta"]["warnings"]
        assert warning.startswith("instruction ")
        assert reply.headers["Retort-Warnings"] == f'"{warning}"'


@pytest.mark.parametrize("path", ["/v1/rerank", "/voyage/v1/rerank"])
def test_voyage_has_its_own_answer(fake_bundle: Bundle, path: str) -> None:
    body = {"query": QUERY, "documents": TEXTS, "top_k": 2, "truncation": True}
    reply = told(fake_bundle, path, body)
    assert [row["index"] for row in reply["data"]] == [1, 2]
    assert set(reply["data"][0]) == {"index", "relevance_score"}
    assert reply["usage"]["total_tokens"] > 0
    with_texts = told(fake_bundle, path, body | {"return_documents": True})
    assert with_texts["data"][0]["document"] == "the eiffel tower"


def test_infinity_repeats_documents_as_strings(fake_bundle: Bundle) -> None:
    body = {"query": QUERY, "documents": TEXTS, "return_documents": True}
    reply = told(fake_bundle, "/infinity/rerank", body)
    assert reply["results"][0]["document"] == "the eiffel tower"
    assert isinstance(reply["created"], int)
    unnamed = {"query": QUERY, "documents": TEXTS, "model": "default/not-specified"}
    bare = told(fake_bundle, "/infinity/rerank", unnamed)
    assert "document" not in bare["results"][0]
    error = told(fake_bundle, "/infinity/rerank", body | {"documents": []}, status=422)
    assert error["detail"][0]["loc"] == ["body", "documents"]
    assert error["error"]["message"] == error["detail"][0]["msg"]


def test_documents_keep_their_keys(fake_bundle: Bundle) -> None:
    document = {"id": 18446744073709551616, "text": "the eiffel tower", "meta": {"a": [1, None]}}
    body = {"query": QUERY, "documents": ["paris", document]}
    (best, _) = told(fake_bundle, "/v1/rerank", body)["results"]
    assert best["document"] == document


def test_rank_fields_say_what_is_read(fake_bundle: Bundle) -> None:
    documents = [
        {"title": "hamlet", "body": "who wrote it", "year": 1603},
        {"title": "the eiffel tower", "body": "how tall is it", "year": 1889},
    ]
    body = {"query": QUERY, "documents": documents, "rank_fields": ["title", "body", "none"]}
    both = told(fake_bundle, "/v1/rerank", body)["results"]
    joined = [f"{document['title']}\n{document['body']}" for document in documents]
    plain = told(fake_bundle, "/v1/rerank", {"query": QUERY, "documents": joined})["results"]
    assert [row["relevance_score"] for row in both] == [row["relevance_score"] for row in plain]
    error = told(fake_bundle, "/v1/rerank", body | {"rank_fields": None}, status=422)
    assert error["error"]["param"] == "documents.0"


@pytest.mark.parametrize("document", [{}, {"text": None}, {"text": ["a"]}, {"text": {"a": "b"}}])
def test_objects_without_a_text_are_refused(fake_bundle: Bundle, document: Any) -> None:
    body = {"query": QUERY, "documents": ["a", document]}
    error = told(fake_bundle, "/v2/rerank", body, status=422)["error"]
    assert error["param"].startswith("documents.1")


def test_other_keys_that_are_not_utf8_are_refused(fake_bundle: Bundle) -> None:
    body = b'{"query":"q","documents":[{"text":"a","id":"\xff"}]}'
    assert told(fake_bundle, "/v1/rerank", body, status=422)["error"]["type"] == "invalid_request"


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_a_threshold_leaves_out_the_rest(fake_bundle: Bundle, path: str) -> None:
    body = {"query": QUERY, "documents": TEXTS}
    scores = [row["relevance_score"] for row in told(fake_bundle, path, body)["results"]]
    kept = told(fake_bundle, path, body | {"score_threshold": scores[1]})["results"]
    assert [row["relevance_score"] for row in kept] == scores[:2]


@pytest.mark.parametrize(
    "limit",
    [
        {"max_tokens_per_doc": 20},
        {"truncate_prompt_tokens": 20},
        {"max_doc_length": 20},
        {"max_chunks_per_doc": 1},
    ],
)
def test_how_much_is_read_of_a_document(fake_bundle: Bundle, limit: dict[str, int]) -> None:
    long = "paris is old. " * 40 + "the eiffel tower is tall."
    body = {"query": QUERY, "documents": [long]}
    whole, part = (told(fake_bundle, "/v1/rerank", body | change) for change in ({}, limit))
    assert whole["results"][0].get("flags") is None
    assert part["results"][0]["flags"] == ["truncated"]
    assert part["results"][0]["relevance_score"] < whole["results"][0]["relevance_score"]
    assert part["warnings"]
    left = told(fake_bundle, "/v1/rerank", body | limit | {"truncation_side": "left"})
    if "max_chunks_per_doc" not in limit:
        assert left["results"][0]["relevance_score"] > part["results"][0]["relevance_score"]
    refused = told(fake_bundle, "/v1/rerank", body | limit | {"truncation": False}, status=422)
    assert refused["error"]["param"] == "documents.0"


@pytest.mark.parametrize("off", ["use_activation", "activation"])
def test_log_odds_instead_of_probabilities(fake_bundle: Bundle, off: str) -> None:
    body = {"query": QUERY, "documents": TEXTS}
    raw = told(fake_bundle, "/v1/rerank", body | {off: False})["results"]
    assert raw == told(fake_bundle, "/v1/rerank", body | {"raw_scores": True})["results"]
    assert raw[-1]["relevance_score"] < 0
