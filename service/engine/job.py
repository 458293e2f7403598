"""The job: one request on its way through the engine.

The event loop makes it and waits for `result`; worker threads fill it in. What a worker writes is
its own until it hands the job back, so nothing in here needs a lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from retort.models.arrays import FloatArray
from retort.models.encoding import EncodedPair, EncodedText
from retort.models.scores import Scores


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
    """A query and its passages; `deadline` and `due` in seconds on the queue's clock."""

    key: int
    query: str
    passages: Sequence[str]
    deadline: float
    due: float
    held_tokens: int
    result: asyncio.Future[Outcome]
    dead: bool = False
    encoded_query: EncodedText | None = None
    pairs: list[EncodedPair] = field(default_factory=list)
    # From padded length to the indices of the pairs that wait.
    waiting: dict[int, list[int]] = field(default_factory=dict)
    unscored: int = 0
    scored_tokens: int = 0
    errors: dict[int, str] = field(default_factory=dict)
    tokenize_seconds: float = 0.0
    ready_at: float = 0.0
    started_at: float = 0.0
    score: FloatArray = field(init=False)
    spread: FloatArray = field(init=False)
    raw: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        self.unscored = len(self.passages)
        self.score, self.spread, self.raw = np.zeros((3, len(self.passages)))

    @property
    def encoded(self) -> bool:
        """Whether every passage has been tokenized."""
        return len(self.pairs) == len(self.passages)

    def keep(self, indices: Sequence[int], scores: Scores, start: int) -> None:
        """Keep the scores of the pairs at `indices`, which begin at row `start` of `scores`.

        Non-finite ones become errors.
        """
        rows = slice(start, start + len(indices))
        self.score[indices] = scores.score[rows]
        self.spread[indices] = scores.spread[rows]
        self.raw[indices] = scores.raw[rows]
        if not scores.finite[rows].all():
            for index, finite in zip(indices, scores.finite[rows], strict=True):
                if not finite:
                    self.errors[index] = "the model gave a score that is not a finite number"

    def outcome(self, now: float) -> Outcome:
        """The result, once nothing is unscored."""
        return Outcome(
            score=self.score,
            spread=self.spread,
            raw=self.raw,
            errors=self.errors,
            tokens=sum(len(pair) for pair in self.pairs),
            truncated=sum(pair.truncated for pair in self.pairs),
            seconds=StageSeconds(
                tokenize=self.tokenize_seconds,
                queue=max(0.0, self.started_at - self.ready_at),
                infer=now - self.started_at,
            ),
        )
