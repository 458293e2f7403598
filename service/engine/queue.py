"""The queue: what waits for tokenizing and for the backend, shared by event loop and workers.

It is bounded in tokens, and a request takes one permit for all its pairs. A worker that asks gets
the most useful thing there is to do: a batch, if the backend has a free slot; else text to
tokenize for the next one. Nobody polls and no batch waits for company.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Condition

from retort.models.encoding import EncodedPair
from retort.service.engine.job import Job
from retort.service.engine.scheduler import Policy, Waiting, next_batch
from retort.service.errors import NotReady, Overloaded

Clock = Callable[[], float]
# How much of the measured seconds a token is the last batch's.
PACE_MEMORY = 0.1
# A request is accepted if what goes before it leaves it time, by the pace so far. That is only an
# estimate: with a part of the time to spare few of the accepted are late, and the backend has work.
USABLE_TIME = 0.75


@dataclass(frozen=True, slots=True)
class Text:
    """Something to tokenize: the job's next chunk."""

    job: Job


@dataclass(frozen=True, slots=True)
class Span:
    """Pairs of one job that go into a batch, by index."""

    job: Job
    indices: list[int]

    @property
    def tokens(self) -> int:
        """Their tokens without padding."""
        return sum(len(self.job.pairs[index]) for index in self.indices)


@dataclass(frozen=True, slots=True)
class Work:
    """A batch to infer, padded to `length`."""

    spans: list[Span]
    length: int

    @property
    def pairs(self) -> int:
        """How many pairs it has."""
        return sum(len(span.indices) for span in self.spans)

    @property
    def padded_tokens(self) -> int:
        """Its tokens, padding counted."""
        return self.pairs * self.length


