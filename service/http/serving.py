"""Serving HTTP: how uvicorn runs the app, and how it stops without losing what it accepted."""

from __future__ import annotations

import asyncio
import socket

import uvicorn

from retort.service.http.app import create_app
from retort.service.service import Service
from retort.service.settings import Settings

# Longer than usual connection pools keep idle connections, or they would use half-closed ones.
KEEP_ALIVE_SECONDS = 75
# A request that came with its connection is read within this time.
LAST_LOOK_SECONDS = 0.2


class PatientServer(uvicorn.Server):
    """A server that, when it stops, first answers what is on connections it has just accepted."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, answer, close what is idle, and wait for what is not."""
        for server in self.servers:
            server.close()
        await asyncio.sleep(LAST_LOOK_SECONDS)
        await super().shutdown(sockets)


def http_config(service: Service, settings: Settings) -> uvicorn.Config:
    """How HTTP is served."""
    return uvicorn.Config(
        create_app(service),
        access_log=False,
        log_config=None,
        server_header=False,
        lifespan="on",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=settings.drain_seconds,
    )
