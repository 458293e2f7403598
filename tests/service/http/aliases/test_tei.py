from __future__ import annotations

import asyncio

import httpx
import pytest

from retort.models.bundle import Bundle
from retort.service.engine.scorer import REFUSED_SECONDS
from retort.service.service import Service
from retort.service.settings import Settings
from tests.service.http.aliases.telling import QUERY, SETTINGS, TEXTS, reply_to, told
from tests.service.running import Held, ask


def test_texts_are_ranked(fake_bundle: Bundle) -> None:
    body = {"query": QUERY, "texts": TEXTS, "return_text": True, "truncate": True}
    results = told(fake_bundle, "/rerank", body)
    assert [row["index"] for row in results] == [1, 2, 0]
    assert results[0]["text"] == "the eiffel tower"
    assert set(told(fake_bundle, "/rerank", {"query": QUERY, "texts": TEXTS})[0]) == {
        "index",
        "score",
    }


def test_what_teis_clients_add_is_done(fake_bundle: Bundle) -> None:
    body = {"query": QUERY, "texts": TEXTS, "top_n": 1, "model": "BAAI/bge", "truncate": None}
    reply = reply_to(fake_bundle, "/rerank", body | {"return_documents": True})
    assert reply.json()[0]["text"] == "the eiffel tower"
    assert len(reply.json()) == 1


def test_times_and_tokens_are_in_headers(fake_bundle: Bundle) -> None:
    headers = reply_to(fake_bundle, "/rerank", {"query": QUERY, "texts": TEXTS}).headers
    assert headers["x-compute-type"] == "cpu"
    assert int(headers["x-compute-characters"]) == len(QUERY) + sum(map(len, TEXTS))
    assert int(headers["x-compute-tokens"]) > 0
    for name in ("compute", "total", "tokenization", "queue", "inference"):
        assert int(headers[f"x-{name}-time"]) >= 0


def test_without_truncation_only_what_is_not_read_whole_is_refused(fake_bundle: Bundle) -> None:
    body = {"query": QUERY, "texts": ["paris", "old " * 500], "truncate": False}
    assert len(told(fake_bundle, "/rerank", body)) == 2
    body["texts"] = ["paris", "old " * 5_000]
    error = told(fake_bundle, "/rerank", body, status=422)
    assert error["param"] == "texts.1"
    assert error["error_type"] == "Validation"
    assert error["error"] == error["message"] == error["detail"]


@pytest.mark.parametrize(
    ("direction", "order"), [("right", [0, 1]), ("Left", [1, 0]), ("LEFT", [1, 0]), ("up", None)]
)
def test_a_text_is_cut_on_the_side_that_is_asked_for(
    fake_bundle: Bundle, direction: str, order: list[int] | None
) -> None:
    filler = "old " * 200
    texts = ["eiffel tower " * 10 + filler, filler + "eiffel tower " * 10]
    body = {"query": QUERY, "texts": texts, "truncation_direction": direction}
    first = Settings(window_score="first")
    if order is None:
        error = told(fake_bundle, "/rerank", body, status=422, settings=first)
        assert error["param"] == "truncation_direction"
        return
    reply = told(fake_bundle, "/rerank", body, settings=first)
    assert [row["index"] for row in reply] == order
    assert all(row["flags"] == ["truncated"] for row in reply)


def test_pairs_are_predicted_in_their_order(fake_bundle: Bundle) -> None:
    pairs = [[QUERY, text] for text in TEXTS]
    several = told(fake_bundle, "/predict", {"inputs": pairs})
    alone = [told(fake_bundle, "/predict", {"inputs": pair}) for pair in pairs]
    assert several == alone
    ranked = told(fake_bundle, "/rerank", {"query": QUERY, "texts": TEXTS})
    scores = {row["index"]: row["score"] for row in ranked}
    assert [row[0]["score"] for row in several] == pytest.approx([scores[i] for i in range(3)])
    raw = told(fake_bundle, "/predict", {"inputs": pairs, "raw_scores": True})
    assert min(row[0]["score"] for row in raw) < 0


@pytest.mark.parametrize(
    "inputs", ["paris", [], [["a"], ["b"]], [["a", "b", "c"]], [[" ", "b"]], ["?!", "b"]]
)
def test_what_is_no_pair_is_refused(fake_bundle: Bundle, inputs: object) -> None:
    error = told(fake_bundle, "/predict", {"inputs": inputs}, status=422)
    assert error["param"] == "inputs"


@pytest.mark.parametrize(
    ("body", "settings", "status"),
    [(b"", SETTINGS, 422), (b"[", SETTINGS, 422), (b"{}", Settings(api_key="hush"), 401)],
)
def test_errors_before_a_body_is_known_have_its_shape(
    fake_bundle: Bundle, body: bytes, settings: Settings, status: int
) -> None:
    error = told(fake_bundle, "/predict", body, status=status, settings=settings)
    assert error["error"] == error["message"]


def test_pairs_have_no_highlight_and_say_so(fake_bundle: Bundle) -> None:
    body = {"inputs": [QUERY, TEXTS[0]], "highlight": True}
    assert "highlight" in reply_to(fake_bundle, "/predict", body).headers["Retort-Warnings"]
    told(fake_bundle, "/predict", body, status=422, settings=Settings(strict_aliases=True))


def test_info_has_what_its_clients_read(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        info = (await client.get("/info")).json()
        assert info["model_id"] == "fake"
        assert "reranker" in info["model_type"]
        assert info["max_client_batch_size"] == 4_000
        assert info["max_input_length"] == fake_bundle.manifest.truncation.max_length

    ask(fake_bundle, test)


@pytest.mark.parametrize("value", [True, False, 0, ""])
def test_a_misspelt_field_is_told(fake_bundle: Bundle, value: object) -> None:
    body = {"query": QUERY, "texts": TEXTS, "is_truncated": value}
    assert "is_truncated" in reply_to(fake_bundle, "/rerank", body).headers["Retort-Warnings"]
    strict = Settings(strict_aliases=True)
    error = told(fake_bundle, "/rerank", body, status=422, settings=strict)
    assert error["param"] == "is_truncated"


def test_when_overloaded_a_pair_and_a_batch_of_one_fare_alike(fake_bundle: Bundle) -> None:
    held = Held()

    async def test(client: httpx.AsyncClient, service: Service) -> None:
        held.hold()
        pair = [QUERY, "paris"]

        async def statuses() -> list[int]:
            forms = (pair, [pair])
            return [(await client.post("/predict", json={"inputs": f})).status_code for f in forms]

        first = asyncio.create_task(client.post("/predict", json={"inputs": [pair] * 6}))
        while not service.student.queue_tokens:
            await asyncio.sleep(0.01)
        assert await statuses() == [429, 429]
        held.release()
        assert (await first).status_code == 200
        # A refusal holds for a moment.
        await asyncio.sleep(REFUSED_SECONDS)
        assert await statuses() == [200, 200]

    ask(fake_bundle, test, held, Settings(queue_tokens=100, timeout_ms=2_000))
