"""The engine: a queue, worker threads and a backend; what an engine process runs.

Jobs come in as messages of the wire, tokenized; scores go out through the callback that came with
them. Each worker takes a batch, has the backend score it, and takes the next. A batch that fails is
halved and tried again, and a pair that still fails has no score. The engine looks after itself
where it can: after a failed pass it tries a golden pair until one works, and now and then it scores
all golden pairs again. What it cannot mend it says: `trouble`, and `overdue_at` on its board.
"""

from __future__ import annotations

import itertools
import logging
import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from retort.models.arrays import LogitArray
from retort.models.bundle import Bundle
from retort.models.encoding import Batch
from retort.models.runtime.golden import compare_golden
from retort.models.scores import Scores
from retort.service.engine.board import Board
from retort.service.engine.job import Job
from retort.service.engine.load import Loaded
from retort.service.engine.pairs import Pairs
from retort.service.engine.queue import Span, Work, WorkQueue
from retort.service.engine.wire import Cancel, Failure, More, Open, Result
from retort.service.errors import DeadlinePassed, ServiceError
from retort.service.metrics import Metrics, Role

logger = logging.getLogger("retort")

Reply = Callable[[Result | Failure], None]

# After a failed pass, how often a golden pair is tried.
PROBE_SECONDS = 0.2
# Few golden pairs at a time: a request that comes meanwhile waits for no more than those.
RECHECKED_AT_ONCE = 4
# The least time between two looks.
TICK_SECONDS = 0.004


