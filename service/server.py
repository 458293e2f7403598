"""The server: what `retort serve` runs, one process or a supervisor and its processes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from retort.models.bundle import Bundle, find_bundle, read_bundle
from retort.models.errors import BundleError, StartError
from retort.models.runtime.cores import usable_cores
from retort.service.http.access.keys import read_keys
from retort.service.listeners import close, listen, place, raise_file_limit, tls_context
from retort.service.log import log_to_stderr
from retort.service.processes.child import ENGINE_COMMAND
from retort.service.processes.supervisor import ModelPlace, Supervisor
from retort.service.settings import Settings
from retort.service.shadow.disagreements import DisagreementFile
from retort.service.shadow.shadow import url_teacher

logger = logging.getLogger("retort")

# A CPU's engine needs the cores itself. Before a GPU, front ends are what limits small requests.
CPU_CORES_PER_FRONT_END, GPU_CORES_PER_FRONT_END = 8, 2
MOST_FRONT_ENDS = 8


def serve(settings: Settings, engine_command: Sequence[str] = ENGINE_COMMAND) -> None:
    """Serve until SIGTERM or SIGINT; then finish what was accepted and return.

    `engine_command` is what starts an engine, for tests. Raises `BundleError` or `StartError` if
    there is nothing to serve or nowhere to serve it.
    """
    log_to_stderr(settings)
    bundles, teacher = read_served(settings)
    if settings.teacher_url is not None:
        url_teacher(settings)  # each front end has its own; here a mistake ends the start
    if settings.disagreements is not None:
        # Each front end opens it again; here a mistake is told once, and ends the start.
        DisagreementFile(
            settings.disagreements,
            texts=settings.disagreement_texts,
            max_bytes=settings.disagreements_max_bytes,
        )
    if settings.keys_file is not None:
        read_keys(settings.keys_file)  # the same
    if settings.tls_cert is not None and settings.tls_key is not None:
        # The same: told once, here.
        tls_context(settings.tls_cert, settings.tls_key)
    workers = front_ends(settings)
    raise_file_limit()
    listeners = listen(settings, max(1, workers))
    folders = ", ".join(str(bundle.folder) for bundle in bundles)
    logger.info("%s serves %s when it is ready", place(listeners[0], settings), folders)
    try:
        if not workers:
            from retort.service.alone import serve_alone

            serve_alone(settings, bundles, teacher, listeners[0])
            return
        places = [
            ModelPlace("student", bundle.manifest.name, name)
            for bundle, name in zip(bundles, settings.bundle, strict=True)
        ]
        if teacher is not None and settings.teacher is not None:
            places.append(ModelPlace("teacher", teacher.manifest.name, settings.teacher))
        Supervisor(settings, places, listeners, engine_command=engine_command).run()
    except Exception as error:
        if not isinstance(error, (BundleError, StartError)):
            logger.exception("the server has failed")  # the command says it in one sentence
        raise
    finally:
        close(listeners, settings)


def read_served(settings: Settings) -> tuple[list[Bundle], Bundle | None]:
    """The bundles that are served, and that of the teacher if it has one.

    Raises `BundleError`, or `StartError` where a request could not choose among them.
    """
    key = settings.trusted_key
    bundles = [read_bundle(find_bundle(name), key=key) for name in settings.bundle]
    names = [bundle.manifest.name for bundle in bundles]
    if twice := {name for name in names if names.count(name) > 1}:
        raise StartError(
            f"two bundles are named {', '.join(sorted(twice))}: a request could not choose"
        )
    if unknown := sorted({*settings.aliases.values()} - {*names}):
        raise StartError(
            f"alias: there is no bundle named {', '.join(unknown)}: there are {', '.join(names)}"
        )
    try:
        name = settings.teacher if settings.teacher_url is None else None
        teacher = None if name is None else read_bundle(find_bundle(name), key=key)
    except BundleError as error:
        raise StartError(f"teacher: {error}") from None
    return bundles, teacher


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
