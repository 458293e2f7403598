"""Asking a server over a function, in the shape of some other reranker."""

from __future__ import annotations

from typing import Any

import httpx

from retort.models.bundle import Bundle
from retort.service.settings import Settings
from tests.fake_bundle import InferFunction, overlap
from tests.service.running import ask

QUERY = "how tall is the eiffel tower"
TEXTS = ["who wrote hamlet", "the eiffel tower", "paris"]
SETTINGS = Settings(max_passages=10)


def reply_to(
    bundle: Bundle,
    path: str,
    body: Any,
    *,
    infer: InferFunction = overlap,
    settings: Settings = SETTINGS,
) -> httpx.Response:
    """The server's answer to one request; `body` is JSON, or bytes as they are sent."""
    replies: list[httpx.Response] = []

    async def test(client: httpx.AsyncClient, _: object) -> None:
        sent = {"content": body} if isinstance(body, bytes) else {"json": body}
        replies.append(await client.post(path, **sent))

    ask(bundle, test, infer, settings)
    return replies[0]


def told(
    bundle: Bundle,
    path: str,
    body: Any,
    *,
    infer: InferFunction = overlap,
    status: int = 200,
    settings: Settings = SETTINGS,
) -> Any:
    """The body of that answer, whose status must be `status`."""
    reply = reply_to(bundle, path, body, infer=infer, settings=settings)
    assert reply.status_code == status, reply.text
    return reply.json()
