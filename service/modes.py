"""Modes: who scores a request, the student, the teacher, or the student with the teacher's help.

In a cascade the student ranks all, and `models/cascade.py` says which passages the teacher is asked
about. If anything keeps the teacher from answering, the deadline above all, the student's scores
stand: a cascade is never later than the student would be allowed to be, and never fails where the
student does not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np

from retort.models.cascade import allowance, choose, merge
from retort.models.manifest import Manifest
from retort.models.reading.windows import Reading
from retort.service.engine.job import Outcome, StageSeconds
from retort.service.errors import UNHELPED, InvalidRequest
from retort.service.metrics import CascadeMetrics, CascadeOutcome, Role
from retort.service.model import Model
from retort.service.settings import Mode
from retort.service.shadow.shadow import Shadow

# The shares of the time left that the teacher may take and that are planned for it: the answer has
# to be written too, and how long a batch will take is a guess.
TEACHER_TIME = 0.9
PLANNED_TIME = 0.75


@dataclass(frozen=True, slots=True)
class Question:
    """A query and its passages, and how they are read.

    The client keeps the best `top_n`, None: all, and of those the ones with `min_score`; with
    `highlight`, it wants to know their best sentences. Several queries are one for each passage:
    pairs, rather than a ranking.
    """

    queries: Sequence[str]
    passages: Sequence[str]
    reading: Reading
    top_n: int | None = None
    min_score: float = 0.0
    highlight: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """Scores, the mode they were made in, what the teacher had a say in, and the bundle's manifest.

    In mode teacher the manifest is the teacher's, else the student's. `pairs_alone` says that each
    passage had a query of its own.
    """

    outcome: Outcome
    mode: Mode
    manifest: Manifest
    by_teacher: frozenset[int] = frozenset()
    pairs_alone: bool = False


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a number for its key or address; `gone` is done when it has left.

    `request_id` is what the request is called in the log.
    """

    client: int
    gone: asyncio.Future[None]
    request_id: str


class Modes:
    """Scores questions; what the student scored whole is offered to `shadow`."""

    def __init__(self, metrics: CascadeMetrics, *, cascade_share: float) -> None:
        self._metrics = metrics
        self._cascade_share = cascade_share

    def begin(self) -> None:
        """Show the metrics of cascades from now on, at zero: there is a teacher."""
        for outcome in get_args(CascadeOutcome):
            self._metrics.requests.labels(outcome)
        for role in get_args(Role):
            self._metrics.passages.labels(role)

    def check(self, mode: Mode, teacher: Model | None) -> None:
        """Raise `InvalidRequest` if there is no teacher and `mode` needs one."""
        if mode != "student" and teacher is None:
            raise InvalidRequest(
                f"mode {mode} needs a teacher that this server runs, and it runs none: leave mode "
                "out, or start it with a bundle as the setting teacher (--teacher, RETORT_TEACHER)",
                param="mode",
            )

    async def score(
        self,
        question: Question,
        mode: Mode,
        seconds: float,
        caller: Caller,
        student: Model,
        teacher: Model | None,
        shadow: Shadow | None = None,
    ) -> Answer:
        """Score within `seconds`, in a mode that `check` lets pass; drop it if the caller leaves.

        Raises `ServiceError`.
        """
        queries, passages = question.queries, question.passages
        reading, client, gone = question.reading, caller.client, caller.gone
        if mode == "teacher":
            assert teacher is not None
            served, outcome = await teacher.score(
                queries, passages, seconds, gone, reading=reading, client=client
            )
            everything = frozenset(range(len(passages)))
            return Answer(outcome, mode, served.manifest, everything, len(queries) > 1)
        start = time.perf_counter()
        served, outcome = await student.score(
            queries, passages, seconds, gone, reading=reading, client=client
        )
        if shadow is not None and len(queries) == 1:
            took = time.perf_counter() - start
            shadow.offer(queries[0], passages, outcome, served.manifest, reading, took)
        answer = Answer(outcome, mode, served.manifest, pairs_alone=len(queries) > 1)
        if mode == "student" or len(queries) > 1:
            return answer
        assert teacher is not None
        left = seconds - (time.perf_counter() - start)
        ended, answer = await self._second_opinion(teacher, question, answer, left, caller)
        self._metrics.requests.labels(ended).inc()
        by_teacher = len(answer.by_teacher)
        self._metrics.passages.labels("teacher").inc(by_teacher)
        self._metrics.passages.labels("student").inc(len(passages) - by_teacher)
        return answer

    async def _second_opinion(
        self, teacher: Model, question: Question, answer: Answer, left: float, caller: Caller
    ) -> tuple[CascadeOutcome, Answer]:
        first, query = answer.outcome, question.queries[0]
        doubtful = self._doubtful(first, question.top_n)
        if not doubtful:
            return "settled", answer
        passages = [question.passages[index] for index in doubtful]
        try:
            planned = teacher.estimate_seconds(query, passages, question.reading)
            fitting = int(np.count_nonzero(planned <= left * PLANNED_TIME))
            if not fitting:
                return "late", answer
            _, second = await teacher.score(
                [query],
                passages[:fitting],
                left * TEACHER_TIME,
                caller.gone,
                reading=question.reading,
                client=caller.client,
            )
        except UNHELPED:
            return "late", answer
        rows = [row for row in range(fitting) if row not in second.errors]
        indices = [doubtful[row] for row in rows]
        merged = replace(
            first,
            score=merge(first.score, second.score[rows], indices),
            tokens=first.tokens + second.tokens,
            seconds=StageSeconds(
                tokenize=first.seconds.tokenize + second.seconds.tokenize,
                queue=first.seconds.queue + second.seconds.queue,
                infer=first.seconds.infer + second.seconds.infer,
            ),
        )
        asked = replace(answer, outcome=merged, by_teacher=frozenset(indices))
        return ("asked" if rows else "late"), asked

    def _doubtful(self, first: Outcome, top_n: int | None) -> list[int]:
        sound = [index for index in range(len(first.score)) if index not in first.errors]
        limit = allowance(len(first.score), self._cascade_share)
        picked = choose(first.score[sound], first.spread[sound], limit, top_n=top_n)
        return [sound[row] for row in picked]
