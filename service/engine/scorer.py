"""The scorer: the engine's front, where the event loop hands requests in and gets scores back.

Behind it work threads, each of which tokenizes or infers, whichever the queue says is more useful.
With one more worker than the backend has slots, the next batch is tokenized while the backend
works; and when nothing else goes on, one worker takes a request all the way without a hand-over.
A batch that fails is halved and tried again; a pair that still fails gets its own error.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from retort.models.arrays import FloatArray
from retort.models.encoding import PairEncoder
from retort.models.runtime.base import Backend
from retort.models.scores import combine
from retort.service.engine.job import Job, Outcome
from retort.service.engine.queue import Span, Work, WorkQueue
from retort.service.engine.scheduler import Policy
from retort.service.engine.tokenization import CHUNK_PASSAGES, PassageTokens, estimate_tokens
from retort.service.errors import ClientGone, DeadlinePassed, InferenceFailed
from retort.service.metrics import Metrics, Role

logger = logging.getLogger("retort")


class Scorer:
    """Scores queries against passages, many requests at once.

    `limit_tokens` bounds what waits; `slots` is how many batches the backend may have at once, and
    `streams` how many of them it computes side by side; `role` labels the metrics.
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
    ) -> None:
        self._encoder = encoder
        self._loop = asyncio.get_running_loop()
        self._queue = WorkQueue(
            policy, limit_tokens=limit_tokens, slots=slots, streams=streams, clock=time.perf_counter
        )
        self._queue.seconds_per_token = seconds_per_token
        self._keys = itertools.count()
        self._tokens = PassageTokens(encoder) if tokens is None else tokens
        self._backend = backend
        self._metrics = metrics
        self._role = role
        self._last_pass_worked = True
        self._threads = [
            threading.Thread(target=self._work, name=f"retort-{role}-{number}", daemon=True)
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
        return self._last_pass_worked and all(thread.is_alive() for thread in self._threads)

    async def score(
        self,
        query: str,
        passages: Sequence[str],
        timeout_seconds: float,
        gone: asyncio.Future[None] | None = None,
        *,
        background: bool = False,
    ) -> Outcome:
        """Score `query` against `passages`; in the background: after all foreground requests.

        When `gone` is done, the client has left, and what is not yet inferred is dropped. Raises
        `Overloaded` or `NotReady` at once; later `DeadlinePassed`, `ClientGone` or, if the text
        could not be tokenized, `InferenceFailed`.
        """
        queue = self._queue
        arrival = queue.clock()
        deadline = arrival + timeout_seconds
        tokens = estimate_tokens(query, passages, self._encoder.truncation)
        due = queue.policy.due(arrival, deadline, tokens, queue.seconds_per_token)
        job = Job(
            key=next(self._keys),
            query=query,
            passages=passages,
            deadline=deadline,
            due=deadline if background else due,
            held_tokens=tokens,
            result=self._loop.create_future(),
        )
        queue.put(job)
        timer = self._loop.call_later(timeout_seconds, _expire, job, timeout_seconds)
        if gone is not None:
            gone.add_done_callback(lambda _: _fail(job, ClientGone("the client has gone")))
        try:
            return await job.result
        finally:
            timer.cancel()
            if not job.dead:
                queue.leave(job)

    def estimate_seconds(self, query: str, passages: Sequence[str]) -> FloatArray:
        """Estimate when each passage would be scored, in seconds from now; (passages,).

        Everything that waits goes first, and then the passages in their order.
        """
        own = [estimate_tokens(query, [text], self._encoder.truncation) for text in passages]
        before = self._queue.tokens + np.cumsum(own, dtype=np.float64)
        return before * self._queue.seconds_per_token

    async def close(self) -> None:
        """Finish what was accepted, accept nothing more, end the workers."""
        self._queue.close()
        with ThreadPoolExecutor(1) as pool:
            for thread in self._threads:
                await self._loop.run_in_executor(pool, thread.join)

    def _work(self) -> None:
        """The loop of each thread, until the queue is closed and empty."""
        while (task := self._queue.take()) is not None:
            if isinstance(task, Job):
                self._tokenize(task)
            else:
                self._infer(task)

    def _tokenize(self, job: Job) -> None:
        start = self._queue.clock()
        try:
            if job.encoded_query is None:
                job.encoded_query = self._encoder.encode_query(job.query)
            begin = len(job.pairs)
            chunk = self._tokens.encode(job.passages[begin : begin + CHUNK_PASSAGES])
            pairs = [self._encoder.join(job.encoded_query, passage) for passage in chunk]
        except Exception as error:
            logger.exception("tokenizing failed")
            self._queue.leave(job)
            failed = InferenceFailed(f"the text could not be tokenized: {error}")
            self._loop.call_soon_threadsafe(_fail, job, failed)
            return
        self._queue.encoded(job, pairs, self._queue.clock() - start)

    def _infer(self, work: Work) -> None:
        start = self._queue.clock()
        self._score_pairs(work.spans, work.length)
        seconds = self._queue.clock() - start
        tokens = sum(span.tokens for span in work.spans)
        done = self._queue.scored(work, seconds)
        if done:
            # One wake-up of the event loop for all of them.
            self._loop.call_soon_threadsafe(_resolve, done, self._queue.clock())
        self._metrics.batch(pairs=work.pairs, tokens=tokens, padded=work.padded_tokens)

    def _score_pairs(self, spans: Sequence[Span], length: int) -> None:
        pairs = [span.job.pairs[index] for span in spans for index in span.indices]
        try:
            batch = self._encoder.collate(pairs, length)
            start = self._queue.clock()
            logits = self._backend.infer(batch)
            seconds = self._queue.clock() - start
            self._metrics.pair_seconds.add(self._role, len(pairs), seconds)
            if len(logits) != len(pairs):
                raise RuntimeError(f"the backend gave {len(logits)} rows for {len(pairs)} pairs")
            scores = combine(logits)
            self._last_pass_worked = bool(scores.finite.any())
        except Exception as error:
            self._last_pass_worked = False
            if len(pairs) == 1:
                logger.exception("a pair of %d tokens could not be scored", len(pairs[0]))
                spans[0].job.errors[spans[0].indices[0]] = f"the backend failed: {error}"
                return
            logger.warning("a batch of %d pairs failed, trying halves: %s", len(pairs), error)
            for half in _halves(spans, len(pairs) // 2):
                self._score_pairs(half, length)
            return
        row = 0
        for span in spans:
            span.job.keep(span.indices, scores, row)
            row += len(span.indices)


def _expire(job: Job, timeout_seconds: float) -> None:
    message = (
        f"not scored within {timeout_seconds * 1000:.0f} ms: "
        "send fewer passages, or allow more in timeout_ms"
    )
    _fail(job, DeadlinePassed(message, param="timeout_ms"))


def _fail(job: Job, error: Exception) -> None:
    if not job.result.done():
        job.result.set_exception(error)


def _resolve(jobs: list[Job], now: float) -> None:
    for job in jobs:
        if not job.result.done():
            job.result.set_result(job.outcome(now))


def _halves(spans: Sequence[Span], middle: int) -> tuple[list[Span], list[Span]]:
    """Split spans after `middle` pairs.

    Example: spans of 3 and 2 pairs, split after 2, are (2) and (1, 2).
    """
    left: list[Span] = []
    right: list[Span] = []
    for span in spans:
        room = max(0, middle)
        if span.indices[:room]:
            left.append(Span(span.job, span.indices[:room]))
        if span.indices[room:]:
            right.append(Span(span.job, span.indices[room:]))
        middle -= len(span.indices)
    return left, right
