"""The shadow: a share of the requests is scored by the teacher too, later, and compared.

No client waits for it. A sampled request is put aside, if there is room among those put aside
already; then the teacher scores it in small parts, and each part waits until neither the student
nor the teacher has anything else to do. On a CPU both share the cores, so a part is small: a
request that comes in meanwhile is held up by no more than that. What finds no quiet moment for a
part within the patience is dropped: under load the shadow is the first to go.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from retort.models.rankings import compare
from retort.models.scores import FloatArray
from retort.service.comparison import Recent
from retort.service.comparison_metrics import ShadowMetrics, ShadowOutcome
from retort.service.disagreements import Disagreement, DisagreementFile
from retort.service.engine.job import Outcome
from retort.service.errors import ServiceError
from retort.service.modes import Asked
from retort.service.served import Served

logger = logging.getLogger("retort")

# What may wait, in all.
WAITING_PASSAGES, WAITING_CHARACTERS = 1_024, 4_000_000
PATIENCE_SECONDS = 10.0
# A queue is empty for an instant between any two requests: quiet is several looks in a row.
LOOK_SECONDS, QUIET_LOOKS = 0.01, 3
# A usual request is one part, so that student and teacher are timed at batches of like size. A GPU
# is not shared for long by a batch, and small ones would make the teacher look slow.
CPU_PART, GPU_PART = 16, 128
PART_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Sample:
    """A sampled request with the student's scores (passages,)."""

    asked: Asked
    student_scores: FloatArray

    @property
    def characters(self) -> int:
        """How much text it holds."""
        return len(self.asked.query) + sum(map(len, self.asked.passages))


class Shadow:
    """Samples a `share` of what it is offered. `file` takes those of another first passage."""

    def __init__(
        self,
        share: float,
        student: Served,
        teacher: Served,
        metrics: ShadowMetrics,
        file: DisagreementFile | None = None,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.recent = Recent()
        self._share = share
        self._student = student
        self._teacher = teacher
        self._metrics = metrics
        self._file = file
        self._patience = patience_seconds
        self._chance = chance
        self._waiting: deque[Sample] = deque()
        self._passages = 0
        self._characters = 0
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        version = student.manifest.version
        for outcome in get_args(ShadowOutcome):
            metrics.requests.labels(outcome)
        for family in (metrics.agreed, metrics.compared, metrics.tau, metrics.difference):
            family.labels(version)
        metrics.agreement.labels(version).set_function(
            lambda: float("nan") if (now := self.recent.top1_agreement) is None else now
        )

    def start(self) -> None:
        """Begin to compare."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Drop what waits."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def offer(self, asked: Asked, outcome: Outcome) -> None:
        """Perhaps put a request aside; returns at once.

        One passage is no ranking, and one without a score cannot be compared: not sampled.
        """
        if len(asked.passages) < 2 or outcome.errors or self._chance() >= self._share:
            return
        sample = Sample(asked, outcome.score)
        passages = self._passages + len(asked.passages)
        characters = self._characters + sample.characters
        if passages > WAITING_PASSAGES or characters > WAITING_CHARACTERS:
            self._count("dropped")
            return
        self._passages, self._characters = passages, characters
        self._waiting.append(sample)
        self._arrived.set()

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            sample = self._waiting[0]
            try:
                self._count(await self._follow(sample))
            except Exception:
                logger.exception("a shadowed request failed")
                self._count("failed")
            # Only now: what is being compared takes room as well.
            self._waiting.popleft()
            self._passages -= len(sample.asked.passages)
            self._characters -= sample.characters
            if not self._waiting:
                self._arrived.clear()

    async def _follow(self, sample: Sample) -> ShadowOutcome:
        asked = sample.asked
        parts: list[FloatArray] = []
        for start in range(0, len(asked.passages), self._part):
            if not await self._quiet():
                return "dropped"
            part = asked.passages[start : start + self._part]
            try:
                outcome = await self._teacher.scorer.score(
                    asked.query, part, PART_TIMEOUT_SECONDS, background=True
                )
            except ServiceError as error:
                logger.warning("the teacher could not score a shadowed request: %s", error)
                return "failed"
            if outcome.errors:
                return "failed"
            parts.append(outcome.score)
        # Off the event loop: ranks of a thousand passages take a while, and so may a disk.
        await asyncio.to_thread(self._conclude, sample, np.concatenate(parts))
        return "compared"

    async def _quiet(self) -> bool:
        looks, give_up_at = 0, time.perf_counter() + self._patience
        while looks < QUIET_LOOKS:
            if time.perf_counter() > give_up_at:
                return False
            await asyncio.sleep(LOOK_SECONDS)
            busy = self._student.queue_tokens or self._teacher.queue_tokens
            looks = 0 if busy else looks + 1
        return True

    def _conclude(self, sample: Sample, teacher_scores: FloatArray) -> None:
        found = compare(sample.student_scores, teacher_scores)
        self.recent.add(found)
        version = self._student.manifest.version
        self._metrics.compared.labels(version).inc()
        self._metrics.agreed.labels(version).inc(found.top1_agrees)
        self._metrics.difference.labels(version).observe(found.mean_difference)
        if found.kendall_tau is not None:
            self._metrics.tau.labels(version).observe(found.kendall_tau)
        if self._file is not None and not found.top1_agrees:
            self._file.write(
                Disagreement(
                    sample.asked.query,
                    sample.asked.passages,
                    _told(sample.student_scores),
                    _told(teacher_scores),
                )
            )

    @property
    def _part(self) -> int:
        loaded = self._teacher.loaded
        on_gpu = loaded is not None and loaded.chosen.backend.info.on_gpu
        return GPU_PART if on_gpu else CPU_PART

    def _count(self, outcome: ShadowOutcome) -> None:
        self._metrics.requests.labels(outcome).inc()


def _told(scores: FloatArray) -> Sequence[float]:
    return [round(score, 6) for score in scores.tolist()]
