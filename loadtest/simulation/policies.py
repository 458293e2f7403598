"""The policies that are compared: which of the pairs that wait go into the next batch.

Each is a function of what waits, in order of arrival, the server's limits and the time. It gives
back the picks, or none to say that it would rather wait.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from retort.service.engine.scheduler import Pick, Policy, Waiting, next_batch

# What servers that wait for a full batch use unless told otherwise.
FIXED_PAIRS = 32
FIXED_WAIT_SECONDS = 0.005


@dataclass(slots=True)
class Held:
    """A request whose pairs wait, not all of them any more; times in seconds.

    `lengths` are the padded lengths of all its pairs in the order of its passages.
    """

    key: int
    arrival: float
    due: float
    lengths: tuple[int, ...]
    left: int = field(init=False)
    waiting: Waiting = field(init=False)
    counts: dict[int, int] = field(init=False)

    def __post_init__(self) -> None:
        self.left = len(self.lengths)
        self.counts = {}
        for length in self.lengths:
            self.counts[length] = self.counts.get(length, 0) + 1
        self.waiting = Waiting(self.key, self.due, self.counts)

    def take(self, pick: Pick) -> None:
        """Let pairs go into a batch. Raises `ValueError` if there are not as many."""
        found = self.counts.get(pick.length, 0)
        if not 0 < pick.count <= found:
            raise ValueError(f"{pick} of a request that has {found} pairs of that length")
        self.left -= pick.count
        self.counts[pick.length] = found - pick.count
        if found == pick.count:
            del self.counts[pick.length]


Choose = Callable[[Collection[Held], Policy, float], list[Pick]]


@dataclass(frozen=True, slots=True)
class Contender:
    """A policy by name. It may hold a request back for `wait_seconds`, and no longer."""

    name: str
    choose: Choose
    wait_seconds: float = 0.0


def tokens_by_due_time(waiting: Collection[Held], policy: Policy, now: float) -> list[Pick]:
    """The server's own: the batch that is led by what is due first, with pairs of like length."""
    return next_batch([held.waiting for held in waiting], policy)


def arrival_order(waiting: Collection[Held], policy: Policy, now: float) -> list[Pick]:
    """First come, first served, until the next pair would take the batch past its budget."""
    picks: list[Pick] = []
    longest = 0
    for pick in _in_order(waiting):
        longest = max(longest, pick.length)
        if (len(picks) + 1) * longest > policy.batch_tokens:
            break
        picks.append(pick)
    return picks


def fixed_count(waiting: Collection[Held], policy: Policy, now: float) -> list[Pick]:
    """First come, first served, `FIXED_PAIRS` of them; fewer only once the oldest has waited."""
    picks = [pick for pick, _ in zip(_in_order(waiting), range(FIXED_PAIRS), strict=False)]
    oldest = next(iter(waiting)).arrival
    if len(picks) == FIXED_PAIRS or now >= oldest + FIXED_WAIT_SECONDS:
        return picks
    return []


def shortest_first(waiting: Collection[Held], policy: Policy, now: float) -> list[Pick]:
    """The shortest of all the pairs that wait, as many as fit the budget, whoever asked first."""
    picks: list[Pick] = []
    pairs = 0
    for length in sorted({length for held in waiting for length in held.counts}):
        room = policy.batch_tokens // length - pairs
        for held in waiting:
            if room <= 0:
                return picks
            count = min(held.counts.get(length, 0), room)
            if count:
                picks.append(Pick(held.key, length, count))
                pairs += count
                room -= count
    return picks


def _in_order(waiting: Collection[Held]) -> Iterator[Pick]:
    for held in waiting:
        for length in held.lengths[len(held.lengths) - held.left :]:
            yield Pick(held.key, length, 1)


OURS = Contender("Retort", tokens_by_due_time)
CONTENDERS = (
    OURS,
    Contender("arrival order", arrival_order),
    Contender("fixed count and timer", fixed_count, FIXED_WAIT_SECONDS),
    Contender("shortest first", shortest_first),
)
