"""The shadow: a share of the requests is scored by the teacher too, later, and compared.

No client waits for it. A sampled request is put aside, if there is room among those put aside
already; then the teacher scores it in small parts, and each part waits until neither the student
nor the teacher has anything else to do. On a CPU both share the cores, so a part is small: a
request that comes in meanwhile is held up by no more than that. A request that finds no idle moment
in time for one of its parts is dropped: under load the shadow is the first to go.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import logging
import math
import os
import random
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import BinaryIO, get_args

import numpy as np
import orjson

from retort.models.arrays import FloatArray
from retort.models.errors import StartError
from retort.models.manifest import Manifest
from retort.models.rankings import Comparison, compare
from retort.models.reading.windows import READING, Reading
from retort.service.engine.job import Outcome
from retort.service.engines import Engines
from retort.service.errors import ServiceError
from retort.service.metrics import ShadowMetrics, ShadowOutcome
from retort.service.settings import Settings

logger = logging.getLogger("retort")

# How much may be put aside at a time.
WAITING_PASSAGES, WAITING_CHARACTERS = 1_024, 4_000_000
PATIENCE_SECONDS = 10.0
# A queue is empty for an instant between any two requests: quiet is several looks in a row.
LOOK_SECONDS, QUIET_LOOKS = 0.01, 3
# A usual request is one part, so that student and teacher are timed at batches of like size. A GPU
# is busy with a batch for a short time only, and small ones would make the teacher look slow.
CPU_PART, GPU_PART = 16, 128
PART_TIMEOUT_SECONDS = 60.0
RECENT_REQUESTS = 1_000


class Recent:
    """The most recent comparisons of student and teacher, and their means.

    All front ends of a server keep them together, in a file at `path`; one alone needs none.
    Thread-safe.
    """

    def __init__(self, path: Path | None = None, size: int = RECENT_REQUESTS) -> None:
        shape = size + 1, 3  # how many there were, then for each: top 1 agrees, tau, difference
        self._size = size
        self._path = path
        self._lock = Lock()
        self._rows: FloatArray
        if path is None:
            self._rows = np.zeros(shape)
            return
        with self._alone() as file:
            if file is not None and not path.stat().st_size:
                file.write(bytes(8 * shape[0] * shape[1]))
        self._rows = np.memmap(path, np.float64, "r+", shape=shape)

    @property
    def total(self) -> int:
        """Comparisons since the start."""
        return int(self._rows[0, 0])

    def add(self, comparison: Comparison) -> None:
        """Keep one more, and forget the oldest if there are too many."""
        tau = math.nan if comparison.kendall_tau is None else comparison.kendall_tau
        with self._lock, self._alone():
            row = 1 + self.total % self._size
            self._rows[row] = comparison.top1_agrees, tau, comparison.mean_difference
            self._rows[0, 0] += 1

    @property
    def top1_agreement(self) -> float | None:
        """The share with the same first passage; None before the first."""
        return self._mean(0)

    @property
    def kendall_tau(self) -> float | None:
        """Mean tau-b; None before the first."""
        return self._mean(1)

    @property
    def score_difference(self) -> float | None:
        """Mean |student - teacher|; None before the first."""
        return self._mean(2)

    def _mean(self, column: int) -> float | None:
        values = self._rows[1 : 1 + min(self.total, self._size), column]
        values = values[~np.isnan(values)]
        return float(values.mean()) if len(values) else None

    @contextmanager
    def _alone(self) -> Iterator[BinaryIO | None]:
        """Keep the other processes out, until the file that they share is closed."""
        if self._path is None:
            yield None
            return
        with self._path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file


@dataclass(frozen=True, slots=True)
class Sample:
    """A sampled request with the student's scores (passages,), and how its passages are read."""

    query: str
    passages: Sequence[str]
    student_scores: FloatArray
    student: Manifest
    reading: Reading = READING

    @property
    def characters(self) -> int:
        """How much text it holds."""
        return len(self.query) + sum(map(len, self.passages))


class DisagreementFile:
    """Shadowed requests whose top passage differs between student and teacher: JSON, one per line.

    It appends to `path`; not thread-safe, and it waits for the disk: call it from one thread.
    Raises `StartError` if the file cannot be written.

        {"time": "2026-01-31T12:00:00+00:00", "student": "retort-small", "version": "0.2.0",
         "teacher": "retort-teacher", "teacher_version": "0.1.0", "hashed": false,
         "query": "how tall …", "passages": ["The tower …", "Paris …"],
         "student_scores": [0.41, 0.52], "teacher_scores": [0.93, 0.02]}

    `student_scores` and `teacher_scores` are probabilities in the order of `passages`. While
    `hashed` is true, the query and each passage are `sha256:` and 64 hex digits of their UTF-8
    text: so one can see that a text came again and compare it with known texts, but one cannot
    train on it. Records with `hashed` false can: each passage with the query is a stage-1 pair.

    Only its owner can read the file (mode 0600), and it never grows over its bound: a record that
    does not fit is not written. Move the file away, and the next record begins a new one. Mind
    that the sha256 of a short query can be guessed; what must not leak must not be written.
    """

    def __init__(self, path: Path, *, texts: bool, max_bytes: int) -> None:
        self._path = path
        self._texts = texts
        self._max_bytes = max_bytes
        self._warned = False
        try:
            self._append(b"")
        except OSError as error:
            raise StartError(
                f"disagreements: {path} cannot be written ({error.strerror}): "
                "name a file in a folder that the server may write to"
            ) from None

    def write(self, sample: Sample, teacher_scores: FloatArray, teacher: Manifest) -> bool:
        """Write one record; False if there is no room for it, or the disk refused it."""
        shown = str if self._texts else hashed
        record = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "student": sample.student.name,
            "version": sample.student.version,
            "teacher": teacher.name,
            "teacher_version": teacher.version,
            "hashed": not self._texts,
            "query": shown(sample.query),
            "passages": [shown(passage) for passage in sample.passages],
            "student_scores": [round(score, 6) for score in sample.student_scores.tolist()],
            "teacher_scores": [round(score, 6) for score in teacher_scores.tolist()],
        }
        line = orjson.dumps(record) + b"\n"
        try:
            written = self._append(line)
        except OSError as error:
            self._warn(f"{self._path} cannot be written: {error.strerror}")
            return False
        if written:
            self._warned = False
        else:
            self._warn(f"{self._path} is full ({self._max_bytes} bytes): move it away to go on")
        return written

    def _append(self, line: bytes) -> bool:
        # Opened each time, so that it can be moved away while the server runs.
        number = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(number, "ab") as file:
            if file.tell() + len(line) > self._max_bytes:
                return False
            file.write(line)
        return True

    def _warn(self, problem: str) -> None:
        if not self._warned:
            logger.warning("disagreements: %s", problem)
            self._warned = True


