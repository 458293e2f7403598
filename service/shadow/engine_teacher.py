"""The teacher that this server runs: asked in small parts, while nothing else is to be done.

A part waits until neither the student nor the teacher has anything else to do. On a CPU both share
the cores, so a part is small: a request that comes in meanwhile is held up by no more than that. A
sample that finds no idle moment in time for one of its parts is dropped: under load the shadow is
the first to go.
"""

from __future__ import annotations

import asyncio
import logging
import time

import numpy as np

from retort.models.arrays import FloatArray
from retort.service.engines import Engines
from retort.service.errors import ServiceError
from retort.service.shadow.teacher import Missed, Sample, TeacherScores

logger = logging.getLogger("retort")

PATIENCE_SECONDS = 10.0
# A queue is empty for an instant between any two requests: quiet is several looks in a row.
LOOK_SECONDS, QUIET_LOOKS = 0.01, 3
# A usual request is one part, so that student and teacher are timed at batches of like size. A GPU
# is busy with a batch for a short time only, and small ones would make the teacher look slow.
CPU_PART, GPU_PART = 16, 128
PART_TIMEOUT_SECONDS = 60.0


class EngineTeacher:
    """The teacher of `engines`."""

    concurrency = 1
    raw = False
    distant = None

    def __init__(self, engines: Engines) -> None:
        self._engines = engines
        self._patience = PATIENCE_SECONDS

    def start(self) -> None:
        """The engines are started by whoever owns them."""

    async def stop(self) -> None:
        """And stopped."""

    async def score(self, sample: Sample) -> TeacherScores | Missed:
        """Score a sample in parts."""
        parts: list[FloatArray] = []
        teacher = self._engines.teacher
        assert teacher is not None
        size = GPU_PART if teacher.on_gpu else CPU_PART
        for start in range(0, len(sample.passages), size):
            if not await self._quiet():
                return "dropped"
            part = sample.passages[start : start + size]
            try:
                served, outcome = await teacher.score(
                    [sample.query],
                    part,
                    PART_TIMEOUT_SECONDS,
                    reading=sample.reading,
                    background=True,
                )
            except ServiceError as error:
                logger.warning("the teacher could not score a shadowed request: %s", error)
                return "failed"
            if outcome.errors:
                return "failed"
            parts.append(outcome.score)
        manifest = served.manifest
        return TeacherScores(np.concatenate(parts), manifest.name, manifest.version)

    async def _quiet(self) -> bool:
        looks, give_up_at = 0, time.perf_counter() + self._patience
        while looks < QUIET_LOOKS:
            if time.perf_counter() > give_up_at:
                return False
            await asyncio.sleep(LOOK_SECONDS)
            busy = any(model.queue_tokens for model in self._engines.models)
            looks = 0 if busy else looks + 1
        return True
