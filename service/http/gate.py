"""The gate that every request passes: the API key on the way in, the count on the way out.

Requests for scores go from here straight to their handlers, all others through FastAPI.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Container, Mapping

from pydantic import SecretStr
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from retort.service.errors import Forbidden, InternalError, ServiceError, Unauthorized, stopping
from retort.service.http import page
from retort.service.http.refusals import refuse
from retort.service.metrics import Metrics
from retort.service.settings import Settings

logger = logging.getLogger("retort")

# Paths that orchestrators, Prometheus and browsers get without a key.
OPEN_PATHS = frozenset(
    {"/livez", "/readyz", "/health", "/metrics", "/docs", "/openapi.json", *page.FILES}
)
ADMIN_PREFIX = "/admin/"
UNFORESEEN = InternalError("an unexpected error; the server's log has it")


class Gate:
    """ASGI middleware. `handlers` answer POST requests to their paths.

    `paths` have a count of their own; the rest is `other`. While `draining` is set, every answer is
    the last on its connection.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: Settings,
        metrics: Metrics,
        handlers: Mapping[str, ASGIApp],
        paths: Container[str],
        draining: asyncio.Event,
    ) -> None:
        self.app = app
        self._key = _bytes(settings.api_key)
        self._admin_key = _bytes(settings.admin_api_key)
        self._metrics = metrics
        self._handlers = handlers
        self._paths = paths
        self._draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer 401 or 403."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"]
        status = 0

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self._draining.is_set():
                    # So that no request comes on a connection that is about to be closed.
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        try:
            self._check(scope, path)
            handler = self._handlers.get(path) if scope["method"] == "POST" else None
            await (handler or self.app)(scope, receive, watch)
        except ServiceError as error:
            await refuse(watch, scope, error)
        except asyncio.CancelledError:
            # Only a server whose time to finish is over does that.
            if not status:
                await refuse(watch, scope, stopping())
        except Exception:
            # Answered already, by and large; the connection can go on.
            logger.exception("an unexpected error")
            if not status:
                await refuse(watch, scope, UNFORESEEN)
        finally:
            route = path if path in self._paths else _pattern(path)
            self._metrics.count_request(route, status or 500)

    def _check(self, scope: Scope, path: str) -> None:
        """Raise `Unauthorized` or `Forbidden` unless the request has the key that it needs."""
        admin = path.startswith(ADMIN_PREFIX)
        if admin and self._admin_key is None:
            raise Forbidden(
                "/admin is closed: start the server with the setting admin_api_key "
                "(RETORT_ADMIN_API_KEY)"
            )
        if not admin and (self._key is None or path in OPEN_PATHS):
            return
        given = _given(scope)
        if self._admin_key is not None and hmac.compare_digest(given, self._admin_key):
            scope["retort.client"] = "key:admin"
        elif self._key is None or not hmac.compare_digest(given, self._key):
            raise Unauthorized(
                "the API key is missing or wrong: "
                "send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`"
            )
        elif admin:
            raise Forbidden("this key does not open /admin: send the one of admin_api_key")


def _given(scope: Scope) -> bytes:
    """The key that a request has; bytes, since a header says nothing about its encoding."""
    found = b""
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, token = value.partition(b" ")
            if scheme.lower() == b"bearer":
                return bytes(token.strip())
        elif name == b"x-api-key":
            found = value.strip()
    return found


def _bytes(secret: SecretStr | None) -> bytes | None:
    return secret.get_secret_value().encode() if secret else None


def _pattern(path: str) -> str:
    """The route of a path that has a name in it."""
    return "/admin/models/{name}" if path.startswith("/admin/models/") else "other"
