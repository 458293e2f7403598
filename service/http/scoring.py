"""The scoring routes: `POST /score` and its aliases, as plain ASGI.

A server answers thousands of them per second, so a request goes from the gate straight to its
handler: FastAPI's routing and middleware would cost more than all the rest. FastAPI knows the same
routes, for the OpenAPI document and for requests of other methods.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Generic, NamedTuple

import msgspec
from fastapi import FastAPI
from fastapi.responses import Response
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from retort.service.errors import ServiceError
from retort.service.http.bodies import Body, Decoder, decode, most_seconds, read_body
from retort.service.http.edge.content import check_site, told
from retort.service.http.refusals import refuse, respond
from retort.service.http.schemas import error_responses, request_body
from retort.service.modes import Caller
from retort.service.service import Service, client_number, gone

# Most answers are there before a watch for the client's leaving would be worth its cost.
WATCH_AFTER_SECONDS = 0.01


class Reply(NamedTuple):
    """An answer's body, and headers of its own."""

    body: bytes
    headers: Mapping[str, str] = MappingProxyType({})


# From the service, the caller, the body and when the request came, to the answer.
Answer = Callable[[Service, Caller, Body, float], Awaitable[Reply]]


@dataclass(frozen=True)
class ScoringRoute(Generic[Body]):
    """A route that scores; `tag` and `summary` are for the documentation."""

    path: str
    summary: str
    shape: type[Body]
    answer: Answer[Body]
    tag: str | None = None
    example: Any = None
    responses: dict[int | str, dict[str, Any]] | None = None
    # For a route of several shapes, of which `shape` is the documented one.
    decoder: Decoder[Body] | None = None

    def handler(self, service: Service) -> Handler:
        """What handles its requests."""
        return Handler(service, self)


class Handler:
    """Reads a request's body and answers it, also when it cannot be served.

    What nobody foresaw is for the gate.
    """

    def __init__(self, service: Service, route: ScoringRoute[Any]) -> None:
        self._service = service
        self._route = route
        self._decoder: Decoder[Any] = route.decoder or msgspec.json.Decoder(route.shape)
        self._total = service.metrics.stages["total"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        start = time.perf_counter()
        try:
            reply = await self._answer(scope, receive, start)
        except ServiceError as error:
            self._service.metrics.rejected.labels(error.type).inc()
            await refuse(send, scope, error)
            return
        self._total.observe(time.perf_counter() - start)
        await respond(send, 200, reply.body, reply.headers)

    async def _answer(self, scope: Scope, receive: Receive, start: float) -> Reply:
        service, settings = self._service, self._service.settings
        found = told(scope["headers"])
        check_site(found)
        raw = await read_body(scope, receive, found, settings.max_body_bytes)
        client = client_number(_who(scope))
        service.check_room(
            client, partial(most_seconds, raw, settings.timeout_ms, settings.max_timeout_ms)
        )
        asked = await decode(self._decoder, raw, settings.max_passages)
        loop = asyncio.get_running_loop()
        left: asyncio.Future[None] = loop.create_future()
        watch: list[asyncio.Task[None]] = []

        def begin() -> None:
            watch.append(asyncio.ensure_future(gone(receive, left)))

        timer = loop.call_later(WATCH_AFTER_SECONDS, begin)
        try:
            caller = Caller(client, left)
            return await self._route.answer(service, caller, asked, start)
        finally:
            timer.cancel()
            for task in watch:
                task.cancel()
            left.cancel()


class Handed(Response):
    """A response that a handler writes."""

    def __init__(self, handler: Handler) -> None:
        super().__init__()
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let it write."""
        await self._handler(scope, receive, send)


def add_scoring(app: FastAPI, service: Service, route: ScoringRoute[Any]) -> Handler:
    """Add a route to `app`; returns its handler, for whoever knows the way without `app`."""
    handler = route.handler(service)

    async def answer(_: Request) -> Response:
        return Handed(handler)

    app.add_api_route(
        route.path,
        answer,
        methods=["POST"],
        name=route.path.strip("/").replace("/", "_"),
        tags=[route.tag] if route.tag else None,
        summary=route.summary,
        responses={**(route.responses or {}), **error_responses()},
        openapi_extra=request_body(route.shape, route.example),
    )
    return handler


def _who(scope: Scope) -> str:
    """Whose requests share: the admin key's, else those of an address.

    A single API key tells nobody apart.
    """
    known: str | None = scope.get("retort.client")
    if known is not None:
        return known
    client = scope.get("client")
    return client[0] if client else ""