class WorkQueue:
    """Thread-safe; every method but `take` returns at once."""

    def __init__(
        self, policy: Policy, *, limit_tokens: int, slots: int, clock: Clock, streams: int = 1
    ) -> None:
        self.policy = policy
        self.clock = clock
        self.seconds_per_token = 1e-5
        self._limit = limit_tokens
        self._slots = self._all_slots = slots
        self._streams = streams
        self._held = 0
        self._closed = False
        self._text: dict[int, Job] = {}
        self._pairs: dict[int, Job] = {}
        self._changed = Condition()

    @property
    def tokens(self) -> int:
        """Tokens accepted and not yet scored."""
        return self._held

    def put(self, job: Job) -> None:
        """Accept a job.

        To get in, a job needs room for its tokens or for half of the limit, whichever is less: a
        request larger than the queue must not be refused for ever. And it needs time: one that
        would be late is refused now, because to start it would cost others theirs. Raises
        `Overloaded` with the seconds after which there is room again, or `NotReady` once closed.
        """
        with self._changed:
            if self._closed:
                raise NotReady("the server is shutting down: ask another one", retry_after=1)
            if self._held + min(job.held_tokens, self._limit // 2) > self._limit:
                raise Overloaded(
                    f"{self._held} tokens wait already, the limit is {self._limit}: "
                    "come back after the seconds in Retry-After",
                    retry_after=max(1, math.ceil(self._held * self.seconds_per_token)),
                )
            late = self._late_seconds(job)
            if late > 0:
                raise Overloaded(
                    f"what waits already would make it {late * 1000:.0f} ms late: come back after "
                    "the seconds in Retry-After, or allow more in timeout_ms",
                    retry_after=max(1, math.ceil(late)),
                )
            self._held += job.held_tokens
            self._text[job.key] = job
            self._changed.notify()

    def leave(self, job: Job) -> None:
        """Forget a job that is done, late or unwanted. Harmless if it has left already."""
        with self._changed:
            self._drop(job)

    def take(self) -> Text | Work | None:
        """Wait for something to do; None when closed and nothing is left to wait for."""
        with self._changed:
            while True:
                task = self._next()
                if task is not None:
                    if self._text or (self._pairs and self._slots):
                        self._changed.notify()
                    return task
                if self._closed and not self._text and not self._pairs:
                    self._changed.notify_all()
                    return None
                self._changed.wait()

    def encoded(self, job: Job, pairs: Sequence[EncodedPair], seconds: float) -> None:
        """Take back a job with its next pairs; those can be scored from now on."""
        with self._changed:
            if job.dead:
                return
            start = len(job.pairs)
            job.pairs.extend(pairs)
            for index, pair in enumerate(pairs, start):
                job.waiting.setdefault(self.policy.padded(len(pair)), []).append(index)
            job.tokenize_seconds += seconds
            job.ready_at = self.clock()
            self._pairs[job.key] = job
            if job.encoded:
                exact = sum(map(len, job.pairs)) - job.scored_tokens
                self._held += exact - job.held_tokens
                job.held_tokens = exact
            else:
                self._text[job.key] = job

    def scored(self, work: Work, seconds: float) -> list[Job]:
        """Give back the slot of a batch; returns the jobs that it completed."""
        done: list[Job] = []
        with self._changed:
            # Batches that run beside this one share the machine with it.
            beside = self._all_slots - self._slots
            self._slots += 1
            # By the pairs' own tokens, as what waits is counted: so padding is in the pace.
            pace = seconds / sum(span.tokens for span in work.spans) / beside
            self.seconds_per_token += PACE_MEMORY * (pace - self.seconds_per_token)
            for span in work.spans:
                job = span.job
                job.unscored -= len(span.indices)
                job.scored_tokens += span.tokens
                released = min(span.tokens, job.held_tokens)
                job.held_tokens -= released
                self._held -= released
                if not job.dead and job.unscored == 0:
                    self._drop(job)
                    done.append(job)
        return done

    def close(self) -> None:
        """Accept nothing more; workers finish what is there and then get None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _late_seconds(self, job: Job) -> float:
        """By how much it would miss its usable time, behind all that is due before it."""
        waiting = self._text | self._pairs
        later = sum(other.held_tokens for other in waiting.values() if other.due > job.due)
        before = self._held - later
        if before <= 0:
            # Nothing stands in its way: if it is late then by itself, and no refusal would help.
            return 0.0
        needed = (before + job.held_tokens) * self.seconds_per_token
        return needed - USABLE_TIME * (job.deadline - self.clock())

    def _drop(self, job: Job) -> None:
        job.dead = True
        self._held -= job.held_tokens
        job.held_tokens = 0
        self._text.pop(job.key, None)
        self._pairs.pop(job.key, None)

    def _next(self) -> Text | Work | None:
        now = self.clock()
        for job in [*self._text.values(), *self._pairs.values()]:
            if job.deadline <= now:
                self._drop(job)
        if self._slots and self._pairs:
            idle = max(1, self._streams - (self._all_slots - self._slots))
            self._slots -= 1
            return self._batch(now, idle)
        if self._text:
            job = min(self._text.values(), key=_urgency)
            return Text(self._text.pop(job.key))
        return None

    def _batch(self, now: float, streams: int) -> Work:
        waiting = [
            Waiting(job.key, job.due, {length: len(rows) for length, rows in job.waiting.items()})
            for job in self._pairs.values()
        ]
        spans: dict[int, Span] = {}
        longest = 0
        for pick in next_batch(waiting, self.policy, streams):
            job = self._pairs[pick.key]
            rows = job.waiting[pick.length]
            taken = rows[: pick.count]
            del rows[: pick.count]
            if not rows:
                del job.waiting[pick.length]
            spans.setdefault(pick.key, Span(job, [])).indices.extend(taken)
            longest = max(longest, pick.length)
        for span in spans.values():
            if not span.job.started_at:
                span.job.started_at = now
            if not span.job.waiting:
                del self._pairs[span.job.key]
        return Work(list(spans.values()), longest)


def _urgency(job: Job) -> tuple[float, int]:
    return job.due, job.key
