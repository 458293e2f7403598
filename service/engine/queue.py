"""The queue: what waits for tokenizing and for the backend, shared by event loop and workers.

It is bounded in tokens, and a request is accepted or refused with all its pairs. A worker that asks
gets the most useful task: a batch, if the backend has a free slot; else text to tokenize for the
next one. No worker polls and no batch waits to be filled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Condition

from retort.models.encoding import EncodedPair
from retort.service.engine.job import Job
from retort.service.engine.scheduler import Policy, Waiting, next_batch, refusal
from retort.service.errors import NotReady, Overloaded

Clock = Callable[[], float]
# The weight of the last batch in the measured seconds per token.
PACE_MEMORY = 0.1


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
    """Thread-safe; every method but `take` returns at once.

    `slots` is how many batches the backend may have at once, `streams` how many of them it computes
    side by side.
    """

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
        """Accept a job, unless the scheduler's `refusal` says otherwise.

        Raises `Overloaded` with the seconds after which to come back, or `NotReady` once closed.
        """
        with self._changed:
            if self._closed:
                raise NotReady("the server is shutting down: ask another one", retry_after=1)
            waiting = self._text | self._pairs
            later = sum(other.held_tokens for other in waiting.values() if other.due > job.due)
            refused = refusal(
                job.held_tokens,
                job.deadline - self.clock(),
                held=self._held,
                before=self._held - later,
                limit=self._limit,
                seconds_per_token=self.seconds_per_token,
            )
            if refused is not None:
                raise Overloaded(
                    f"{self._held} tokens wait already, the limit is {self._limit}: "
                    "come back after the seconds in Retry-After"
                    if refused.reason == "full"
                    else f"what waits already would make it {refused.seconds * 1000:.0f} ms late: "
                    "come back after the seconds in Retry-After, or allow more in timeout_ms",
                    retry_after=max(1, math.ceil(refused.seconds)),
                )
            self._held += job.held_tokens
            self._text[job.key] = job
            self._changed.notify()

    def leave(self, job: Job) -> None:
        """Forget a job that is done, late or unwanted. Harmless if it has left already."""
        with self._changed:
            self._drop(job)

    def take(self) -> Job | Work | None:
        """Wait for a job whose next chunk is to be tokenized, or for a batch to infer.

        None when closed and nothing is left to wait for.
        """
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

    def poll(self) -> Job | Work | None:
        """What `take` would return at once; None if it would wait."""
        with self._changed:
            return self._next()

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
            # Batches that run at the same time share the machine.
            running = self._all_slots - self._slots
            self._slots += 1
            # By the pairs' own tokens, as what waits is counted; so the pace includes padding.
            pace = seconds / sum(span.tokens for span in work.spans) / running
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

    def _drop(self, job: Job) -> None:
        job.dead = True
        self._held -= job.held_tokens
        job.held_tokens = 0
        self._text.pop(job.key, None)
        self._pairs.pop(job.key, None)

    def _next(self) -> Job | Work | None:
        now = self.clock()
        for job in [*self._text.values(), *self._pairs.values()]:
            if job.deadline <= now:
                self._drop(job)
        if self._slots and self._pairs:
            idle = max(1, self._streams - (self._all_slots - self._slots))
            self._slots -= 1
            return self._batch(now, idle)
        if self._text:
            return self._text.pop(min(self._text.values(), key=_urgency).key)
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
