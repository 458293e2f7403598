from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import numpy as np
import pytest

from models.bundle import Bundle
from models.encoding import Batch
from service.backends.base import LogitArray
from service.backends.fake import InferFunction
from service.settings import Settings
from service.state import Service
from tests.fake_bundle import make_encoder, overlap
from tests.service.running import in_process

QUERY = "how tall is the eiffel tower"
PASSAGES = ["who wrote hamlet", {"id": "b7", "text": "the eiffel tower"}, "paris", "the city"]
RIVER = make_encoder().encode_passages(["river"])[0].ids[0]

Test = Callable[[httpx.AsyncClient, Service], Awaitable[None]]


def ask(
    bundle: Bundle, test: Test, infer: InferFunction = overlap, settings: Settings | None = None
) -> None:
    async def main() -> None:
        async with in_process(bundle, infer, settings or Settings()) as (client, service):
            await test(client, service)

    asyncio.run(main())


def fragile(batch: Batch) -> LogitArray:
    """Fails for every batch with a river in it."""
    if (batch.input_ids == RIVER).any():
        raise RuntimeError("no rivers")
    return overlap(batch)


def test_an_answer_has_what_the_contract_says(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        reply = await client.post("/score", json={"query": QUERY, "passages": PASSAGES})
        assert reply.status_code == 200
        body = reply.json()
        assert list(body) == ["id", "model", "version", "results", "usage", "timings_ms"]
        assert (body["model"], body["version"]) == ("fake", "0.0.1")
        assert body["results"][0]["index"] == 1
        assert body["results"][0]["id"] == "b7"
        assert list(body["results"][0]) == ["index", "id", "score", "spread"]
        assert list(body["results"][1]) == ["index", "score", "spread"]
        scores = [result["score"] for result in body["results"]]
        assert scores == sorted(scores, reverse=True)
        assert body["usage"]["pairs"] == 4
        assert body["usage"]["truncated"] == 0
        assert set(body["timings_ms"]) == {"tokenize", "queue", "infer", "total"}
        assert body["timings_ms"]["total"] >= body["timings_ms"]["infer"]

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
        assert [result["text"] for result in told["results"]][0] == "the eiffel tower"
        raw = (await client.post("/score", json={**body, "raw_scores": True})).json()["results"]
        assert [r["index"] for r in raw] == [r["index"] for r in full]
        assert [r["spread"] for r in raw] == [r["spread"] for r in full]
        assert raw[-1]["score"] < 0

    ask(fake_bundle, test)


def test_a_pair_that_fails_is_told_and_the_others_are_scored(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        passages = ["paris", {"id": 9, "text": "the river"}, "france"]
        reply = await client.post("/score", json={"query": QUERY, "passages": passages})
        assert reply.status_code == 200
        body = reply.json()
        assert [result["index"] for result in body["results"]] == [0, 2]
        (error,) = body["errors"]
        assert (error["index"], error["id"], error["type"]) == (1, 9, "inference_failed")
        assert "no rivers" in error["message"]

    ask(fake_bundle, test, fragile)


def test_when_every_pair_fails_it_is_an_error(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        reply = await client.post("/score", json={"query": QUERY, "passages": ["a river"]})
        assert reply.status_code == 500
        assert reply.json()["error"]["type"] == "inference_failed"

    ask(fake_bundle, test, fragile)


def test_readiness_follows_the_last_forward_pass(fake_bundle: Bundle) -> None:
    down = False

    def infer(batch: Batch) -> LogitArray:
        if down:
            raise RuntimeError("out of memory")
        return overlap(batch)

    async def test(client: httpx.AsyncClient, _: Service) -> None:
        nonlocal down
        assert (await client.get("/readyz")).json() == {"status": "ready"}
        down = True
        await client.post("/score", json={"query": QUERY, "passages": ["paris"]})
        reply = await client.get("/readyz")
        assert reply.status_code == 503
        assert reply.json()["status"] == "failing"
        assert (await client.get("/livez")).status_code == 200
        down = False
        # It asks the backend itself: no traffic is needed to become ready again.
        assert (await client.get("/readyz")).status_code == 200

    ask(fake_bundle, test, infer)


def test_a_backend_with_other_scores_is_never_ready(fake_bundle: Bundle) -> None:
    def wrong(batch: Batch) -> LogitArray:
        return -overlap(batch)

    async def test(client: httpx.AsyncClient, service: Service) -> None:
        reply = await client.get("/readyz")
        assert reply.status_code == 503
        assert reply.json()["status"] == "failed"
        assert "does not reproduce the golden scores" in reply.json()["reason"]
        reply = await client.post("/score", json={"query": QUERY, "passages": ["paris"]})
        assert reply.status_code == 503
        assert reply.json()["error"]["type"] == "not_ready"
        assert reply.headers["retry-after"] == "1"

    ask(fake_bundle, test, wrong)


def test_while_draining_it_is_not_ready(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, service: Service) -> None:
        service.health.drain()
        assert (await client.get("/readyz")).json()["status"] == "draining"
        reply = await client.post("/score", json={"query": QUERY, "passages": ["paris"]})
        assert reply.status_code == 503

    ask(fake_bundle, test)


def test_the_body_is_counted_as_it_comes(fake_bundle: Bundle) -> None:
    read = 0

    async def endless() -> object:
        nonlocal read
        while True:
            read += 1000
            yield b"x" * 1000

    async def test(client: httpx.AsyncClient, _: Service) -> None:
        reply = await client.post("/score", content=endless())
        assert reply.status_code == 413
        assert reply.json()["error"]["type"] == "too_large"
        assert read <= 12_000

    ask(fake_bundle, test, settings=Settings(max_body_bytes=10_000))


def test_too_many_passages(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        reply = await client.post("/score", json={"query": "q", "passages": ["p"] * 11})
        assert reply.status_code == 413
        assert reply.json()["error"]["param"] == "passages"

    ask(fake_bundle, test, settings=Settings(max_passages=10))


def test_overload_and_deadlines(fake_bundle: Bundle) -> None:
    import threading

    go = threading.Event()
    started = False

    def slow(batch: Batch) -> LogitArray:
        if started:
            assert go.wait(60)
        return overlap(batch)

    async def test(client: httpx.AsyncClient, service: Service) -> None:
        nonlocal started
        started = True
        body = {"query": QUERY, "passages": ["paris"] * 4}
        first = asyncio.create_task(client.post("/score", json=body))
        assert service._scorer is not None
        while not service._scorer.queue_tokens:
            await asyncio.sleep(0.01)
        reply = await client.post("/score", json=body)
        assert reply.status_code == 429
        assert int(reply.headers["retry-after"]) >= 1
        assert reply.json()["error"]["type"] == "overloaded"
        late = await client.post("/score", json={"query": "q", "passages": ["p"], "timeout_ms": 20})
        assert late.status_code == 504
        assert late.json()["error"]["type"] == "deadline_passed"
        go.set()
        assert (await first).status_code == 200
        text = (await client.get("/metrics")).text
        assert 'retort_rejected_total{reason="overloaded"} 1.0' in text
        assert 'retort_rejected_total{reason="deadline_passed"} 1.0' in text

    ask(fake_bundle, test, slow, Settings(queue_tokens=80))


def test_an_unexpected_error_keeps_the_shape_and_its_secrets(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, service: Service) -> None:
        def broken(*_: object) -> None:
            raise RuntimeError("/etc/secret")

        service.score = broken  # type: ignore[method-assign, assignment]
        reply = await client.post("/score", json={"query": QUERY, "passages": ["paris"]})
        assert reply.status_code == 500
        assert reply.json()["error"]["type"] == "internal"
        assert "secret" not in reply.text

    ask(fake_bundle, test)


def test_info_docs_and_unknown_routes(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        info = (await client.get("/info")).json()
        assert info["model"]["name"] == "fake"
        assert info["backend"]["backend"] == "fake"
        assert info["backend"]["golden"]["swapped"] == 0
        assert info["limits"]["max_passages"] == 4000
        page = (await client.get("/docs")).text
        assert "openapi.json" in page
        assert "http://" not in page
        assert "https://" not in page
        api = (await client.get("/openapi.json")).json()
        schema = api["paths"]["/score"]["post"]["requestBody"]["content"]["application/json"]
        assert schema["schema"]["required"] == ["query", "passages"]
        assert "$ref" not in str(schema)
        for method, path, status in (("GET", "/nope", 404), ("GET", "/score", 405)):
            reply = await client.request(method, path)
            assert reply.status_code == status
            assert set(reply.json()["error"]) == {"type", "message", "param"}

    ask(fake_bundle, test)


def test_metrics_count_by_known_routes_only(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        await client.post("/score", json={"query": QUERY, "passages": PASSAGES})
        await client.post("/score", json={"query": QUERY, "passages": ["word " * 500]})
        for number in range(3):
            await client.get(f"/scan/{number}")
        text = (await client.get("/metrics")).text
        assert 'retort_requests_total{route="/score",status="200"} 2.0' in text
        assert 'retort_requests_total{route="other",status="404"} 3.0' in text
        assert "retort_truncated_pairs_total 1.0" in text
        assert 'retort_pair_seconds_count{role="student"} 5.0' in text
        assert 'retort_model_info{backend="fake"' in text
        assert 'retort_stage_seconds_count{stage="total"} 2.0' in text

    ask(fake_bundle, test)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Basic hush"}, 401),
        ({"X-API-Key": "wröng".encode().decode("latin-1")}, 401),
        ({"Authorization": "Bearer hush"}, 200),
        ({"X-API-Key": "hush"}, 200),
    ],
)
def test_the_api_key(fake_bundle: Bundle, headers: dict[str, str], status: int) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        sent = {name: value.encode("latin-1") for name, value in headers.items()}
        body = {"query": QUERY, "passages": ["paris"]}
        reply = await client.post("/score", json=body, headers=sent)
        assert reply.status_code == status
        if status == 401:
            assert reply.json()["error"]["type"] == "unauthorized"
            assert reply.headers["www-authenticate"] == "Bearer"
        assert (await client.get("/info", headers=sent)).status_code == status
        for path in ("/livez", "/readyz", "/health", "/metrics", "/docs"):
            assert (await client.get(path)).status_code == 200

    ask(fake_bundle, test, settings=Settings(api_key="hush"))  # type: ignore[arg-type]


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
        assert "finite" in reply.json()["error"]["message"]

    ask(fake_bundle, test, infer)
