"""The scoring routes: `POST /score` and its aliases, as plain ASGI.

A server answers thousands of them per second, so a request goes from the gate straight to its
handler: FastAPI's routing and middleware would cost more than all the rest. FastAPI knows the same
routes, for the OpenAPI document and for requests of other methods.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial

from fastapi import FastAPI
from fastapi.responses import Response
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from retort.service.errors import ServiceError
from retort.service.http.access.keys import DEFAULT_NAME
from retort.service.http.bodies import decode, most_seconds, read_body
from retort.service.http.context import RequestContext, context_of
from retort.service.http.edge.content import check_site, told
from retort.service.http.openapi import request_body, responses
from retort.service.http.refusals import refuse, respond
from retort.service.http.shapes import Reply, ScoringRoute
from retort.service.modes import Answer, Caller
from retort.service.service import Service, client_number, gone

# Most answers are there before a watch for the client's leaving would be worth its cost.
WATCH_AFTER_SECONDS = 0.01


class Handler:
    """Reads a request's body and answers it, also when it cannot be served.

    What nobody foresaw is for the gate.
    """

    def __init__(self, service: Service, route: ScoringRoute) -> None:
        self._service = service
        self._route = route
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
        _learn(context_of(scope), reply.answer)
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
        shape, asked = await decode(self._route, raw, settings.max_passages, context_of(scope))
        loop = asyncio.get_running_loop()
        left: asyncio.Future[None] = loop.create_future()
        watch: list[asyncio.Task[None]] = []

        def begin() -> None:
            watch.append(asyncio.ensure_future(gone(receive, left)))

        timer = loop.call_later(WATCH_AFTER_SECONDS, begin)
        try:
            caller = Caller(client, left, context_of(scope).request_id)
            return await shape.answer(service, caller, asked, start)
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


def add_scoring(app: FastAPI, service: Service, route: ScoringRoute) -> Handler:
    """Add a route to `app`; returns its handler, for whoever knows the way without `app`."""
    handler = Handler(service, route)

    async def answer(_: Request) -> Response:
        return Handed(handler)

    app.add_api_route(
        route.path,
        answer,
        methods=["POST"],
        name=route.path.strip("/").replace("/", "_"),
        summary=route.summary,
        description=route.description or "",
        tags=[route.tag],
        responses=responses(route),
        openapi_extra=request_body(
            {shape.name: shape.request for shape in route.shapes},
            {shape.name: shape.example for shape in route.shapes},
        ),
    )
    return handler


def _who(scope: Scope) -> str:
    """Whose requests share: those of a key with a name of its own, else those of an address.

    A single API key tells nobody apart.
    """
    key = context_of(scope).key
    if key not in ("", DEFAULT_NAME):
        return f"key:{key}"
    client = scope.get("client")
    return client[0] if client else ""


def _learn(context: RequestContext, answer: Answer) -> None:
    """Note what the log and the traces tell of an answer."""
    outcome = answer.outcome
    context.model = answer.manifest.name
    context.passages, context.pairs = len(outcome.score), outcome.pairs
    context.tokens, context.stages = outcome.tokens, outcome.seconds
