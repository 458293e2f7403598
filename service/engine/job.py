"""The job: one request on its way through an engine.

Whoever hands it in is told of its end by `done`, from a worker's thread or from the queue's. What a
worker writes into it is the worker's own until then, so nothing in here needs a lock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from retort.models.arrays import FloatArray, IntArray
from retort.models.scores import Scores
from retort.service.engine.pairs import Pairs


@dataclass(frozen=True, slots=True)
class StageSeconds:
    """Where a request's time went; `queue` runs from its last token to its first batch."""

    tokenize: float
    queue: float
    infer: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """Scores in the order of the passages, arrays of shape (passages,).

    `errors` says by index why a passage has no score.
    """

    score: FloatArray
    spread: FloatArray
    raw: FloatArray
    errors: dict[int, str]
    tokens: int
    truncated: int
    seconds: StageSeconds


@dataclass(slots=True, eq=False)
class Job:
    """Pairs of one request; times are in seconds on the queue's clock.

    `size` is how many pairs it has in all, `coming_tokens` an estimate of those of the pairs that
    are still on their way. `client` is who asks: a client's jobs share what it may have. One in the
    `background` waits for all others; one that is to be `alone` shares no batch with another job,
    since it may have been what an engine ended of.
    """

    key: int
    client: int
    size: int
    deadline: float
    coming_tokens: int
    background: bool
    alone: bool
    done: Callable[[Job, Exception | None], None]
    # From here on the queue's.
    due: float = 0.0
    held_tokens: int = 0
    accepted_at: float = 0.0
    estimated_seconds: float = 0.0  # until it is scored, by the estimate that let it in
    dead: bool = False
    parts: list[Pairs] = field(default_factory=list)
    pairs: Pairs | None = None
    arrived: int = 0
    # From padded length to the indices of the pairs that wait, in arrays.
    waiting: dict[int, list[IntArray]] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)
    unscored: int = 0
    missing: set[int] = field(default_factory=set)
    ready_at: float = 0.0
    started_at: float = 0.0
    ended_at: float = 0.0
    score: FloatArray = field(init=False)
    spread: FloatArray = field(init=False)
    raw: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        self.unscored = self.size
        self.score, self.spread, self.raw = np.zeros((3, self.size))

    @property
    def complete(self) -> bool:
        """Whether all its pairs are there."""
        return self.arrived == self.size

    @property
    def queue_seconds(self) -> float:
        """How long it waited for its first batch, once its pairs were there."""
        return max(0.0, self.started_at - self.ready_at)

    @property
    def infer_seconds(self) -> float:
        """How long it took from its first batch on."""
        return max(0.0, self.ended_at - self.started_at)

    def all_pairs(self) -> Pairs:
        """The pairs that have arrived."""
        if len(self.parts) != 1 or self.pairs is not self.parts[0]:
            self.pairs = Pairs.join(self.parts)
            self.parts = [self.pairs]
        return self.pairs

    def keep(self, rows: IntArray, scores: Scores, start: int) -> None:
        """Keep the scores of the pairs at `rows`, which begin at row `start` of `scores`.

        Where they are not finite numbers, the pair has none.
        """
        found = slice(start, start + len(rows))
        self.score[rows] = scores.score[found]
        self.spread[rows] = scores.spread[found]
        self.raw[rows] = scores.raw[found]
        if not scores.finite[found].all():
            self.missing.update(rows[~scores.finite[found]].tolist())
