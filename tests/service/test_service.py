from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable

import httpx

from retort.models.arrays import LogitArray
from retort.models.bundle import Bundle
from retort.models.encoding import Batch
from retort.service.service import Service
from retort.service.settings import Settings
from tests.fake_bundle import overlap
from tests.service.running import PATIENCE_SECONDS, Held, ask

QUERY = "how tall is the eiffel tower"


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
        for path in ("/readyz", "/health"):
            reply = await client.get(path)
            assert reply.status_code == 503
            assert reply.json()["status"] == "failing"
        assert (await client.get("/livez")).status_code == 200
        down = False
        # The engine tries by itself: no traffic is needed to become ready again.
        end = time.monotonic() + PATIENCE_SECONDS
        while (await client.get("/readyz")).status_code != 200:
            assert time.monotonic() < end
            await asyncio.sleep(0.02)

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
        # What still comes in is answered: a balancer may not know yet.
        reply = await client.post("/score", json={"query": QUERY, "passages": ["paris"]})
        assert reply.status_code == 200

    ask(fake_bundle, test)


def test_overload_and_deadlines(fake_bundle: Bundle) -> None:
    held = Held()

    async def test(client: httpx.AsyncClient, service: Service) -> None:
        held.hold()
        body = {"query": QUERY, "passages": ["paris"] * 4}
        first = asyncio.create_task(client.post("/score", json=body))
        while not service.student.queue_tokens:
            await asyncio.sleep(0.01)
        reply = await client.post("/score", json=body)
        assert reply.status_code == 429
        assert int(reply.headers["retry-after"]) >= 1
        assert reply.json()["error"]["type"] == "overloaded"
        late = await client.post("/score", json={"query": "q", "passages": ["p"], "timeout_ms": 20})
        assert late.status_code == 504
        assert late.json()["error"]["type"] == "deadline_passed"
        held.release()
        assert (await first).status_code == 200
        text = (await client.get("/metrics")).text
        assert 'retort_rejected_total{reason="overloaded"} 1.0' in text
        assert 'retort_rejected_total{reason="deadline_passed"} 1.0' in text

    ask(fake_bundle, test, held, Settings(queue_tokens=100))


def test_the_queue_is_seen_while_it_grows(fake_bundle: Bundle) -> None:
    held = Held()

    async def test(client: httpx.AsyncClient, _: Service) -> None:
        async def waiting() -> float:
            text = (await client.get("/metrics")).text
            return float(re.findall(r"^retort_queue_tokens (\S+)$", text, re.MULTILINE)[0])

        async def reaches(condition: Callable[[float], bool]) -> float:
            end = time.monotonic() + PATIENCE_SECONDS
            while not condition(tokens := await waiting()):
                assert time.monotonic() < end
                await asyncio.sleep(0.01)
            return tokens

        held.hold()
        body = {"query": QUERY, "passages": ["paris"] * 4}
        asking, tokens = [], await waiting()
        assert tokens == 0
        for _number in range(4):
            asking.append(asyncio.create_task(client.post("/score", json=body)))
            tokens = await reaches(lambda found, before=tokens: found > before)  # type: ignore[misc]
        held.release()
        assert {reply.status_code for reply in await asyncio.gather(*asking)} == {200}
        await reaches(lambda found: found == 0)

    ask(fake_bundle, test, held)


def test_a_request_without_a_timeout_has_the_servers(fake_bundle: Bundle) -> None:
    held = Held()

    async def test(client: httpx.AsyncClient, _: Service) -> None:
        held.hold()
        reply = await client.post("/score", json={"query": QUERY, "passages": ["paris"]})
        held.release()
        assert reply.status_code == 504
        assert reply.json()["error"]["type"] == "deadline_passed"

    ask(fake_bundle, test, held, Settings(timeout_ms=50))
