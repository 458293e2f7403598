from __future__ import annotations

import httpx
import numpy as np
import pytest

from retort.models.arrays import LogitArray
from retort.models.bundle import Bundle
from retort.models.encoding import Batch
from retort.service.service import Service
from tests.fake_bundle import overlap
from tests.service.running import ask, fragile

QUERY = "how tall is the eiffel tower"
PASSAGES = ["who wrote hamlet", {"id": "b7", "text": "the eiffel tower"}, "paris", "the city"]


def test_an_answer_has_what_the_contract_says(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        reply = await client.post("/score", json={"query": QUERY, "passages": PASSAGES})
        assert reply.status_code == 200
        body = reply.json()
        assert list(body) == [
            *("id", "model", "version", "mode", "score_kind", "results", "usage", "timings_ms"),
        ]
        assert body["mode"] == "student"
        assert body["usage"]["teacher_pairs"] == 0
        assert (body["model"], body["version"]) == ("fake", "0.0.1")
        assert body["results"][0]["index"] == 1
        assert body["results"][0]["id"] == "b7"
        assert list(body["results"][0]) == ["index", "id", "score", "spread"]
        assert list(body["results"][1]) == ["index", "score", "spread"]
        scores = [result["score"] for result in body["results"]]
        assert scores == sorted(scores, reverse=True)
        usage = {k: body["usage"][k] for k in ("passages", "pairs", "windows", "truncated")}
        assert usage == {"passages": 4, "pairs": 4, "windows": 0, "truncated": 0}
        assert (body["usage"]["unknown_tokens"], body["usage"]["query_cut"]) == (0, None)
        assert set(body["timings_ms"]) == {"tokenize", "queue", "infer", "total"}
        assert body["timings_ms"]["total"] >= body["timings_ms"]["infer"]

    ask(fake_bundle, test)


@pytest.mark.parametrize(
    "told",
    ["18446744073709551616", "-" + "9" * 40, '"b7"', '"caf\\u00e9 \\"x\\""', '""', "0"],
)
def test_an_id_comes_back_as_it_came(fake_bundle: Bundle, told: str) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        body = f'{{"query":"q","passages":[{{"id":{told},"text":"paris"}}]}}'
        reply = await client.post("/score", content=body)
        assert reply.status_code == 200
        assert f'"id":{told},"score"' in reply.text

    ask(fake_bundle, test)


def test_null_is_no_id(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        body = {"query": "q", "passages": [{"id": None, "text": "paris"}]}
        assert "id" not in (await client.post("/score", json=body)).json()["results"][0]

    ask(fake_bundle, test)


def test_ties_go_by_index(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        reply = await client.post("/score", json={"query": "tower", "passages": ["paris"] * 30})
        assert [result["index"] for result in reply.json()["results"]] == list(range(30))

    ask(fake_bundle, test)


def test_options(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        body = {"query": QUERY, "passages": PASSAGES}
        full = (await client.post("/score", json=body)).json()["results"]
        cut = (await client.post("/score", json={**body, "top_n": 2})).json()["results"]
        assert cut == full[:2]
        many = (await client.post("/score", json={**body, "top_n": 99})).json()["results"]
        assert many == full
        told = (await client.post("/score", json={**body, "return_passages": True})).json()
        assert told["results"][0]["text"] == "the eiffel tower"
        raw = (await client.post("/score", json={**body, "raw_scores": True})).json()["results"]
        assert [r["index"] for r in raw] == [r["index"] for r in full]
        assert [r["spread"] for r in raw] == [r["spread"] for r in full]
        assert raw[-1]["score"] < 0

    ask(fake_bundle, test)


def test_a_pair_that_fails_gets_an_error_and_the_others_are_scored(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        passages = ["paris", {"id": 9, "text": "the 5 %"}, "france"]
        reply = await client.post("/score", json={"query": QUERY, "passages": passages})
        assert reply.status_code == 200
        body = reply.json()
        assert [result["index"] for result in body["results"]] == [0, 2]
        (error,) = body["errors"]
        assert (error["index"], error["id"], error["type"]) == (1, 9, "inference_failed")
        # What a backend says is nobody's business but the log's.
        assert "no per cent" not in error["message"]

    ask(fake_bundle, test, fragile)


def test_when_every_pair_fails_it_is_an_error(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        reply = await client.post("/score", json={"query": QUERY, "passages": ["5 %"]})
        assert reply.status_code == 500
        assert reply.json()["error"]["type"] == "inference_failed"

    ask(fake_bundle, test, fragile)


def test_scores_that_are_no_numbers_are_never_an_answer(fake_bundle: Bundle) -> None:
    started = False

    def infer(batch: Batch) -> LogitArray:
        logits = overlap(batch)
        return np.full_like(logits, np.nan) if started else logits

    async def test(client: httpx.AsyncClient, _: Service) -> None:
        nonlocal started
        started = True
        reply = await client.post("/score", json={"query": QUERY, "passages": ["paris"]})
        assert reply.status_code == 500
        assert reply.json()["error"]["type"] == "inference_failed"

    ask(fake_bundle, test, infer)
