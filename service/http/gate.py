"""The gate that every request passes: who asks on the way in, what came of it on the way out.

Requests for scores go from here straight to their handlers, all others through FastAPI.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Container, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from retort.service.errors import (
    Forbidden,
    InternalError,
    ServiceError,
    Unauthorized,
    stopping,
)
from retort.service.http import page
from retort.service.http.access.budgets import Budgets
from retort.service.http.access.keys import Key, Keyring
from retort.service.http.access.record import record
from retort.service.http.access.tracing import Tracer
from retort.service.http.context import RequestContext, new_context
from retort.service.http.refusals import refuse
from retort.service.metrics import Metrics
from retort.service.settings import OpenPath, Settings

logger = logging.getLogger("retort")

# The page's, without its slash: see `App`.
BARE_PREFIX = ""
# Paths that orchestrators get without a key in any case, and those that the setting opens.
HEALTH_PATHS = frozenset({"/livez", "/readyz", "/health"})
OPENED: dict[OpenPath, frozenset[str]] = {
    "page": frozenset({BARE_PREFIX, *page.PAGE_FILES}),
    "docs": frozenset({*page.DOCS_FILES, "/openapi.json"}),
    "metrics": frozenset({"/metrics"}),
    "info": frozenset({"/info"}),
}
ADMIN_PREFIX = "/admin/"
UNFORESEEN = InternalError("an unexpected error; the server's log has it")


def open_paths(settings: Settings) -> frozenset[str]:
    """The paths that need no key."""
    return HEALTH_PATHS.union(*(OPENED[name] for name in settings.open_paths))


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
        budgets: Budgets,
        tracer: Tracer | None,
    ) -> None:
        self.app = app
        self._keyring = Keyring(settings, metrics.begin_keys)
        self._open_paths = open_paths(settings)
        self._budgets = budgets
        self._metrics = metrics
        self._handlers = handlers
        self._paths = paths
        self._draining = draining
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer 401, 403 or 429."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        path = scope["path"]
        context = new_context(scope)
        context.route = path if path in self._paths else _pattern(path)
        own = [(b"x-request-id", context.request_id.encode())]
        if context.parent is not None:
            own.append((b"traceparent", "-".join(("00", *context.parent)).encode()))
        status = 0
        key: Key | None = None

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *own]
                if self._draining.is_set():
                    # So that no request comes on a connection that is about to be closed.
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        try:
            key = self._let_in(scope, context)
            handler = self._handlers.get(path) if scope["method"] == "POST" else None
            await (handler or self.app)(scope, receive, watch)
        except ServiceError as error:
            self._metrics.rejected.labels(error.type).inc()
            await refuse(watch, scope, error)
        except asyncio.CancelledError:
            # Only a server whose time to finish is over does that.
            if not status:
                await refuse(watch, scope, stopping())
        except Exception:
            # Mostly it has been answered already, and the connection can go on.
            logger.exception("an unexpected error in request %s", context.request_id)
            if not status:
                await refuse(watch, scope, UNFORESEEN)
        finally:
            seconds = time.perf_counter() - start
            if key is not None:
                self._budgets.leave(key, context.tokens)
            self._metrics.count_request(context.route, status or 500, context.key)
            record(scope, context, status or 500, seconds)
            if self._tracer is not None:
                self._tracer.trace(context, scope["method"], status or 500, seconds)

    def _let_in(self, scope: Scope, context: RequestContext) -> Key | None:
        """The request's key, if it has one; raises `ServiceError` unless it may come in."""
        path, keyring = scope["path"], self._keyring
        key = keyring.find(scope)
        context.key = "" if key is None else key.name
        admin = path.startswith(ADMIN_PREFIX)
        if admin and not keyring.administered:
            raise Forbidden(
                "/admin is closed: start the server with the setting admin_api_key "
                "(RETORT_ADMIN_API_KEY), or with an admin key in keys_file"
            )
        if key is None:
            if admin or not (keyring.empty or path in self._open_paths):
                raise Unauthorized(
                    "the API key is missing or wrong: "
                    "send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`"
                )
            return None
        if admin and not key.admin:
            raise Forbidden("this key does not open /admin: send an admin key")
        if path in HEALTH_PATHS:
            return None
        self._budgets.enter(key)
        return key


def _pattern(path: str) -> str:
    """The route of a path that has a name in it."""
    return "/admin/models/{name}" if path.startswith("/admin/models/") else "other"
