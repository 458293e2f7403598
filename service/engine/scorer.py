"""The scorer: the engine's front, where the event loop hands requests in and gets scores back."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from retort.models.encoding import PairEncoder
from retort.models.runtime.base import Backend
from retort.service.engine.job import Job, Outcome
from retort.service.engine.queue import Clock, WorkQueue
from retort.service.engine.scheduler import Policy
from retort.service.engine.tokenization import PassageTokens, estimate_tokens
from retort.service.engine.worker import Pulse, Worker
from retort.service.errors import ClientGone, DeadlinePassed
from retort.service.metrics import Metrics, Role


class Scorer:
    """Scores queries against passages, many requests at once.

    `limit_tokens` bounds what waits; `slots` is how many batches the backend may have at once, and
    `streams` how many of them it computes side by side; `role` says in the metrics whose seconds
    are spent.
    """

    def __init__(
        self,
        encoder: PairEncoder,
        backend: Backend,
        policy: Policy,
        metrics: Metrics,
        *,
        limit_tokens: int,
        role: Role = "student",
        tokens: PassageTokens | None = None,
        slots: int = 1,
        streams: int = 1,
        seconds_per_token: float = 1e-5,
        clock: Clock = time.perf_counter,
    ) -> None:
        self._encoder = encoder
        self._loop = asyncio.get_running_loop()
        self._queue = WorkQueue(
            policy, limit_tokens=limit_tokens, slots=slots, streams=streams, clock=clock
        )
        self._queue.seconds_per_token = seconds_per_token
        self._keys = itertools.count()
        self._pulse = Pulse()
        worker = Worker(
            self._queue,
            encoder,
            PassageTokens(encoder) if tokens is None else tokens,
            backend,
            metrics,
            role,
            self._pulse,
            self._done,
        )
        self._threads = [
            threading.Thread(target=worker.run, name=f"retort-{role}-{number}", daemon=True)
            for number in range(slots + 1)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def queue_tokens(self) -> int:
        """Tokens accepted and not yet scored."""
        return self._queue.tokens

    @property
    def healthy(self) -> bool:
        """Whether the last forward pass worked, and every worker lives."""
        return self._pulse.beats and all(thread.is_alive() for thread in self._threads)

    async def score(
        self,
        query: str,
        passages: Sequence[str],
        timeout_seconds: float,
        gone: asyncio.Future[None] | None = None,
        *,
        background: bool = False,
    ) -> Outcome:
        """Score `query` against `passages`; in the background, after all that is not.

        When `gone` is done, the client is, and what is not yet inferred is dropped. Raises
        `Overloaded` or `NotReady` at once; later `DeadlinePassed`, `ClientGone` or, if the text
        could not be tokenized, `InferenceFailed`.
        """
        job = self._job(query, passages, timeout_seconds, background)
        self._queue.put(job)
        timer = self._loop.call_later(timeout_seconds, _expire, job, timeout_seconds)
        if gone is not None:
            gone.add_done_callback(lambda _: _fail(job, ClientGone("the client has gone")))
        try:
            return await job.result
        finally:
            timer.cancel()
            if not job.dead:
                self._queue.leave(job)

    def estimate_seconds(self, query: str, passages: Sequence[str]) -> NDArray[np.float64]:
        """About when each passage would be scored, in seconds from now; (passages,).

        All that waits goes before, and each passage waits for those that stand before it.
        """
        own = [estimate_tokens(query, [text], self._encoder.truncation) for text in passages]
        before = self._queue.tokens + np.cumsum(own, dtype=np.float64)
        return before * self._queue.seconds_per_token

    def _job(
        self, query: str, passages: Sequence[str], timeout_seconds: float, background: bool
    ) -> Job:
        arrival = self._queue.clock()
        deadline = arrival + timeout_seconds
        tokens = estimate_tokens(query, passages, self._encoder.truncation)
        policy, pace = self._queue.policy, self._queue.seconds_per_token
        return Job(
            key=next(self._keys),
            query=query,
            passages=passages,
            deadline=deadline,
            due=deadline if background else policy.due(arrival, deadline, tokens, pace),
            held_tokens=tokens,
            result=self._loop.create_future(),
        )

    async def close(self) -> None:
        """Finish what was accepted, accept nothing more, end the workers."""
        self._queue.close()
        with ThreadPoolExecutor(1) as pool:
            for thread in self._threads:
                await self._loop.run_in_executor(pool, thread.join)

    def _done(self, jobs: list[Job], error: Exception | None) -> None:
        """Called by a worker; hands results over to the event loop, one wake-up for all."""
        now = self._queue.clock()
        self._loop.call_soon_threadsafe(_resolve, jobs, error, now)


def _expire(job: Job, timeout_seconds: float) -> None:
    message = (
        f"not scored within {timeout_seconds * 1000:.0f} ms: "
        "send fewer passages, or allow more in timeout_ms"
    )
    _fail(job, DeadlinePassed(message, param="timeout_ms"))


def _fail(job: Job, error: Exception) -> None:
    if not job.result.done():
        job.result.set_exception(error)


def _resolve(jobs: list[Job], error: Exception | None, now: float) -> None:
    for job in jobs:
        if error is not None:
            _fail(job, error)
        elif not job.result.done():
            job.result.set_result(job.outcome(now))
