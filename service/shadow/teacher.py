"""The teacher of a shadow: what it is asked, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from retort.models.arrays import FloatArray
from retort.models.manifest import Manifest
from retort.models.reading.windows import READING, Reading

# Why there is nothing to compare: no room or no moment for it, or the teacher gave no scores.
Missed = Literal["dropped", "failed"]


@dataclass(frozen=True, slots=True)
class Sample:
    """A sampled request with the student's scores (passages,), and how its passages are read.

    The student took `seconds` for it.
    """

    query: str
    passages: Sequence[str]
    student_scores: FloatArray
    student: Manifest
    reading: Reading = READING
    seconds: float = 0.0

    @property
    def characters(self) -> int:
        """How much text it holds."""
        return len(self.query) + sum(map(len, self.passages))


@dataclass(frozen=True, slots=True)
class TeacherScores:
    """Scores (passages,) of the teacher `name`; `raw` if they are no probabilities.

    `seconds` is how long a server at a URL took for them, the network included.
    """

    scores: FloatArray
    name: str
    version: str
    raw: bool = False
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class DistantTeacher:
    """What is known of a teacher at a URL; `problem` is why it gave no scores the last time.

    Nothing is known of its shape before it has answered. `url` is without its query.
    """

    url: str
    name: str
    version: str = ""
    shape: str | None = None
    problem: str = ""

    @property
    def healthy(self) -> bool:
        """Whether it answered when it was last asked."""
        return self.shape is not None and not self.problem


class ShadowTeacher(Protocol):
    """Who scores the samples; at most `concurrency` of them at a time."""

    @property
    def concurrency(self) -> int:
        """How many samples may be scored at a time."""

    @property
    def raw(self) -> bool:
        """Whether its scores are no probabilities, and can be compared by order alone."""

    @property
    def distant(self) -> DistantTeacher | None:
        """What is known of it if it is at a URL."""

    def start(self) -> None:
        """Begin; returns at once."""

    async def stop(self) -> None:
        """End."""

    async def score(self, sample: Sample) -> TeacherScores | Missed:
        """Score a sample, or say why there are no scores; it is in the log then."""
