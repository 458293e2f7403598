"""The queue: what an engine has accepted and not yet scored, shared by its threads.

It is bounded in tokens, padding included, and a request is accepted or refused with all its pairs.
A worker that asks gets a batch as soon as the backend has a free slot and a pair is there. No
worker polls, and no batch waits to be filled.

Clients share. While there are several, a request counts as due the later, the more its client has
had since the others came, and the more of its client's own requests are before it. So each client's
first request comes soon, and whoever sends a hundred at once waits for his own. One client alone is
not held back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Condition

import numpy as np

from retort.models.arrays import IntArray
from retort.service.engine.admission import Margin, Refusal, refusal, retry_after
from retort.service.engine.job import Job
from retort.service.engine.pace import Pace
from retort.service.engine.pairs import Pairs
from retort.service.engine.scheduler import Policy, Waiting, next_batch
from retort.service.errors import Overloaded, stopping

Clock = Callable[[], float]
# How much later a request counts as due for each second of its own client's work before it, times
# the number of other clients.
FAIRNESS = 64.0
# A plan looks at the requests that are due first, as many as fill so many batches.
PLANNED_BATCHES = 4
# Up to this many pairs a Python loop is quicker than numpy.
FEW_PAIRS = 40
# A client that gives up so shortly before its deadline has seen it pass.
LATE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Span:
    """Pairs of one job that go into a batch, by index; `pairs` holds at least those."""

    job: Job
    indices: IntArray
    pairs: Pairs
    held_tokens: int  # what they are counted as in the queue

    def part(self, start: int, stop: int | None = None) -> Span:
        """Some of them."""
        return Span(self.job, self.indices[start:stop], self.pairs, 0)


@dataclass(frozen=True, slots=True)
class Work:
    """A batch to infer, padded to `length`."""

    spans: list[Span]
    length: int
    pairs: int

    @property
    def padded_tokens(self) -> int:
        """Its tokens, padding counted."""
        return self.pairs * self.length

    def chosen(self) -> Pairs:
        """Its pairs, in the order of the spans."""
        return Pairs.join([span.pairs.take(span.indices) for span in self.spans])


class WorkQueue:
    """Thread-safe; every method but `take` returns at once.

    `slots` is how many batches the backend may have at once, `streams` how many of them it computes
    side by side. All tokens are counted with their padding.
    """

    def __init__(
        self,
        policy: Policy,
        pace: Pace,
        *,
        limit_tokens: int,
        slots: int,
        clock: Clock,
        streams: int = 1,
    ) -> None:
        self.policy = policy
        self.pace = pace
        self.clock = clock
        self._margin = Margin()
        self._lengths = np.array(policy.lengths)
        self._limit = limit_tokens
        self._slots = self._all_slots = slots
        self._streams = streams
        self._held = 0
        self._closed = False
        self._jobs: dict[int, Job] = {}
        # Tokens scored for each client that has jobs, from where the others stood when it came.
        self._served: dict[int, int] = {}
        self._changed = Condition()

    @property
    def tokens(self) -> int:
        """Tokens accepted and not yet scored."""
        return self._held

    @property
    def backlog_seconds(self) -> float:
        """How long they will take."""
        return self.pace.backlog(self._held)

    @property
    def token_seconds(self) -> float:
        """How much longer they would take with one token more."""
        return self.pace.token_seconds

    @property
    def margin(self) -> float:
        """How far such estimates were off, nearly always at most."""
        return self._margin.value

    def put(self, job: Job, pairs: Pairs) -> None:
        """Accept a job with its first pairs, unless `refusal` says otherwise.

        Raises `Overloaded` with the seconds after which to come back, or `NotReady` once closed.
        """
        with self._changed:
            if self._closed:
                raise stopping()
            now = self.clock()
            groups, padded = self._group(pairs, job.arrived)
            tokens = padded + job.coming_tokens
            clients = self._join(job.client)
            refused, estimated = self._judge(job, tokens, now, clients)
            if refused is not None:
                error = overloaded(
                    refused.reason, refused.seconds, job.key, held=self._held, limit=self._limit
                )
                least, _ = self._judge(job, self.policy.lengths[0], now, clients)
                error.hopeless = least is not None
                raise error
            job.accepted_at, job.estimated_seconds = now, estimated
            job.held_tokens = tokens
            self._held += tokens
            self._jobs[job.key] = job
            self._arrive(job, pairs, groups)

    def extend(self, job: Job, pairs: Pairs, *, last: bool = False) -> bool:
        """The next pairs of a job; nothing happens if it has left.

        After the `last` no more will come; true if it had none, and all before it are scored.
        """
        with self._changed:
            if job.dead:
                return False
            groups, padded = self._group(pairs, job.arrived)
            more = padded - min(job.coming_tokens, padded)
            # Of what was estimated to come, this is here; if it is more than that, it counts.
            job.coming_tokens -= padded - more
            job.held_tokens += more
            self._held += more
            self._arrive(job, pairs, groups, last=last)
            done = last and job.unscored == 0
            if done:
                self._end(job)
            return done

    def leave(self, job: Job) -> None:
        """Forget a job that nobody waits for any more. Harmless if it has left already."""
        with self._changed:
            if not job.dead and self.clock() > job.deadline - LATE_SECONDS:
                self._margin.observed(job.estimated_seconds, math.inf)
            self._drop(job)

    def expire(self) -> list[Job]:
        """Drop jobs whose deadline has passed, and return them."""
        with self._changed:
            now = self.clock()
            late = [job for job in self._jobs.values() if job.deadline <= now]
            for job in late:
                self._margin.observed(job.estimated_seconds, math.inf)
                self._drop(job)
        return late

    def take(self) -> Work | None:
        """Wait for a batch to infer. None when closed and nothing is left to wait for."""
        with self._changed:
            while True:
                work = self._next()
                if work is not None:
                    if self._slots:
                        self._changed.notify()
                    return work
                if self._closed and not self._jobs:
                    self._changed.notify_all()
                    return None
                self._changed.wait()

    def poll(self) -> Work | None:
        """What `take` would return at once; None if it would wait."""
        with self._changed:
            return self._next()

    def scored(self, work: Work, seconds: float) -> list[Job]:
        """Give back the slot of a batch; returns the jobs that it completed."""
        done: list[Job] = []
        with self._changed:
            self._slots += 1
            self.pace.observed(work.padded_tokens, seconds)
            for span in work.spans:
                job = span.job
                job.unscored -= len(span.indices)
                released = min(span.held_tokens, job.held_tokens)
                job.held_tokens -= released
                self._held -= released
                self._served[job.client] = self._served.get(job.client, 0) + released
                if not job.dead and job.unscored == 0:
                    self._end(job)
                    done.append(job)
            self._changed.notify()
        return done

    def close(self) -> None:
        """Accept nothing more; workers finish what is there and then get None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _group(self, pairs: Pairs, start: int) -> tuple[dict[int, IntArray], int]:
        """Indices from `start` on by padded length, and all their tokens with padding."""
        if len(pairs) > FEW_PAIRS:
            padded = self._lengths[np.searchsorted(self._lengths, pairs.lengths)]
            rows = np.arange(start, start + len(pairs))
            found = {length: rows[padded == length] for length in np.unique(padded).tolist()}
            return found, int(padded.sum())
        # For ten pairs a Python loop takes 0.4 of the time.
        lists: dict[int, list[int]] = {}
        total = 0
        for row, length in enumerate(pairs.lengths.tolist(), start):
            length = self.policy.padded(length)
            lists.setdefault(length, []).append(row)
            total += length
        return {length: np.array(rows) for length, rows in lists.items()}, total

    def _arrive(
        self, job: Job, pairs: Pairs, groups: dict[int, IntArray], *, last: bool = False
    ) -> None:
        for length, rows in groups.items():
            job.waiting.setdefault(length, []).append(rows)
            job.counts[length] = job.counts.get(length, 0) + len(rows)
        job.parts.append(pairs)
        job.arrived += len(pairs)
        job.ready_at = self.clock()
        if last:
            job.end()
        if job.complete:
            # What was estimated is known now.
            self._held -= job.coming_tokens
            job.held_tokens -= job.coming_tokens
            job.coming_tokens = 0
        self._changed.notify()

    def _end(self, job: Job) -> None:
        """All its pairs are scored."""
        job.ended_at = self.clock()
        if not job.background:
            self._margin.observed(job.estimated_seconds, job.ended_at - job.accepted_at)
        self._drop(job)

    def _drop(self, job: Job) -> None:
        job.dead = True
        self._held -= job.held_tokens
        job.held_tokens = 0
        self._jobs.pop(job.key, None)

    def _judge(
        self, job: Job, tokens: int, now: float, clients: int
    ) -> tuple[Refusal | None, float]:
        """Whether to refuse a job as if it had so many tokens, and how many seconds it would take.

        Sets when it is due.
        """
        own = tokens * self.pace.token_seconds
        job.due = job.deadline if job.background else self.policy.due(now, job.deadline, own)
        before = self._before(job, clients)
        before_seconds = self.pace.backlog(before)
        own_seconds = self.pace.backlog(before + tokens) - before_seconds
        refused = refusal(
            tokens,
            job.deadline - now,
            held=self._held,
            limit=self._limit,
            share=self._share(job.client, clients),
            held_seconds=self.backlog_seconds,
            before_seconds=before_seconds,
            own_seconds=own_seconds,
            margin=self._margin.value,
        )
        return refused, before_seconds + own_seconds

    def _join(self, client: int) -> int:
        """Note that a client has jobs from now on; how many clients have."""
        active = {job.client for job in self._jobs.values()}
        served = {other: self._served.get(other, 0) for other in active}
        served.setdefault(client, min(served.values(), default=0))
        self._served = served
        return len(served)

    def _share(self, client: int, clients: int) -> int:
        """Tokens that a client may have though others fill the queue."""
        if clients < 2:
            return 0
        own = sum(job.held_tokens for job in self._jobs.values() if job.client == client)
        return max(0, self._limit // clients - own)

    def _before(self, job: Job, clients: int) -> int:
        """Tokens of what is due no later than `job`, which is not in yet."""
        if clients < 2:
            later = sum(other.held_tokens for other in self._jobs.values() if other.due > job.due)
        else:
            due = dict(self._fair_dues([*self._jobs.values(), job]))
            mine = due[job]
            later = sum(o.held_tokens for o in self._jobs.values() if due[o] > mine)
        return self._held - later

    def _fair_dues(self, jobs: Iterable[Job]) -> list[tuple[Job, float]]:
        """Jobs with what they count as due, in that order."""
        ordered = sorted(jobs, key=_urgency)
        clients = {job.client for job in ordered if not job.background}
        if len(clients) < 2:
            return [(job, job.due) for job in ordered]
        weight = FAIRNESS * (len(clients) - 1) * self.pace.token_seconds
        least = min(self._served[client] for client in clients)
        ahead = {client: self._served[client] - least for client in clients}
        dues = []
        for job in ordered:
            if job.background:
                dues.append((job, job.due))
                continue
            dues.append((job, job.due + weight * ahead[job.client]))
            ahead[job.client] += job.held_tokens
        return sorted(dues, key=lambda pair: (pair[1], pair[0].key))

    def _next(self) -> Work | None:
        if not self._slots:
            return None
        now = self.clock()
        ready = [job for job in self._jobs.values() if job.counts and job.deadline > now]
        if not ready:
            return None
        idle = max(1, self._streams - (self._all_slots - self._slots))
        self._slots -= 1
        return self._batch(self._fair_dues(ready), now, idle)

    def _batch(self, dues: list[tuple[Job, float]], now: float, streams: int) -> Work:
        leader = dues[0][0]
        enough = PLANNED_BATCHES * self.policy.batch_tokens
        waiting: list[Waiting] = []
        for job, due in dues:
            if job is not leader and (job.alone or leader.alone):
                continue
            waiting.append(Waiting(job.key, due, job.counts))
            enough -= sum(length * count for length, count in job.counts.items())
            if enough < 0:
                break
        chosen: dict[int, list[IntArray]] = {}
        held: dict[int, int] = {}
        longest = count = 0
        for pick in next_batch(waiting, self.policy, streams):
            job = self._jobs[pick.key]
            chosen.setdefault(pick.key, []).extend(_take(job, pick.length, pick.count))
            held[pick.key] = held.get(pick.key, 0) + pick.length * pick.count
            longest = max(longest, pick.length)
            count += pick.count
        spans = []
        for key, rows in chosen.items():
            job = self._jobs[key]
            if not job.started_at:
                job.started_at = now
            indices = rows[0] if len(rows) == 1 else np.concatenate(rows)
            spans.append(Span(job, indices, job.all_pairs(), held[key]))
        return Work(spans, longest, count)


def overloaded(reason: str, seconds: float, key: int, *, held: float, limit: int) -> Overloaded:
    """The error of a refusal."""
    return Overloaded(
        f"{held:.0f} tokens wait already, the limit is {limit}: "
        "come back after the seconds in Retry-After"
        if reason == "full"
        else f"what waits already would make it {seconds * 1000:.0f} ms late: "
        "come back after the seconds in Retry-After, or allow more in timeout_ms",
        retry_after=retry_after(seconds, key),
    )


def _take(job: Job, length: int, count: int) -> list[IntArray]:
    """Take `count` pairs of a padded length out of what waits, by index."""
    job.counts[length] -= count
    if not job.counts[length]:
        del job.counts[length]
        return job.waiting.pop(length)
    taken = []
    rows = job.waiting[length]
    while count:
        first = rows[0]
        taken.append(first[:count])
        if len(first) > count:
            rows[0] = first[count:]
        else:
            rows.pop(0)
        count -= len(taken[-1])
    return taken


def _urgency(job: Job) -> tuple[float, int]:
    return job.due, job.key
