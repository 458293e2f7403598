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
from retort.service.engine.job import Outcome, StageSeconds
from retort.service.errors import (
    DeadlinePassed,
    InferenceFailed,
    InvalidRequest,
    NotReady,
    Overloaded,
)
from retort.service.metrics import CascadeMetrics, CascadeOutcome, Role
from retort.service.model import Model
from retort.service.settings import Mode
from retort.service.shadow import Shadow

# The shares of the time left that the teacher may take and that are planned for it: the answer has
# to be written too, and how long a batch will take is a guess.
TEACHER_TIME = 0.9
PLANNED_TIME = 0.75


@dataclass(frozen=True, slots=True)
class Question:
    """A query and its passages; the client keeps the best `top_n`, None: all."""

    query: str
    passages: Sequence[str]
    top_n: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """Scores, the mode they were made in, and the passages that the teacher had a say in."""

    outcome: Outcome
    mode: Mode
    by_teacher: frozenset[int] = frozenset()


class Modes:
    """Scores questions; what the student scored whole is offered to `shadow`."""

    def __init__(
        self,
        student: Model,
        teacher: Model | None,
        shadow: Shadow | None,
        metrics: CascadeMetrics,
        *,
        cascade_share: float,
    ) -> None:
        self._student = student
        self._teacher = teacher
        self._shadow = shadow
        self._metrics = metrics
        self._cascade_share = cascade_share
        if teacher is not None:
            for outcome in get_args(CascadeOutcome):
                metrics.requests.labels(outcome)
            for role in get_args(Role):
                metrics.passages.labels(role)

    def check(self, mode: Mode) -> None:
        """Raise `InvalidRequest` if there is no teacher and `mode` needs one."""
        if mode != "student" and self._teacher is None:
            raise InvalidRequest(
                f"mode {mode} needs a teacher, and this server has none: leave mode out, or start "
                "the server with the setting teacher (--teacher, RETORT_TEACHER)",
                param="mode",
            )

    async def score(
        self, question: Question, mode: Mode, seconds: float, gone: asyncio.Future[None]
    ) -> Answer:
        """Score within `seconds`, in a mode that `check` lets pass; when `gone` is done, drop it.

        Raises `ServiceError`.
        """
        query, passages = question.query, question.passages
        if mode == "teacher":
            assert self._teacher is not None
            outcome = await self._teacher.scorer.score(query, passages, seconds, gone)
            return Answer(outcome, mode, frozenset(range(len(passages))))
        start = time.perf_counter()
        outcome = await self._student.scorer.score(query, passages, seconds, gone)
        if self._shadow is not None:
            self._shadow.offer(query, passages, outcome)
        if mode == "student":
            return Answer(outcome, mode)
        assert self._teacher is not None
        left = seconds - (time.perf_counter() - start)
        ended, answer = await self._second_opinion(self._teacher, question, outcome, left, gone)
        self._metrics.requests.labels(ended).inc()
        by_teacher = len(answer.by_teacher)
        self._metrics.passages.labels("teacher").inc(by_teacher)
        self._metrics.passages.labels("student").inc(len(passages) - by_teacher)
        return answer

    async def _second_opinion(
        self,
        teacher: Model,
        question: Question,
        first: Outcome,
        left: float,
        gone: asyncio.Future[None],
    ) -> tuple[CascadeOutcome, Answer]:
        doubtful = self._doubtful(first, question.top_n)
        if not doubtful:
            return "settled", Answer(first, "cascade")
        passages = [question.passages[index] for index in doubtful]
        planned = teacher.scorer.estimate_seconds(question.query, passages)
        fitting = int(np.count_nonzero(planned <= left * PLANNED_TIME))
        if not fitting:
            return "late", Answer(first, "cascade")
        try:
            second = await teacher.scorer.score(
                question.query, passages[:fitting], left * TEACHER_TIME, gone
            )
        except (DeadlinePassed, Overloaded, NotReady, InferenceFailed):
            return "late", Answer(first, "cascade")
        rows = [row for row in range(fitting) if row not in second.errors]
        indices = [doubtful[row] for row in rows]
        merged = replace(
            first,
            score=merge(first.score, second.score[rows], indices),
            raw=merge(first.raw, second.raw[rows], indices),
            tokens=first.tokens + second.tokens,
            seconds=StageSeconds(
                tokenize=first.seconds.tokenize + second.seconds.tokenize,
                queue=first.seconds.queue + second.seconds.queue,
                infer=first.seconds.infer + second.seconds.infer,
            ),
        )
        return ("asked" if rows else "late"), Answer(merged, "cascade", frozenset(indices))

    def _doubtful(self, first: Outcome, top_n: int | None) -> list[int]:
        sound = [index for index in range(len(first.score)) if index not in first.errors]
        limit = allowance(len(first.score), self._cascade_share)
        picked = choose(first.score[sound], first.spread[sound], limit, top_n=top_n)
        return [sound[row] for row in picked]
