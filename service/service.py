"""The service: the models, their health, and what a request for scores goes through.

A server's states:

    loading ──► ready ──► draining
       └──► failed

Liveness is that the event loop turns. Readiness is that the golden pairs came out right, every
shape is warm, the last forward pass worked and the server was not asked to stop.
"""

from __future__ import annotations

import asyncio
import enum
import gc
import logging
from collections.abc import Callable, Sequence

from starlette.requests import Request

from retort.models.bundle import Bundle
from retort.models.errors import BundleError, StartError
from retort.models.manifest import Manifest
from retort.models.runtime.base import Backend
from retort.service.engine.job import Outcome
from retort.service.errors import InferenceFailed, NotReady
from retort.service.metrics import Metrics
from retort.service.model import Model
from retort.service.modes import Answer, Modes, Question
from retort.service.settings import Mode, Settings
from retort.service.shadow import DisagreementFile, Shadow

logger = logging.getLogger("retort")


class State(enum.Enum):
    """Where a server is in its life."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


class Health:
    """The state, and the reason why it is not ready."""

    def __init__(self) -> None:
        self.state = State.LOADING
        self.reason = "the model is loading"

    def ready(self) -> None:
        """The model is loaded; a server that is draining already stays so."""
        if self.state is State.LOADING:
            self.state, self.reason = State.READY, ""

    def drain(self) -> None:
        """The server is about to stop."""
        self.state, self.reason = State.DRAINING, "the server is shutting down"

    def fail(self, reason: str) -> None:
        """The model cannot be served."""
        self.state, self.reason = State.FAILED, reason


class Service:
    """A student's bundle, served, and its teacher's if there is one.

    The backends are for tests; without them they are chosen. `on_failure` is called with the
    reason if a model cannot be served. Raises `StartError` if the disagreement file cannot be
    written.
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
        self.student = Model("student", bundle, settings.runtime, backend)
        self.teacher: Model | None = None
        self.shadow: Shadow | None = None
        if teacher is not None:
            options = settings.teacher_runtime
            self.teacher = Model("teacher", teacher, options, teacher_backend)
            if settings.shadow:
                self.shadow = self._make_shadow(self.teacher)
        self.models = [self.student] if self.teacher is None else [self.student, self.teacher]
        self._modes = Modes(
            self.student,
            self.teacher,
            self.shadow,
            self.metrics.cascade,
            cascade_share=settings.cascade_share,
        )
        if (agreement := bundle.manifest.agreement) is not None:
            at_export = self.metrics.shadow.at_export
            at_export.labels(bundle.manifest.version).set(agreement.top1)
        self._on_failure = on_failure
        self._loading: asyncio.Task[None] | None = None

    def manifest(self, mode: Mode) -> Manifest:
        """The manifest of the model that answers in `mode`: in a cascade still the student's."""
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
        for model in self.models:
            await model.close()

    async def _load(self) -> None:
        try:
            # One after the other: each is measured, and would disturb the other's figures.
            for model in self.models:
                await model.load(self.settings, self.metrics)
        except Exception as error:
            if not isinstance(error, StartError | BundleError):
                logger.exception("the model could not be loaded")
            self.health.fail(str(error))
            if self._on_failure is not None:
                self._on_failure(str(error))
            return
        self.metrics.queue_tokens.set_function(
            lambda: sum(model.queue_tokens for model in self.models)
        )
        if self.shadow is not None:
            self.shadow.start()
        # Freeze long-lived objects so that the garbage collector skips them.
        gc.collect()
        gc.freeze()
        self.health.ready()
        logger.info("ready: mode %s", self.settings.mode)

    async def score(
        self,
        request: Request,
        question: Question,
        timeout_ms: int | None,
        mode: Mode | None = None,
    ) -> Answer:
        """Score for a client that may leave: then, or when time is up, its pairs are dropped.

        Without `mode` the server's own. Raises `ServiceError`, also when none of the passages
        could be scored.
        """
        return (await self.score_each(request, [question], timeout_ms, mode))[0]

    async def score_each(
        self,
        request: Request,
        questions: Sequence[Question],
        timeout_ms: int | None,
        mode: Mode | None = None,
    ) -> list[Answer]:
        """Score several queries, each against its own passages, for one client."""
        mode = mode or self.settings.mode
        self._modes.check(mode)
        if self.health.state is not State.READY:
            raise NotReady(self.health.reason, retry_after=1)
        allowed_ms = timeout_ms if timeout_ms is not None else self.settings.timeout_ms
        seconds = min(allowed_ms, self.settings.max_timeout_ms) / 1000
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            if len(questions) == 1:
                answers = [await self._modes.score(questions[0], mode, seconds, gone)]
            else:
                answers = await asyncio.gather(
                    *(self._modes.score(question, mode, seconds, gone) for question in questions)
                )
        finally:
            # After a failure of one question this also drops the others.
            gone.cancel()
        for answer in answers:
            self._observe(answer.outcome)
            if len(answer.outcome.errors) == len(answer.outcome.score):
                raise InferenceFailed(next(iter(answer.outcome.errors.values())))
        return answers

    async def ready(self) -> bool:
        """Whether it can answer; if the last pass failed, the backend is asked once more.

        A teacher that fails after the start counts only where it is the one that answers: the
        student does not need it.
        """
        if self.health.state is not State.READY:
            return False
        answers = self.teacher if self.settings.mode == "teacher" else None
        return await (answers or self.student).recovered()

    def _make_shadow(self, teacher: Model) -> Shadow:
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
