"""The service: what a request for scores goes through, whatever runs the models.

Liveness is that the server answers or can mend itself so that it will. Readiness is that the golden
pairs came out right, the last forward pass worked and is not overdue, and the server was not asked
to stop.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from starlette.types import Receive

from retort.service.engine.job import Outcome
from retort.service.engines import Engines, Health, State
from retort.service.errors import InferenceFailed, ModelNotFound, NotReady, Overloaded
from retort.service.highlighting import Highlights, highlight
from retort.service.metrics import Metrics
from retort.service.model import Model
from retort.service.modes import Answer, Caller, Modes, Question
from retort.service.settings import ANY_NAME, Mode, Settings
from retort.service.shadow.shadow import Shadow
from retort.service.shadow.teacher import DistantTeacher

logger = logging.getLogger("retort")


class Service:
    """The models of `engines`, served.

    `shared` is a folder that all front ends of a server share, of which this is number `place`;
    None: there is only this one.
    Raises `StartError` if the disagreement file cannot be written, or the URL of a teacher cannot
    be asked from here.
    """

    def __init__(
        self, settings: Settings, engines: Engines, shared: Path | None = None, place: int = 0
    ) -> None:
        self.settings = settings
        self.shared = shared
        self.place = place
        self.reading = settings.reading
        self.engines = engines
        self.metrics: Metrics = engines.metrics
        self.shadow: Shadow | None = None
        if settings.shadow:
            self.shadow = Shadow(settings, engines, self.metrics.shadow, shared)
            engines.on_student = self.shadow.begin
        self._aliases = settings.aliases
        self._modes = Modes(self.metrics.cascade, cascade_share=settings.cascade_share)
        if settings.teacher is not None and settings.teacher_url is None:
            self._modes.begin()

    @property
    def health(self) -> Health:
        """The state of the server."""
        return self.engines.health

    @property
    def student(self) -> Model:
        """The student of requests that name none."""
        return self.engines.default

    @property
    def teacher(self) -> Model | None:
        """The teacher that this server runs, if there is one."""
        return self.engines.teacher

    @property
    def distant_teacher(self) -> DistantTeacher | None:
        """What is known of the teacher if it is at a URL."""
        return None if self.shadow is None else self.shadow.teacher.distant

    async def start(self) -> None:
        """Begin; returns when requests may come."""
        self.loop = asyncio.get_running_loop()
        await self.engines.start()
        if self.shadow is not None:
            self.shadow.start()

    async def stop(self) -> None:
        """Finish what was accepted."""
        self.health.drain()
        if self.shadow is not None:
            await self.shadow.stop()
        await self.engines.stop()

    @property
    def names(self) -> dict[str, Model]:
        """Students by every name that a request may give: their own, and those of `alias`."""
        students = self.engines.students
        given = {name: students[own] for name, own in self._aliases.items() if own in students}
        return students | {name: model for name, model in given.items() if name not in students}

    def choose(self, model: str | None) -> Model:
        """The student that a request names; the default if it names none.

        Raises `ModelNotFound`.
        """
        students = self.engines.students
        if not students:
            raise NotReady(self.health.reason, retry_after=1)
        if model is None:
            return self.student
        if model in students:
            return students[model]
        names = self.names
        chosen = names.get(model, names.get(ANY_NAME))
        if chosen is None:
            raise ModelNotFound(
                f"there is no model {model[:100]!r}: there are {', '.join(names)}; the "
                f"setting alias (--alias {model[:100]}={self.student.name}) gives one another name",
                param="model",
            )
        return chosen

    async def score(
        self,
        caller: Caller,
        question: Question,
        *,
        timeout_ms: int | None = None,
        mode: Mode | None = None,
        model: str | None = None,
    ) -> tuple[Answer, Highlights]:
        """Score for a caller that may leave: then, or when time is up, its pairs are dropped.

        Without `mode` the server's own; `model` as `choose` says. Highlights if the question asks
        for them. Raises `ServiceError`, also when none of the passages could be scored.
        """
        settings = self.settings
        mode = mode or settings.mode
        self._modes.check(mode, self.teacher)
        if self.health.state not in (State.READY, State.DRAINING):
            raise NotReady(self.health.reason, retry_after=1)
        student = self.choose(model)
        allowed_ms = timeout_ms if timeout_ms is not None else settings.timeout_ms
        seconds = min(allowed_ms, settings.max_timeout_ms) / 1000
        shadow = self.shadow if student is self.student else None
        start = time.perf_counter()
        answer = await self._modes.score(
            question, mode, seconds, caller, student, self.teacher, shadow
        )
        outcome = answer.outcome
        self._observe(outcome)
        if len(outcome.errors) == len(outcome.score):
            raise InferenceFailed(next(iter(outcome.errors.values())))
        self.metrics.answers.labels(answer.manifest.name, answer.manifest.version).inc()
        if not question.highlight:
            return answer, Highlights()
        left = seconds - (time.perf_counter() - start)
        return answer, await highlight(student, question, outcome, left, caller)

    def check_room(self, client: int, most_seconds: Callable[[], float]) -> None:
        """Raise `Overloaded` if every model has just refused a client even the least.

        For a request that nobody has decoded; `most_seconds` says how much time it may have.
        """
        refused = None
        for model in self.engines.models:
            if model.served is None:
                return
            try:
                model.served.scorer.check_room(client, most_seconds)
            except Overloaded as error:
                refused = error
            else:
                return
        if refused is not None:
            raise refused

    @property
    def ready(self) -> bool:
        """Whether it can answer.

        A teacher that fails after the start counts only where it is the one that answers: the
        students do not need it.
        """
        if self.health.state is not State.READY:
            return False
        teacher = self.teacher if self.settings.mode == "teacher" else None
        return all(model.healthy for model in ([teacher] if teacher else self._students()))

    def _observe(self, outcome: Outcome) -> None:
        metrics, seconds = self.metrics, outcome.seconds
        metrics.stages["tokenize"].observe(seconds.tokenize)
        metrics.stages["queue"].observe(seconds.queue)
        metrics.stages["infer"].observe(seconds.infer)
        metrics.passages.inc(len(outcome.score))
        if outcome.unknown_tokens:
            metrics.unknown_tokens.inc(outcome.unknown_tokens)
        if outcome.query_cut is not None:
            metrics.cut_queries.inc()
        if outcome.notes:
            metrics.windows.inc(outcome.windows)
            metrics.truncated.inc(outcome.truncated)
            for flag, counted in metrics.flagged.items():
                counted.inc(sum(flag in note.flags for note in outcome.notes.values()))

    def _students(self) -> list[Model]:
        return list(self.engines.students.values())


@lru_cache(4096)
def client_number(who: str) -> int:
    """A number for a client's address or admin key, the same in every process."""
    return int.from_bytes(hashlib.blake2b(who.encode(), digest_size=8).digest(), "little")


async def gone(receive: Receive, left: asyncio.Future[None]) -> None:
    """Wait until the client of a request whose body was read has left; then `left` is done."""
    while (await receive())["type"] != "http.disconnect":
        pass
    if not left.done():
        left.set_result(None)
