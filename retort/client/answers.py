"""Answers: what came back for a question, put together from its parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from retort.client.errors import ServerError
from retort.client.questions import Question
from retort.models.reading.spans import Flag, Highlight, Span
from retort.ranked import RankedPassage, id_of


class Usage(msgspec.Struct, frozen=True):
    """What was read and scored; see docs/api.md."""

    passages: int
    pairs: int
    windows: int
    tokens: int
    teacher_pairs: int
    truncated: int
    unknown_tokens: int
    query_cut: str | None = None


class Timings(msgspec.Struct, frozen=True):
    """Milliseconds by stage; of several requests, the slowest one's."""

    tokenize: float
    queue: float
    infer: float
    total: float
    highlight: float | None = None


@dataclass(frozen=True, slots=True)
class UnscoredPassage:
    """A passage that could not be scored, and why."""

    index: int
    id: Any
    type: str
    message: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a question.

    `results` are best first, ties by index. `answerable` is the probability that any passage
    answers; None if the bundle cannot tell, or the list was sent in several requests. `by_teacher`
    are, in a cascade, the indices of results that the teacher scored too. `request_ids` find the
    requests in the server's log, one for each.
    """

    model: str
    version: str
    mode: str
    results: tuple[RankedPassage, ...]
    unscored: tuple[UnscoredPassage, ...]
    answerable: float | None
    warnings: tuple[str, ...]
    by_teacher: frozenset[int]
    usage: Usage
    timings_ms: Timings
    request_ids: tuple[str, ...]

    def ranked(self) -> list[RankedPassage]:
        """The results. Raises `ServerError` if a passage could not be scored."""
        if self.unscored:
            first = self.unscored[0]
            raise ServerError(
                f"{len(self.unscored)} of {self.usage.passages} passages have no score, the first "
                f"is passage {first.index}: {first.message}; `ask` returns the others",
                type=first.type,
                request_id=self.request_ids[0],
            )
        return list(self.results)


class _Window(msgspec.Struct):
    start: int
    end: int
    count: int


class _Result(msgspec.Struct):
    index: int
    score: float
    spread: float
    window: _Window | None = None
    highlight: Highlight | None = None
    # Not `Flag`: a newer server may have more of them.
    flags: tuple[str, ...] = ()
    by: str | None = None


class _Error(msgspec.Struct):
    index: int
    type: str
    message: str


class PartAnswer(msgspec.Struct):
    """The answer to one request; `start` is that of its part."""

    id: str
    model: str
    version: str
    mode: str
    results: list[_Result]
    usage: Usage
    timings_ms: Timings
    errors: list[_Error] = []
    answerable: float | None = None
    warnings: list[str] = []
    start: int = 0


def merge(question: Question, parts: Sequence[PartAnswer]) -> Answer:
    """The answer to a question from those to its parts, of which there is at least one."""
    first = parts[0]
    passages = question.passages
    found = [(part.start + result.index, result) for part in parts for result in part.results]
    found.sort(key=lambda pair: (-pair[1].score, pair[0]))
    found = found[: question.top_n]
    return Answer(
        model=first.model,
        version=first.version,
        mode=first.mode,
        results=tuple(_ranked(index, id_of(passages[index]), result) for index, result in found),
        unscored=tuple(
            UnscoredPassage(index, id_of(passages[index]), error.type, error.message)
            for part in parts
            for error in part.errors
            for index in [part.start + error.index]
        ),
        answerable=first.answerable if len(parts) == 1 else None,
        warnings=tuple(dict.fromkeys(_warnings(parts))),
        by_teacher=frozenset(index for index, result in found if result.by == "teacher"),
        usage=_total([part.usage for part in parts]),
        timings_ms=_slowest([part.timings_ms for part in parts]),
        request_ids=tuple(part.id for part in parts),
    )


def _ranked(index: int, id: Any, result: _Result) -> RankedPassage:
    window = result.window
    return RankedPassage(
        index,
        result.score,
        result.spread,
        id,
        None if window is None else Span(window.start, window.end),
        1 if window is None else window.count,
        cast("tuple[Flag, ...]", result.flags),
        result.highlight,
    )


def _warnings(parts: Sequence[PartAnswer]) -> Iterator[str]:
    for part in parts:
        yield from part.warnings
    versions = dict.fromkeys(f"{part.model} {part.version}" for part in parts)
    if len(versions) > 1:
        yield f"not all passages were scored by the same model: {', '.join(versions)}"


def _total(parts: Sequence[Usage]) -> Usage:
    sums = {
        name: sum(getattr(part, name) for part in parts)
        for name in Usage.__struct_fields__
        if name != "query_cut"
    }
    cuts = (part.query_cut for part in parts)
    return Usage(**sums, query_cut=next(filter(None, cuts), None))


def _slowest(parts: Sequence[Timings]) -> Timings:
    def most(values: Iterable[float | None]) -> Any:
        return max((value for value in values if value is not None), default=None)

    fields = Timings.__struct_fields__
    return Timings(**{name: most(getattr(part, name) for part in parts) for name in fields})