class Shadow:
    """Samples a share of what the default student of `engines` has scored.

    All front ends of a server keep their comparisons in the folder `shared`. Raises `StartError` if
    the disagreement file cannot be written.
    """

    def __init__(
        self,
        settings: Settings,
        engines: Engines,
        metrics: ShadowMetrics,
        shared: Path | None = None,
    ) -> None:
        self.recent = Recent(None if shared is None else shared / "comparisons")
        self._share = settings.shadow
        self._engines = engines
        self._metrics = metrics
        self._file: DisagreementFile | None = None
        if settings.disagreements is not None:
            self._file = DisagreementFile(
                settings.disagreements,
                texts=settings.disagreement_texts,
                max_bytes=settings.disagreements_max_bytes,
            )
        self._patience = PATIENCE_SECONDS
        self._chance = random.random
        self._waiting: deque[Sample] = deque()
        self._passages = 0
        self._characters = 0
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._versions: set[str] = set()
        for outcome in get_args(ShadowOutcome):
            metrics.requests.labels(outcome)

    def start(self) -> None:
        """Begin to compare."""
        self._task = asyncio.create_task(self._run())

    def begin(self, student: Manifest) -> None:
        """Show the metrics of a version of the student from now on."""
        version = student.version
        if version in self._versions:
            return
        self._versions.add(version)
        metrics = self._metrics
        for family in (metrics.agreed, metrics.compared, metrics.tau, metrics.difference):
            family.labels(version)
        self._tell_agreement(version)

    async def stop(self) -> None:
        """Drop what waits."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def offer(
        self,
        query: str,
        passages: Sequence[str],
        outcome: Outcome,
        student: Manifest,
        reading: Reading = READING,
    ) -> None:
        """Put a request aside, if it is sampled and there is room; returns at once.

        Requests of one passage are never sampled, since that is no ranking, nor those with a
        passage that has no score.
        """
        if len(passages) < 2 or outcome.errors or self._chance() >= self._share:
            return
        sample = Sample(query, passages, outcome.score, student, reading)
        waiting = self._passages + len(passages)
        characters = self._characters + sample.characters
        if waiting > WAITING_PASSAGES or characters > WAITING_CHARACTERS:
            self._count("dropped")
            return
        self._passages, self._characters = waiting, characters
        self._waiting.append(sample)
        self._arrived.set()

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            sample = self._waiting[0]
            try:
                self._count(await self._compare(sample))
            except Exception:
                logger.exception("a shadowed request failed")
                self._count("failed")
            # Only now, because what is being compared takes room as well.
            self._waiting.popleft()
            self._passages -= len(sample.passages)
            self._characters -= sample.characters
            if not self._waiting:
                self._arrived.clear()

    async def _compare(self, sample: Sample) -> ShadowOutcome:
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
        # Off the event loop: ranks of a thousand passages take a while, and so may a disk.
        await asyncio.to_thread(self._conclude, sample, np.concatenate(parts), served.manifest)
        return "compared"

    async def _quiet(self) -> bool:
        looks, give_up_at = 0, time.perf_counter() + self._patience
        while looks < QUIET_LOOKS:
            if time.perf_counter() > give_up_at:
                return False
            await asyncio.sleep(LOOK_SECONDS)
            busy = any(model.queue_tokens for model in self._engines.models)
            looks = 0 if busy else looks + 1
        return True

    def _conclude(self, sample: Sample, teacher_scores: FloatArray, teacher: Manifest) -> None:
        found = compare(sample.student_scores, teacher_scores)
        self.recent.add(found)
        student = sample.student
        version = student.version
        self.begin(student)
        self._metrics.compared.labels(version).inc()
        self._metrics.agreed.labels(version).inc(found.top1_agrees)
        self._metrics.difference.labels(version).observe(found.mean_difference)
        if found.kendall_tau is not None:
            self._metrics.tau.labels(version).observe(found.kendall_tau)
        self._tell_agreement(version)
        if self._file is not None and not found.top1_agrees:
            self._file.write(sample, teacher_scores, teacher)

    def _tell_agreement(self, version: str) -> None:
        now = self.recent.top1_agreement
        self._metrics.agreement.labels(version).set(math.nan if now is None else now)

    def _count(self, outcome: ShadowOutcome) -> None:
        self._metrics.requests.labels(outcome).inc()


def hashed(text: str) -> str:
    """A text's sha256, so that a text that came again can be recognised.

    Example: `sha256:` and then `2cf24dba5fb0a30e…` for "hello".
    """
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
