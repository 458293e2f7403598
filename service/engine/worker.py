"""The worker: a thread that tokenizes and infers, whichever the queue says is more useful.

With one more worker than the backend has slots, the next batch is tokenized while the backend
works; and when nothing else goes on, one worker takes a request all the way without a hand-over.
A batch that fails is halved and tried again; a pair that still fails gets an error of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from retort.models.encoding import Batch, PairEncoder
from retort.models.runtime.base import Backend, LogitArray
from retort.models.scores import combine
from retort.service.engine.job import Job
from retort.service.engine.queue import Span, Text, Work, WorkQueue
from retort.service.engine.tokenization import PassageTokens, encode_chunk
from retort.service.errors import InferenceFailed
from retort.service.metrics import Metrics, Role

logger = logging.getLogger("retort")

Done = Callable[[list[Job], Exception | None], None]


@dataclass(slots=True)
class Pulse:
    """Whether the last forward pass gave scores; shared by the workers of an engine."""

    beats: bool = True


class Worker:
    """Takes work from `queue` until that is closed; `done` is told of jobs that are finished."""

    def __init__(
        self,
        queue: WorkQueue,
        encoder: PairEncoder,
        tokens: PassageTokens,
        backend: Backend,
        metrics: Metrics,
        role: Role,
        pulse: Pulse,
        done: Done,
    ) -> None:
        self._queue = queue
        self._encoder = encoder
        self._tokens = tokens
        self._backend = backend
        self._metrics = metrics
        self._role = role
        self._pulse = pulse
        self._done = done

    def run(self) -> None:
        """Work until the queue is closed and empty."""
        while (task := self._queue.take()) is not None:
            if isinstance(task, Text):
                self._tokenize(task.job)
            else:
                self._infer(task)

    def _tokenize(self, job: Job) -> None:
        start = self._queue.clock()
        try:
            if job.encoded_query is None:
                job.encoded_query = self._encoder.encode_query(job.query)
            pairs = encode_chunk(
                self._encoder, self._tokens, job.encoded_query, job.passages, len(job.pairs)
            )
        except Exception as error:
            logger.exception("tokenizing failed")
            self._queue.leave(job)
            self._done([job], InferenceFailed(f"the text could not be tokenized: {error}"))
            return
        self._queue.encoded(job, pairs, self._queue.clock() - start)

    def _infer(self, work: Work) -> None:
        start = self._queue.clock()
        self._score(work.spans, work.length)
        seconds = self._queue.clock() - start
        tokens = sum(span.tokens for span in work.spans)
        done = self._queue.scored(work, seconds)
        if done:
            self._done(done, None)
        self._metrics.batch(pairs=work.pairs, tokens=tokens, padded=work.padded_tokens)

    def _score(self, spans: Sequence[Span], length: int) -> None:
        pairs = [span.job.pairs[index] for span in spans for index in span.indices]
        try:
            logits = self._timed(self._encoder.collate(pairs, length))
            if len(logits) != len(pairs):
                raise RuntimeError(f"the backend gave {len(logits)} rows for {len(pairs)} pairs")
            scores = combine(logits)
            self._pulse.beats = bool(scores.finite.any())
        except Exception as error:
            self._pulse.beats = False
            if len(pairs) == 1:
                logger.exception("a pair of %d tokens could not be scored", len(pairs[0]))
                spans[0].job.errors[spans[0].indices[0]] = f"the backend failed: {error}"
                return
            logger.warning("a batch of %d pairs failed, trying halves: %s", len(pairs), error)
            for half in _halves(spans, len(pairs) // 2):
                self._score(half, length)
            return
        start = 0
        for span in spans:
            stop = start + len(span.indices)
            span.job.keep(span.indices, scores.rows(start, stop))
            start = stop

    def _timed(self, batch: Batch) -> LogitArray:
        start = self._queue.clock()
        logits = self._backend.infer(batch)
        self._metrics.pair_seconds.add(self._role, batch.shape[0], self._queue.clock() - start)
        return logits


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
