"""A server of one process: HTTP and engines together, and nobody who watches them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Sequence
from types import FrameType

from retort.models.bundle import Bundle
from retort.models.errors import StartError
from retort.service.engines import LocalEngines, State
from retort.service.errors import LoadFailed
from retort.service.http.serving import PatientServer
from retort.service.metrics import Metrics
from retort.service.service import Service
from retort.service.settings import Settings, drain_delay

logger = logging.getLogger("retort")


class DrainingServer(PatientServer):
    """Drains when asked to stop, ends at once when asked twice, and reloads on SIGHUP."""

    def __init__(self, service: Service, settings: Settings) -> None:
        super().__init__(service, settings)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called on SIGTERM and SIGINT."""
        health = self._service.health
        if health.state is State.LOADING:
            # Nothing was accepted, and the thread that compiles a graph cannot be interrupted.
            logger.info("asked to stop while the model was loading")
            logging.shutdown()
            os._exit(0)
        if health.state is State.DRAINING:
            logger.info("ending at once")
            logging.shutdown()
            os._exit(1)
        health.drain()
        delay = drain_delay(self._service.settings)
        loop = self._service.loop
        loop.call_soon_threadsafe(loop.call_later, delay, super().handle_exit, sig, frame)


def serve_alone(
    settings: Settings, bundles: Sequence[Bundle], teacher: Bundle | None, listener: socket.socket
) -> None:
    """Serve until SIGTERM or SIGINT. Raises `StartError`."""
    problems: list[str] = []

    def failed(reason: str) -> None:
        problems.append(reason)
        server.should_exit = True

    engines = LocalEngines(settings, Metrics(), bundles, teacher, on_failure=failed)
    service = Service(settings, engines)
    server = DrainingServer(service, settings)
    # Once it has drained, uvicorn raises the signal again: stopping when asked is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGHUP, lambda *_: service.loop.call_soon_threadsafe(_reload, engines))
    with listener:
        server.run(sockets=[listener])
    if problems:
        raise StartError(problems[0])


def _reload(engines: LocalEngines) -> None:
    async def reload() -> None:
        for model in engines.models:
            try:
                await engines.load(model.name, None)
            except LoadFailed as error:
                logger.error("%s", error)

    # Kept, or it might be collected before it has ended.
    engines.reloading = asyncio.ensure_future(reload())
