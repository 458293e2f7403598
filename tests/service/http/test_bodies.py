"""Bodies that were made to do harm: mutated by the thousand, and as bad as the limits allow."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import httpx
import pytest

from retort.loadtest.experiments.chaos_floods import bodies, mutated
from retort.loadtest.experiments.chaos_setting import Setting
from retort.loadtest.options import ChaosOptions
from retort.models.bundle import Bundle
from retort.service.service import Service
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
