"""Bodies that were made to do harm: mutated by the thousand, and as bad as the limits allow."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Awaitable
from typing import Any

import httpx
import pytest

from retort.loadtest.experiments.chaos.floods import bodies, mutated
from retort.loadtest.experiments.chaos.setting import Setting
from retort.loadtest.options import ChaosOptions
from retort.models.arrays import LogitArray
from retort.models.bundle import Bundle
from retort.models.encoding import Batch
from retort.service.engine.scorer import REFUSED_SECONDS
from retort.service.http.bodies import most_seconds
from retort.service.service import Service
from retort.service.settings import Settings
from tests.fake_bundle import overlap
from tests.service.running import ask


def test_mutated_bodies_are_scored_or_refused_by_name(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        statuses: Counter[int] = Counter()
        for seed in range(2_000):
            path, body = mutated(random.Random(seed))
            reply = await client.post(path, content=body)
            statuses[reply.status_code] += 1
            if reply.status_code != 200:
                refusal = reply.json()
                own = {"type", "message", "param"}
                assert own <= set(refusal["error"]) or own < set(refusal), body
        assert set(statuses) <= {200, 404, 413, 422, 504}, statuses
        assert min(statuses[200], statuses[422]) > 50

    ask(fake_bundle, test)


@pytest.mark.slow
def test_the_worst_bodies_hold_nobody_up(tiny_bundle: Bundle) -> None:
    setting = Setting(tiny_bundle, ChaosOptions(), lambda _: None)
    table = asyncio.run(bodies(setting)).table
    for name, status, wait_ms, grown_mb in table.rows:
        assert status in (200, 413, 422), name
        assert isinstance(wait_ms, float)
        assert isinstance(grown_mb, float)
        # Measured 4 to 40 ms where the machine has nothing else to do.
        assert wait_ms < 400, name
        assert grown_mb < 60, name


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        (b'{"query": "q"}', 10.0),
        (b'{"timeout_ms": 2500, "query": "q"}', 2.5),
        (b'{"timeout_ms" :\n 70000}', 60.0),
        # Which counts, or whether any does, is not known without decoding.
        (b'{"timeout_ms": 1, "timeout_ms": 20000}', 20.0),
        (b'{"timeout_ms": null}', 60.0),
        (b'{"timeout_ms": 1.5e4}', 60.0),
        (b'{"timeout_ms": 1, "query": "timeout_ms"}', 60.0),
        (b'{"timeout\\u005fms": 20000}', 60.0),
        (b'{"timeout_ms": 1, "timeout\\u005fms": 20000}', 60.0),
    ],
)
def test_the_most_time_that_a_body_can_have(body: bytes, seconds: float) -> None:
    assert most_seconds(body, 10_000, 60_000) == seconds


def test_while_nothing_is_accepted_bodies_are_not_decoded(fake_bundle: Bundle) -> None:
    holding, let_go = threading.Event(), threading.Event()

    def slow(batch: Batch) -> LogitArray:
        if holding.is_set():
            let_go.wait(20)
        return overlap(batch)

    async def test(client: httpx.AsyncClient, _: Service) -> None:
        def score(passages: int, timeout_ms: int | None = None) -> Awaitable[httpx.Response]:
            body: dict[str, Any] = {"query": "tower", "passages": ["paris"] * passages}
            return client.post(
                "/score", json=body | ({"timeout_ms": timeout_ms} if timeout_ms else {})
            )

        holding.set()
        filling = asyncio.ensure_future(score(64, 20_000))
        await asyncio.sleep(0.3)
        assert (await score(1)).status_code == 429
        # Of what is wrong with them nothing is noticed, for a moment.
        assert (await client.post("/score", content=b"{")).status_code == 429
        assert (await client.post("/score", content=b'{"timeout_ms": 60000')).status_code == 422
        await asyncio.sleep(2 * REFUSED_SECONDS)
        assert (await client.post("/score", content=b"{")).status_code == 422
        let_go.set()
        assert (await filling).status_code == 200
        assert (await score(1)).status_code == 200

    ask(fake_bundle, test, infer=slow, settings=Settings(queue_tokens=512, length_step=8))
