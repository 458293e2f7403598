"""The server: one process that listens, and stops without losing what it accepted."""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
from types import FrameType

import uvicorn

from retort.models.bundle import find_bundle, read_bundle
from retort.models.errors import BundleError, StartError
from retort.service.http.app import create_app
from retort.service.service import Service, State
from retort.service.settings import Settings

logger = logging.getLogger("retort")

BACKLOG = 2048
# Longer than usual connection pools keep idle connections, or they would use half-closed ones.
KEEP_ALIVE_SECONDS = 75


class DrainingServer(uvicorn.Server):
    """Reports that it is draining as soon as it is asked to stop."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called on SIGTERM and SIGINT."""
        if self._service.health.state is State.LOADING:
            # Nothing was accepted, and the thread that compiles a graph cannot be interrupted.
            logger.info("asked to stop while the model was loading")
            logging.shutdown()
            os._exit(0)
        self._service.health.drain()
        super().handle_exit(sig, frame)


def listen(host: str, port: int) -> socket.socket:
    """Open the socket. Raises `StartError` if the port is in use or cannot be opened."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise StartError(
                f"port {port} on {host} is in use: stop what listens there, or choose another "
                "with --port or RETORT_PORT"
            ) from None
        raise StartError(f"cannot listen on {host} port {port}: {error.strerror}") from None


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; then finish what was accepted and return.

    Raises `BundleError` or `StartError` if there is nothing to serve or nowhere to serve it.
    """
    _log(settings)
    bundle = read_bundle(find_bundle(settings.bundle))
    try:
        teacher = None if settings.teacher is None else read_bundle(find_bundle(settings.teacher))
    except BundleError as error:
        raise StartError(f"teacher: {error}") from None
    problems: list[str] = []

    def failed(reason: str) -> None:
        problems.append(reason)
        server.should_exit = True

    service = Service(settings, bundle, teacher=teacher, on_failure=failed)
    listener = listen(settings.host, settings.port)
    config = uvicorn.Config(
        create_app(service),
        access_log=False,
        log_config=None,
        server_header=False,
        lifespan="on",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=settings.drain_seconds,
    )
    server = DrainingServer(config, service)
    host, port = listener.getsockname()[:2]
    logger.info("http://%s:%d serves %s when it is ready", host, port, bundle.folder)
    # Once it has drained, uvicorn raises the signal again: stopping when asked is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    with listener:
        server.run(sockets=[listener])
    if problems:
        raise StartError(problems[0])


def _log(settings: Settings) -> None:
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    if settings.log_level != "debug":
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
