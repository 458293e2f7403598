from __future__ import annotations

from collections.abc import AsyncIterator

import httpx

from retort.models.bundle import Bundle
from retort.service.service import Service
from retort.service.settings import Settings
from tests.service.running import ask


def test_the_body_is_counted_as_it_comes(fake_bundle: Bundle) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
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
