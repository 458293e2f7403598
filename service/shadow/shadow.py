"""Shadow: samples requests that the student has answered, and compares it with the teacher.

No client waits for it. A sampled request is put aside, if there is room among those put aside
already; then the teacher scores it, in this server (engine_teacher.py) or at a URL
(url_teacher.py).
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from retort.extras import install_advice
from retort.models.errors import StartError
from retort.models.manifest import Manifest
from retort.models.rankings import compare
from retort.models.reading.windows import READING, Reading
from retort.service.engine.job import Outcome
from retort.service.engines import Engines
from retort.service.metrics import ShadowMetrics, ShadowOutcome
from retort.service.settings import Settings
from retort.service.shadow.disagreements import DisagreementFile
from retort.service.shadow.engine_teacher import EngineTeacher
from retort.service.shadow.recent import Recent
from retort.service.shadow.teacher import Sample, ShadowTeacher, TeacherScores

logger = logging.getLogger("retort")

# How much may be put aside at a time, what is being scored included.
WAITING_PASSAGES, WAITING_CHARACTERS = 1_024, 4_000_000


class Shadow:
    """Samples a share of what the default student of `engines` has scored.

    All front ends of a server keep their comparisons in the folder `shared`. Raises `StartError` if
    the disagreement file cannot be written, or the teacher's URL cannot be asked from here.
    """

    def __init__(
        self,
        settings: Settings,
        engines: Engines,
        metrics: ShadowMetrics,
        shared: Path | None = None,
    ) -> None:
        self.recent = Recent(None if shared is None else shared / "comparisons")
        self.teacher = teacher_of(settings, engines)
        self._share = settings.shadow
        self._metrics = metrics
        self._file: DisagreementFile | None = None
        if settings.disagreements is not None:
            self._file = DisagreementFile(
                settings.disagreements,
                texts=settings.disagreement_texts,
                max_bytes=settings.disagreements_max_bytes,
            )
        self._chance = random.random
        self._waiting: deque[Sample] = deque()
        self._passages = 0
        self._characters = 0
        self._arrived = asyncio.Semaphore(0)  # as often as something was put aside
        # One after the other: the file of disagreements is for one thread.
        self._concluding = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._versions: set[str] = set()
        for outcome in get_args(ShadowOutcome):
            metrics.requests.labels(outcome)
        if self.teacher.distant is not None:
            metrics.begin_seconds()

    def start(self) -> None:
        """Begin to compare."""
        self.teacher.start()
        self._tasks = [asyncio.create_task(self._run()) for _ in range(self.teacher.concurrency)]

    def begin(self, student: Manifest) -> None:
        """Show the metrics of a version of the student from now on."""
        version = student.version
        if version in self._versions:
            return
        self._versions.add(version)
        metrics = self._metrics
        for family in (metrics.agreed, metrics.compared, metrics.tau):
            family.labels(version)
        if not self.teacher.raw:
            metrics.difference.labels(version)
        self._tell_agreement(version)

    async def stop(self) -> None:
        """Drop what waits."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.teacher.stop()

    def offer(
        self,
        query: str,
        passages: Sequence[str],
        outcome: Outcome,
        student: Manifest,
        reading: Reading = READING,
        seconds: float = 0.0,
    ) -> None:
        """Put a request aside, if it is sampled and there is room; returns at once.

        `seconds` is how long the student took for it.
        Requests of one passage are never sampled, since that is no ranking, nor those with a
        passage that has no score.
        """
        if len(passages) < 2 or outcome.errors or self._chance() >= self._share:
            return
        sample = Sample(query, passages, outcome.score, student, reading, seconds)
        waiting = self._passages + len(passages)
        characters = self._characters + sample.characters
        if waiting > WAITING_PASSAGES or characters > WAITING_CHARACTERS:
            self._count("dropped")
            return
        self._passages, self._characters = waiting, characters
        self._waiting.append(sample)
        self._arrived.release()

    async def _run(self) -> None:
        while True:
            await self._arrived.acquire()
            sample = self._waiting.popleft()
            try:
                self._count(await self._compare(sample))
            except Exception:
                logger.exception("a shadowed request failed")
                self._count("failed")
            # Only now, because what is being compared takes room as well.
            self._passages -= len(sample.passages)
            self._characters -= sample.characters

    async def _compare(self, sample: Sample) -> ShadowOutcome:
        found = await self.teacher.score(sample)
        if not isinstance(found, TeacherScores):
            return found
        # Off the event loop: ranks of a thousand passages take a while, and so may a disk.
        async with self._concluding:
            await asyncio.to_thread(self._conclude, sample, found)
        return "compared"

    def _conclude(self, sample: Sample, teacher: TeacherScores) -> None:
        found = compare(sample.student_scores, teacher.scores)
        self.recent.add(found, teacher.raw)
        student = sample.student
        version = student.version
        self.begin(student)
        self._metrics.compared.labels(version).inc()
        self._metrics.agreed.labels(version).inc(found.top1_agrees)
        if not teacher.raw:
            self._metrics.difference.labels(version).observe(found.mean_difference)
        if found.kendall_tau is not None:
            self._metrics.tau.labels(version).observe(found.kendall_tau)
        if teacher.seconds is not None:
            self._metrics.add_seconds(student=sample.seconds, teacher=teacher.seconds)
        self._tell_agreement(version)
        if self._file is not None and not found.top1_agrees:
            self._file.write(sample, teacher)

    def _tell_agreement(self, version: str) -> None:
        now = self.recent.top1_agreement
        self._metrics.agreement.labels(version).set(math.nan if now is None else now)

    def _count(self, outcome: ShadowOutcome) -> None:
        self._metrics.requests.labels(outcome).inc()


def teacher_of(settings: Settings, engines: Engines) -> ShadowTeacher:
    """The teacher that the settings name.

    Raises `StartError` if it is at a URL that cannot be asked from here.
    """
    if settings.teacher_url is None:
        return EngineTeacher(engines)
    return url_teacher(settings)


def url_teacher(settings: Settings) -> ShadowTeacher:
    """The teacher at the URL that the settings name. Raises `StartError`."""
    try:
        from retort.service.shadow.url_teacher import UrlTeacher
    except ImportError as error:
        if error.name != "httpx":
            raise
        raise StartError(install_advice("a teacher at a URL", "httpx", "client")) from error
    return UrlTeacher(settings)