class Engine:
    """Scores jobs on a loaded backend.

    A pass is overdue after `hang_multiple` times the time it should take, and not before
    `hang_seconds`. The golden pairs are scored again every `recheck_seconds`; 0: never.
    """

    def __init__(
        self,
        bundle: Bundle,
        loaded: Loaded,
        metrics: Metrics,
        *,
        role: Role = "student",
        limit_tokens: int = 524_288,
        board: Board | None = None,
        hang_seconds: float = 0.6,
        hang_multiple: float = 20.0,
        recheck_seconds: float = 0.0,
    ) -> None:
        self.board = board or Board()
        self.trouble: str | None = None
        self.wrong = False  # whether the trouble is that it scores wrongly
        self._bundle = bundle
        self._loaded = loaded
        self._backend = loaded.chosen.backend
        self._metrics = metrics
        self._role = role
        self.queue = WorkQueue(
            loaded.policy,
            loaded.pace,
            limit_tokens=limit_tokens,
            slots=loaded.slots,
            streams=loaded.streams,
            clock=time.perf_counter,
        )
        self._hang = hang_seconds, hang_multiple
        self._recheck_seconds = recheck_seconds
        self._jobs: dict[tuple[bytes, int], tuple[Job, Reply]] = {}
        self._lock = threading.Lock()
        self._keys = itertools.count(1)
        self._limits: dict[int, float] = {}
        self._tick_at = self._probe_at = 0.0
        self._closing = threading.Event()
        self._workers = [
            threading.Thread(target=self._work, name=f"retort-{role}-{number}", daemon=True)
            for number in range(loaded.slots)
        ]
        self._caretaker = threading.Thread(
            target=self._care, name=f"retort-{role}-care", daemon=True
        )
        self.tick()
        for thread in (*self._workers, self._caretaker):
            thread.start()

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not self._jobs

    def handle(self, sender: bytes, message: Open | More | Cancel, reply: Reply) -> None:
        """Take a message of `sender`; `reply` is called once per job, from any thread."""
        at = sender, message.key
        if isinstance(message, Open):
            self._open(at, message, reply)
            return
        with self._lock:
            known = self._jobs.get(at)
        if known is None:
            return
        if isinstance(message, More):
            job, chunk = known[0], message.chunk
            if self.queue.extend(job, chunk.pairs(), last=chunk.last):
                job.done(job, None)
        else:
            self._finish(known[0], at)
            self.queue.leave(known[0])

    def tick(self) -> None:
        """Bring the board up to date, and see to what is due; call it as often as you like."""
        now = time.perf_counter()
        if now < self._tick_at:
            return
        self._tick_at = now + TICK_SECONDS
        board, queue = self.board, self.queue
        board.tokens = queue.tokens
        board.backlog_seconds = queue.backlog_seconds
        board.margin = queue.margin
        board.token_seconds = queue.token_seconds
        board.beat = now
        for job in queue.expire():
            job.done(job, DeadlinePassed("its time is up"))
        if not board.healthy and now >= self._probe_at:
            self._probe_at = now + PROBE_SECONDS
            self._probe()

    def close(self, seconds: float = 30.0) -> None:
        """Accept nothing more, and finish what was accepted, for so many seconds at most.

        A worker that hangs is a daemon thread: it ends with the process.
        """
        self._closing.set()
        self.queue.close()
        end = time.perf_counter() + seconds
        for thread in self._workers:
            thread.join(max(0.0, end - time.perf_counter()))

    def _open(self, at: tuple[bytes, int], message: Open, reply: Reply) -> None:
        def done(job: Job, error: Exception | None) -> None:
            if not self._finish(job, at):
                return
            if error is None:
                reply(_result(message.key, job))
            else:
                assert isinstance(error, ServiceError)
                reply(Failure(message.key, error))

        with self._lock:
            job = Job(
                key=next(self._keys),
                client=message.client,
                size=message.most_pairs,
                deadline=message.deadline,
                coming_tokens=message.remaining_tokens,
                background=message.background,
                alone=message.alone,
                done=done,
            )
            self._jobs[at] = job, reply
        try:
            self.queue.put(job, message.chunk.pairs())
        except ServiceError as error:
            done(job, error)

    def _finish(self, job: Job, at: tuple[bytes, int]) -> bool:
        """Forget a job; False if it was forgotten already."""
        with self._lock:
            known = self._jobs.get(at)
            if known is None or known[0] is not job:
                return False
            del self._jobs[at]
            return True

    def _work(self) -> None:
        try:
            while (work := self.queue.take()) is not None:
                self._infer(work)
        except BaseException as error:
            # A worker that is gone would never be missed: the whole engine has to go.
            logger.critical("a worker ended", exc_info=True)
            self.trouble = f"a worker ended: {type(error).__name__}"
            self.board.healthy = 0.0

    def _infer(self, work: Work) -> None:
        start = time.perf_counter()
        tokens = self._score_pairs(work)
        for job in self.queue.scored(work, time.perf_counter() - start):
            job.done(job, None)
        self._metrics.batch(pairs=work.pairs, tokens=tokens, padded=work.padded_tokens)

    def _score_pairs(self, work: Work) -> int:
        """Score a batch, or the halves of one that fails; returns its tokens without padding."""
        pairs = work.chosen()
        scores = self._scores(work, pairs)
        if scores is None and work.pairs > 1:
            for half in _halves(work, work.pairs // 2):
                self._score_pairs(half)
            return pairs.tokens
        row = 0
        for span in work.spans:
            if scores is None:
                span.job.missing.update(span.indices.tolist())
            else:
                span.job.keep(span.indices, scores, row)
            row += len(span.indices)
        return pairs.tokens

    def _scores(self, work: Work, pairs: Pairs) -> Scores | None:
        """The scores of a batch; None if the pass failed."""
        try:
            batch = pairs.batch(work.length, self._loaded.encoder.pad_id)
            logits, seconds = self._run(batch)
            if len(logits) != work.pairs:
                raise RuntimeError(f"the backend gave {len(logits)} rows for {work.pairs} pairs")
        except Exception as error:
            self.board.healthy = 0.0
            if work.pairs > 1:
                logger.warning("a batch of %d pairs failed, trying halves: %s", work.pairs, error)
            else:
                logger.exception("a pair of %d tokens could not be scored", pairs.tokens)
            return None
        self._metrics.add_pairs(self._role, work.pairs, seconds)
        scores = self._bundle.manifest.scores(logits)
        self.board.healthy = float(scores.finite.any())
        return scores

    def _run(self, batch: Batch) -> tuple[LogitArray, float]:
        """Logits of a batch, and the seconds that the backend took; watched while it runs."""
        rows, length = batch.shape
        least, multiple = self._hang
        start = time.perf_counter()
        limit = max(least, multiple * self._loaded.pace.expected(rows * length))
        self._watch(start + limit)
        try:
            logits = self._backend.infer(batch)
        finally:
            self._watch(None)
        return logits, time.perf_counter() - start

    def _watch(self, limit: float | None) -> None:
        """Note when the pass of this thread is overdue; None: it has ended."""
        with self._lock:
            if limit is None:
                self._limits.pop(threading.get_ident(), None)
            else:
                self._limits[threading.get_ident()] = limit
            self.board.overdue_at = min(self._limits.values(), default=math.inf)

    def _probe(self) -> None:
        golden = self._bundle.golden[0]
        encoder = self._loaded.encoder
        pairs = Pairs.of(encoder.encode(golden.query, [golden.passage]))
        job = Job(
            key=next(self._keys),
            client=0,
            size=1,
            deadline=time.perf_counter() + 1.0,
            coming_tokens=0,
            background=True,
            alone=True,
            done=lambda *_: None,
        )
        with suppress(ServiceError):
            self.queue.put(job, pairs)

    def _care(self) -> None:
        """Warm what was left for later, then score the golden pairs again now and then."""
        try:
            self._loaded.warm_usual(lambda: self.queue.tokens == 0, self._closing.is_set)
        except Exception:
            # A pass that fails is seen where passes are made.
            logger.exception("the usual shapes could not be warmed")
        every = self._recheck_seconds
        while every and not self._closing.wait(every):
            try:
                report = compare_golden(
                    self._backend,
                    self._loaded.encoder,
                    self._bundle,
                    at_once=RECHECKED_AT_ONCE,
                    # A backend may keep code for each shape that it has met.
                    padded=self._loaded.policy.padded,
                )
            except Exception:
                logger.exception("the golden pairs could not be scored again")
                continue
            if not report.passed:
                self.wrong = True
                self.trouble = f"it scores wrongly: {report.describe()}"
                logger.critical("%s %s", self._bundle.manifest.name, self.trouble)
                return


def _result(key: int, job: Job) -> Result:
    return Result(
        key=key,
        score=job.score[: job.size],
        spread=job.spread[: job.size],
        missing=tuple(sorted(job.missing)),
        queue_seconds=job.queue_seconds,
        infer_seconds=job.infer_seconds,
    )


def _halves(work: Work, middle: int) -> tuple[Work, Work]:
    """Split a batch after `middle` pairs.

    Example: spans of 3 and 2 pairs, split after 2, are (2) and (1, 2).
    """
    left: list[Span] = []
    right: list[Span] = []
    room = middle
    for span in work.spans:
        left += [span.part(0, room)] if room > 0 else []
        right += [span.part(max(0, room))] if room < len(span.indices) else []
        room -= len(span.indices)
    return Work(left, work.length, middle), Work(right, work.length, work.pairs - middle)
