"""The job: one request on its way through an engine.

Whoever hands it in is told of its end by `done`, from a worker's thread or from the queue's. What a
worker writes into it is the worker's own until then, so nothing in here needs a lock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from retort.models.arrays import FloatArray, IntArray
from retort.models.encoding import Cut
from retort.models.rankings import best_first
from retort.models.reading.passages import Note
from retort.models.scores import Scores
from retort.service.engine.pairs import Pairs

# The model knows most of the words, few of them, or none.
Familiarity = Literal["familiar", "unfamiliar", "unknown"]


@dataclass(frozen=True, slots=True)
class StageSeconds:
    """Where a request's time went; `queue` runs from its last token to its first batch."""

    tokenize: float
    queue: float
    infer: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """Scores in the order of the passages, arrays of shape (passages,).

    `errors` says by index why a passage has no score, `notes` what else there is to tell of one.
    `pairs` and `tokens` are what was scored. `query_cut` says what was left out of the query, of
    several of the first that was cut; `query_words` how many of its words the model knows.
    """

    score: FloatArray
    spread: FloatArray
    errors: dict[int, str]
    notes: Mapping[int, Note]
    pairs: int
    tokens: int
    unknown_tokens: int
    query_cut: Cut | None
    query_words: Familiarity
    seconds: StageSeconds

    def best(self, top_n: int | None = None, min_score: float = 0.0) -> list[int]:
        """Indices of the passages with a score, best first, ties by index.

        At most `top_n`, and only those whose score is `min_score` or more.
        """
        return best_first(self.score, top_n, min_score, self.errors)

    @property
    def windows(self) -> int:
        """How many of the pairs are windows of passages that do not fit."""
        return sum(note.windows for note in self.notes.values() if note.window is not None)

    @property
    def truncated(self) -> int:
        """How many passages were not read whole."""
        return sum("truncated" in note.flags for note in self.notes.values())


@dataclass(slots=True, eq=False)
class Job:
    """Pairs of one request; times are in seconds on the queue's clock.

    `size` is how many pairs it has, at most while they still come; `coming_tokens` is an estimate
    of the tokens of those. `client` is who asks: a client's jobs share what it may have. One in the
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
        self.score, self.spread = np.zeros((2, self.size))

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

    def end(self) -> None:
        """Nothing comes after the pairs that have arrived."""
        self.unscored -= self.size - self.arrived
        self.size = self.arrived

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
        if not scores.finite[found].all():
            self.missing.update(rows[~scores.finite[found]].tolist())
