"""The gate that every request passes: the API key on the way in, the count on the way out."""

from __future__ import annotations

import hmac
from collections.abc import Container

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from retort.service.errors import Unauthorized
from retort.service.http import page
from retort.service.metrics import Metrics

# Paths that orchestrators, Prometheus and browsers get without a key.
OPEN_PATHS = frozenset(
    {"/livez", "/readyz", "/health", "/metrics", "/docs", "/openapi.json", *page.FILES}
)


class Gate:
    """ASGI middleware. `paths` have a count of their own; the rest is `other`."""

    def __init__(
        self, app: ASGIApp, *, metrics: Metrics, api_key: str | None, paths: Container[str]
    ) -> None:
        self.app = app
        self.metrics = metrics
        self.api_key = api_key.encode() if api_key else None
        self.paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer 401."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if self.api_key and scope["path"] not in OPEN_PATHS and not self._knows(scope):
                await _refuse(scope, receive, watch)
            else:
                await self.app(scope, receive, watch)
        finally:
            route = scope["path"] if scope["path"] in self.paths else "other"
            self.metrics.requests.labels(route, str(status)).inc()

    def _knows(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = token if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        assert self.api_key is not None
        return hmac.compare_digest(given.strip().encode(), self.api_key)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    error = Unauthorized(
        "the API key is missing or wrong: "
        "send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`"
    )
    response = Response(error.body(), error.status, error.headers(), "application/json")
    await response(scope, receive, send)
