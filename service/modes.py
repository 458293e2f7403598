"""Modes: who scores a request, the student, the teacher, or the student with the teacher's help.

In a cascade the student ranks all, and `models/cascade.py` says which passages the teacher is asked
about. Whatever keeps the teacher from answering, the deadline above all, the student's scores
stand: a cascade is never later than the student would be allowed to be, and never fails where the
student does not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np

from retort.models.cascade import allowance, choose, merge
from retort.models.scores import FloatArray
from retort.service.comparison_metrics import CascadeMetrics, CascadeOutcome
from retort.service.engine.job import Outcome, StageSeconds
from retort.service.errors import (
    DeadlinePassed,
    InferenceFailed,
    InvalidRequest,
    NotReady,
    Overloaded,
)
from retort.service.metrics import Role
from retort.service.served import Served
from retort.service.settings import Mode

# Of the time that is left, what the teacher may take: the answer has to be written too, and what a
# batch will take is a guess.
TEACHER_TIME = 0.9
PLANNED_TIME = 0.75

# Told of every request that the student scored whole.
Seen = Callable[["Asked", Outcome], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """A query and its passages; the client keeps the best `top_n`, None: all."""

    query: str
    passages: Sequence[str]
    top_n: int | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores, in which mode they were made, and the passages that the teacher had a say in."""

    outcome: Outcome
    mode: Mode
    by_teacher: frozenset[int] = frozenset()


class Modes:
    """Scores requests. `seen` is told what the student said, in mode student and in a cascade."""

    def __init__(
        self,
        student: Served,
        teacher: Served | None,
        metrics: CascadeMetrics,
        *,
        cascade_share: float,
        seen: Seen,
    ) -> None:
        self._student = student
        self._teacher = teacher
        self._metrics = metrics
        self._cascade_share = cascade_share
        self._seen = seen
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
        self, asked: Asked, mode: Mode, seconds: float, gone: asyncio.Future[None]
    ) -> Scored:
        """Score within `seconds`; when `gone` is done, the client is.

        Raises `ServiceError`, `InvalidRequest` among them for a mode that needs a teacher.
        """
        self.check(mode)
        if mode == "teacher":
            assert self._teacher is not None
            scorer = self._teacher.scorer
            outcome = await scorer.score(asked.query, asked.passages, seconds, gone)
            return Scored(outcome, mode, frozenset(range(len(asked.passages))))
        start = time.perf_counter()
        outcome = await self._student.scorer.score(asked.query, asked.passages, seconds, gone)
        self._seen(asked, outcome)
        if mode == "student":
            return Scored(outcome, mode)
        assert self._teacher is not None
        left = seconds - (time.perf_counter() - start)
        told, scored = await self._second_opinion(self._teacher, asked, outcome, left, gone)
        self._metrics.requests.labels(told).inc()
        by_teacher = len(scored.by_teacher)
        self._metrics.passages.labels("teacher").inc(by_teacher)
        self._metrics.passages.labels("student").inc(len(asked.passages) - by_teacher)
        return scored

    async def _second_opinion(
        self,
        teacher: Served,
        asked: Asked,
        first: Outcome,
        left: float,
        gone: asyncio.Future[None],
    ) -> tuple[CascadeOutcome, Scored]:
        chosen = self._doubtful(first, asked.top_n)
        if not chosen:
            return "settled", Scored(first, "cascade")
        passages = [asked.passages[index] for index in chosen]
        planned = teacher.scorer.estimate_seconds(asked.query, passages)
        fitting = int(np.count_nonzero(planned <= left * PLANNED_TIME))
        if not fitting:
            return "late", Scored(first, "cascade")
        try:
            second = await teacher.scorer.score(
                asked.query, passages[:fitting], left * TEACHER_TIME, gone
            )
        except (DeadlinePassed, Overloaded, NotReady, InferenceFailed):
            return "late", Scored(first, "cascade")
        rows = [row for row in range(fitting) if row not in second.errors]
        indices = [chosen[row] for row in rows]
        merged = replace(
            first,
            score=_merged(first.score, second.score[rows], indices),
            raw=_merged(first.raw, second.raw[rows], indices),
            tokens=first.tokens + second.tokens,
            seconds=_sum(first.seconds, second.seconds),
        )
        return ("asked" if rows else "late"), Scored(merged, "cascade", frozenset(indices))

    def _doubtful(self, first: Outcome, top_n: int | None) -> list[int]:
        sound = [index for index in range(len(first.score)) if index not in first.errors]
        limit = allowance(len(first.score), self._cascade_share)
        picked = choose(first.score[sound], first.spread[sound], limit, top_n=top_n)
        return [sound[row] for row in picked]


def _merged(student: FloatArray, teacher: FloatArray, indices: Sequence[int]) -> FloatArray:
    both = student.copy()
    merge(both, teacher, indices)
    return both


def _sum(one: StageSeconds, other: StageSeconds) -> StageSeconds:
    return StageSeconds(
        tokenize=one.tokenize + other.tokenize,
        queue=one.queue + other.queue,
        infer=one.infer + other.infer,
    )
