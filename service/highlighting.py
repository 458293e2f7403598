"""Highlighting: the sentence of each returned passage that answers best, asked of the student.

It comes after the scores, within the request's time: highlights are worth less than an answer, so
whatever keeps the student from finding them leaves them out, and fails nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from retort.models.reading.highlights import Candidates, best_sentences, candidates
from retort.models.reading.spans import Highlight
from retort.service.engine.job import Outcome
from retort.service.errors import UNHELPED, InferenceFailed
from retort.service.model import Model
from retort.service.modes import Caller, Question

# Splitting so many characters into sentences takes about a millisecond.
INLINE_CHARACTERS = 32_768


@dataclass(frozen=True, slots=True)
class Highlights:
    """Highlights by the passage's index, and the seconds that they took; `why` there are none."""

    found: Mapping[int, Highlight] = field(default_factory=dict)
    seconds: float = 0.0
    why: str | None = None


async def highlight(
    student: Model, question: Question, outcome: Outcome, left: float, caller: Caller
) -> Highlights:
    """The highlights of what `question` gets back, within `left` seconds.

    Raises `ClientGone`.
    """
    start = time.perf_counter()
    wanted = [i for i in outcome.best(question.top_n, question.min_score) if outcome.score[i] > 0]
    passages = question.passages

    def split() -> Candidates:
        return candidates(passages, outcome.notes, wanted)

    if sum(len(passages[index]) for index in wanted) > INLINE_CHARACTERS:
        found = await asyncio.to_thread(split)
    else:
        found = split()
    if not found.texts:
        return Highlights(seconds=time.perf_counter() - start)
    queries = question.queries
    if len(queries) > 1:
        queries = [queries[index] for index, spans in found.spans.items() for _ in spans]
    left -= time.perf_counter() - start
    best: Mapping[int, Highlight] = {}
    why = None
    try:
        _, scored = await student.score(
            queries,
            found.texts,
            max(0.0, left),
            caller.gone,
            reading=question.reading,
            client=caller.client,
        )
        if scored.errors:
            raise InferenceFailed(next(iter(scored.errors.values())))
        best = best_sentences(found, scored.score)
    except UNHELPED as error:
        why = error.message
    return Highlights(best, time.perf_counter() - start, why)
