"""The overload: what is still answered in time where twice as much is asked as can be done.

Capacity is what a closed load gets. Then requests come at a multiple of it, whatever becomes of
them, each with a deadline. A good server spends its time on those that it can finish by then and
tells the others at once to come back later.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from retort.loadtest.extract import read_ranking_requests
from retort.loadtest.figures import Latency, Spread, ratios
from retort.loadtest.limits.found import Finding, Row
from retort.loadtest.limits.ground import Ground
from retort.loadtest.step import OK, Answer, Taken

PASSAGES = 10
TIMES_CAPACITY = 2.0
OVERLOADED = 429
WANTED_SHARE = 0.95
# What the deadline of the server leaves out: the way there and back, on cores that are all busy.
TRANSPORT_MS = 50


@dataclass(frozen=True, slots=True)
class Overload:
    """Pairs a second of each closed step, and each open step that followed it."""

    timeout_ms: int
    capacity: tuple[float, ...]
    taken: tuple[Taken, ...]

    @property
    def share(self) -> Spread:
        """Pairs a second answered within the deadline, over capacity, round by round."""
        return ratios([self._in_time(step) for step in self.taken], self.capacity)

    @property
    def others(self) -> Counter[str]:
        """The requests that got no scores, by status; a 429 without its header apart."""
        return Counter(
            _named(answer) for step in self.taken for answer in step.due if answer.status != OK
        )

    @property
    def refused_share(self) -> float:
        """Of those, the share that was told with 429 when to come back."""
        others = self.others
        return others[f"{OVERLOADED}"] / others.total() if others else 1.0

    def finding(self) -> Finding:
        """Two rows: what was answered in time, and what the others were told."""
        share, others = self.share, self.others
        late = sum(self._late(answer) for step in self.taken for answer in step.due)
        scored = [latency for step in self.taken for latency in step.latencies]
        told = ", ".join(f"{status}: {count}" for status, count in others.most_common())
        rows = (
            Row(
                f"At {TIMES_CAPACITY:g} times the capacity: answered within {self.timeout_ms} ms",
                f"{share.median:.0%} of capacity ({share.low:.0%} to {share.high:.0%})",
                f"at least {WANTED_SHARE:.0%}",
                share.median >= WANTED_SHARE,
            ),
            Row(
                "The rest: 429 with `Retry-After`",
                f"{self.refused_share:.1%} of {others.total():,}",
                "all",
                self.refused_share == 1.0,
            ),
        )
        took = ""
        if scored:
            latency = Latency.of(scored)
            took = f"p50 {latency.p50_ms:.0f} ms, p99 {latency.p99_ms:.0f} ms; "
        capacity = Spread.over(self.capacity)
        note = (
            f"Overload: capacity is what {len(self.capacity)} closed loads in turn with the open "
            f"ones got, {capacity.median:,.0f} pairs/s ({capacity.low:,.0f} to "
            f"{capacity.high:,.0f}); {PASSAGES} passages a request; of what was scored {took}"
            f"{late} came more than {TRANSPORT_MS} ms after the deadline and are not counted; "
            f"not scored: {told or 'none'}."
        )
        return Finding("overload", rows, (note,))

    def _in_time(self, step: Taken) -> float:
        # By when they were answered, not by when they were due: with the last request the load is
        # over, and the last ones due have the server to themselves.
        inside = [a for a in step.answers if 0 <= a.done < step.seconds]
        return sum(a.pairs for a in inside if a.status == OK and not self._late(a)) / step.seconds

    def _late(self, answer: Answer) -> bool:
        limit = (self.timeout_ms + TRANSPORT_MS) / 1e3
        return answer.status == OK and answer.done - answer.due > limit


def measure_overload(ground: Ground) -> Overload:
    """Closed and open steps in turn, so that capacity and overload see the same machine.

    Raises `RuntimeError` if a closed step got no answer.
    """
    options = ground.options
    requests = read_ranking_requests(options.pairs, passages=PASSAGES)
    capacity: list[float] = []
    taken: list[Taken] = []
    for number in range(options.rounds):
        ground.progress(f"overload: round {number + 1} of {options.rounds}, capacity")
        closed = ground.step(requests, "closed", users=options.clients)
        if not closed.pairs_per_second:
            raise RuntimeError(f"the server answered no request with 200: {closed.statuses}")
        capacity.append(closed.pairs_per_second)
        rate = TIMES_CAPACITY * closed.pairs_per_second / PASSAGES
        ground.progress(f"overload: round {number + 1} of {options.rounds}, {rate:.0f} requests/s")
        taken.append(ground.step(requests, "open", rate=rate, timeout_ms=options.timeout_ms))
    return Overload(options.timeout_ms, tuple(capacity), tuple(taken))


def _named(answer: Answer) -> str:
    if answer.status == OVERLOADED and not answer.retry_after:
        return f"{OVERLOADED} without Retry-After"
    return f"{answer.status}" if answer.status else "no answer"
