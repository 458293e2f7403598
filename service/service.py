"""The service: what the routes share, and what a request for scores goes through."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Callable, Sequence

from starlette.requests import Request

from retort.models.bundle import Bundle
from retort.models.errors import BundleError, StartError
from retort.models.manifest import Manifest
from retort.models.runtime.base import Backend
from retort.service.disagreements import DisagreementFile
from retort.service.engine.job import Outcome
from retort.service.errors import InferenceFailed, NotReady
from retort.service.health import Health, State
from retort.service.metrics import Metrics
from retort.service.modes import Asked, Modes, Scored
from retort.service.served import Served
from retort.service.settings import Mode, Settings
from retort.service.shadow import Shadow

logger = logging.getLogger("retort")


class Service:
    """A student's bundle, served, and its teacher's beside it if there is one.

    The backends are for tests; without them they are chosen. `on_failure` is told why, should a
    model turn out not to be servable.
    """

    def __init__(
        self,
        settings: Settings,
        bundle: Bundle,
        *,
        teacher: Bundle | None = None,
        backend: Backend | None = None,
        teacher_backend: Backend | None = None,
        on_failure: Callable[[str], None] | None = None,
    ) -> None:
        self.settings = settings
        self.health = Health()
        self.metrics = Metrics()
        self.student = Served("student", bundle, settings.wish, backend)
        self.teacher: Served | None = None
        self.shadow: Shadow | None = None
        if teacher is not None:
            self.teacher = Served("teacher", teacher, settings.teacher_wish, teacher_backend)
            if settings.shadow:
                self.shadow = self._make_shadow(self.teacher)
        self.modes = Modes(
            self.student,
            self.teacher,
            self.metrics.cascade,
            cascade_share=settings.cascade_share,
            seen=self._seen,
        )
        if (agreement := bundle.manifest.agreement) is not None:
            at_export = self.metrics.shadow.at_export
            at_export.labels(bundle.manifest.version).set(agreement.top1)
        self._on_failure = on_failure
        self._loading: asyncio.Task[None] | None = None

    @property
    def bundle(self) -> Bundle:
        """The student's."""
        return self.student.bundle

    def manifest(self, mode: Mode) -> Manifest:
        """Of the model that answers in `mode`: in a cascade still the student's."""
        teacher = self.teacher if mode == "teacher" else None
        return (teacher or self.student).manifest

    def start(self) -> None:
        """Begin to load; returns at once."""
        self._loading = asyncio.create_task(self._load())

    async def stop(self) -> None:
        """Finish what was accepted."""
        self.health.drain()
        if self._loading is not None:
            await self._loading
        if self.shadow is not None:
            await self.shadow.stop()
        for served in self._served():
            await served.close()

    async def _load(self) -> None:
        try:
            # One after the other: each is measured, and would disturb the other's figures.
            for served in self._served():
                await served.load(self.settings, self.metrics)
        except Exception as error:
            if not isinstance(error, StartError | BundleError):
                logger.exception("the model could not be loaded")
            self.health.fail(str(error))
            if self._on_failure is not None:
                self._on_failure(str(error))
            return
        self.metrics.watch_queue(lambda: sum(served.queue_tokens for served in self._served()))
        if self.shadow is not None:
            self.shadow.start()
        # What lives now lives for ever: let the collector pass over it.
        gc.collect()
        gc.freeze()
        self.health.ready()
        logger.info("ready: mode %s", self.settings.mode)

    async def score(
        self, request: Request, asked: Asked, timeout_ms: int | None, mode: Mode | None = None
    ) -> Scored:
        """Score for a client that may leave: then, or when time is up, its pairs are dropped.

        Without `mode` the server's own. Raises `ServiceError`, also when not one of the passages
        could be scored.
        """
        return (await self.score_each(request, [asked], timeout_ms, mode))[0]

    async def score_each(
        self,
        request: Request,
        groups: Sequence[Asked],
        timeout_ms: int | None,
        mode: Mode | None = None,
    ) -> list[Scored]:
        """Score several queries, each against its own passages, for one client."""
        mode = mode or self.settings.mode
        self.modes.check(mode)
        if self.health.state is not State.READY:
            raise NotReady(self.health.reason, retry_after=1)
        wanted = timeout_ms if timeout_ms is not None else self.settings.timeout_ms
        seconds = min(wanted, self.settings.max_timeout_ms) / 1000
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            if len(groups) == 1:
                scored = [await self.modes.score(groups[0], mode, seconds, gone)]
            else:
                scoring = [self.modes.score(group, mode, seconds, gone) for group in groups]
                scored = await asyncio.gather(*scoring)
        finally:
            # After a failure of one group this also drops the others.
            gone.cancel()
        for one in scored:
            self._observe(one.outcome)
            if len(one.outcome.errors) == len(one.outcome.score):
                raise InferenceFailed(next(iter(one.outcome.errors.values())))
        return scored

    async def ready(self) -> bool:
        """Whether requests are welcome; a backend that failed last is asked whether it is back.

        A teacher that fails after the start counts only where it is the one that answers: the
        student does not need it.
        """
        if self.health.state is not State.READY:
            return False
        needed = self.teacher if self.settings.mode == "teacher" else None
        return await (needed or self.student).recovered()

    def _served(self) -> list[Served]:
        return [self.student] if self.teacher is None else [self.student, self.teacher]

    def _seen(self, asked: Asked, outcome: Outcome) -> None:
        if self.shadow is not None:
            self.shadow.offer(asked, outcome)

    def _make_shadow(self, teacher: Served) -> Shadow:
        settings, file = self.settings, None
        if settings.disagreements is not None:
            file = DisagreementFile(
                settings.disagreements,
                texts=settings.disagreement_texts,
                max_bytes=settings.disagreements_max_bytes,
                student=self.student.manifest,
                teacher=teacher.manifest,
            )
        return Shadow(settings.shadow, self.student, teacher, self.metrics.shadow, file)

    def _observe(self, outcome: Outcome) -> None:
        stages, seconds = self.metrics.stages, outcome.seconds
        stages["tokenize"].observe(seconds.tokenize)
        stages["queue"].observe(seconds.queue)
        stages["infer"].observe(seconds.infer)
        if outcome.truncated:
            self.metrics.truncated.inc(outcome.truncated)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def elapsed_ms(since: float) -> float:
    """Milliseconds since `since` on the performance counter."""
    return (time.perf_counter() - since) * 1000
