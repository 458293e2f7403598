"""The server: what `retort serve` runs, one process or a supervisor and its processes."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Sequence
from pathlib import Path

from retort.models.bundle import find_bundle, read_bundle
from retort.models.errors import BundleError, StartError
from retort.models.runtime.options import usable_cores
from retort.service.log import log_to_stderr
from retort.service.processes.child import ENGINE_COMMAND
from retort.service.processes.supervisor import ModelPlace, Supervisor
from retort.service.settings import Settings
from retort.service.shadow import DisagreementFile

logger = logging.getLogger("retort")

BACKLOG = 2048
# A CPU's engine needs the cores itself. Before a GPU, front ends are what limits small requests.
CPU_CORES_PER_FRONT_END, GPU_CORES_PER_FRONT_END = 8, 2
MOST_FRONT_ENDS = 8


def serve(settings: Settings, engine_command: Sequence[str] = ENGINE_COMMAND) -> None:
    """Serve until SIGTERM or SIGINT; then finish what was accepted and return.

    `engine_command` is what starts an engine, for tests. Raises `BundleError` or `StartError` if
    there is nothing to serve or nowhere to serve it.
    """
    log_to_stderr(settings.log_level)
    key = settings.trusted_key
    bundles = [read_bundle(find_bundle(place), key=key) for place in settings.bundle]
    names = [bundle.manifest.name for bundle in bundles]
    if twice := {name for name in names if names.count(name) > 1}:
        raise StartError(
            f"two bundles are named {', '.join(sorted(twice))}: a request could not choose"
        )
    try:
        place = settings.teacher
        teacher = None if place is None else read_bundle(find_bundle(place), key=key)
    except BundleError as error:
        raise StartError(f"teacher: {error}") from None
    if settings.disagreements is not None:
        # Each front end opens it again; here a mistake is told once, and ends the start.
        DisagreementFile(
            settings.disagreements,
            texts=settings.disagreement_texts,
            max_bytes=settings.disagreements_max_bytes,
        )
    workers = front_ends(settings)
    listeners = listen(settings.host, settings.port, max(1, workers))
    host, port = listeners[0].getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    folders = ", ".join(str(bundle.folder) for bundle in bundles)
    logger.info("http://%s:%d serves %s when it is ready", shown, port, folders)
    if not workers:
        from retort.service.alone import serve_alone

        serve_alone(settings, bundles, teacher, listeners[0])
        return
    places = [
        ModelPlace("student", bundle.manifest.name, str(place))
        for bundle, place in zip(bundles, settings.bundle, strict=True)
    ]
    if teacher is not None and settings.teacher is not None:
        places.append(ModelPlace("teacher", teacher.manifest.name, settings.teacher))
    Supervisor(settings, places, listeners, engine_command=engine_command).run()


def front_ends(settings: Settings) -> int:
    """How many front ends to start.

    >>> front_ends(Settings(workers=3))
    3
    """
    if settings.workers is not None:
        return settings.workers
    gpu = settings.provider in ("cuda", "tensorrt") or (
        settings.provider == "auto" and any(Path("/dev").glob("nvidia[0-9]*"))
    )
    share = GPU_CORES_PER_FRONT_END if gpu else CPU_CORES_PER_FRONT_END
    return min(MOST_FRONT_ENDS, max(1, usable_cores() // share))


def listen(host: str, port: int, count: int = 1) -> list[socket.socket]:
    """Open `count` sockets on one port; the kernel shares connections out among them.

    Raises `StartError` if the port is in use or cannot be opened.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened: list[socket.socket] = []
    try:
        if count > 1:
            # Sockets that share a port would share it with another server of ours, too.
            with socket.create_server((host, port), family=family) as alone:
                port = alone.getsockname()[1]
        for _ in range(count):
            opened.append(
                socket.create_server(
                    (host, port), family=family, backlog=BACKLOG, reuse_port=count > 1
                )
            )
    except OSError as error:
        for listener in opened:
            listener.close()
        if error.errno == errno.EADDRINUSE:
            raise StartError(
                f"port {port} on {host} is in use: stop what listens there, or choose another "
                "with --port or RETORT_PORT"
            ) from None
        raise StartError(f"cannot listen on {host} port {port}: {error.strerror}") from None
    return opened
