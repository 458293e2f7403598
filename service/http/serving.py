"""Serving HTTP: how uvicorn runs the app, and how it stops without losing what it accepted."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from retort.service.http.app import create_app
from retort.service.http.edge.connections import Connections
from retort.service.http.edge.door import Door
from retort.service.http.edge.forwarded import Forwarded
from retort.service.http.edge.protocol import EdgeProtocol
from retort.service.listeners import tls_context
from retort.service.service import Service
from retort.service.settings import Settings

# A request that came with its connection is read within this time.
LAST_LOOK_SECONDS = 0.2


class PatientServer(uvicorn.Server):
    """A server that, when it stops, first answers what is on connections it has just accepted.

    Raises `StartError` if the certificate cannot be used.
    """

    def __init__(self, service: Service, settings: Settings) -> None:
        self._connections = Connections(settings, service.metrics, service.health.draining)
        super().__init__(_config(service, settings, self._connections))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and look after connections."""
        await super().startup(sockets)
        self._watching = asyncio.create_task(self._connections.watch())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, answer, close what is idle, and wait for what is not."""
        for server in self.servers:
            server.close()
        await asyncio.sleep(LAST_LOOK_SECONDS)
        await super().shutdown(sockets)
        self._watching.cancel()


def _config(service: Service, settings: Settings, connections: Connections) -> uvicorn.Config:
    """How HTTP is served."""
    context = None
    if settings.tls_cert is not None and settings.tls_key is not None:
        context = tls_context(settings.tls_cert, settings.tls_key)

    def protocol(
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> asyncio.Protocol:
        inner = EdgeProtocol(config, server_state, app_state, _loop, connections=connections)
        return inner if context is None else Door(inner, context, connections)

    app: ASGIApp = create_app(service)
    if settings.trusted_proxies:
        app = Forwarded(app, connections)
    return uvicorn.Config(
        app,
        http=protocol,  # type: ignore[arg-type]
        ws="none",
        # Only where asked for: it would look at every request.
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        access_log=False,
        log_config=None,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=settings.drain_seconds,
    )
