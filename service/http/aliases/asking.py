"""Asking: what every alias does with a request once its own names are translated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from retort.models.reading.windows import Reading
from retort.models.scores import log_odds
from retort.service.errors import InferenceFailed, InvalidRequest
from retort.service.highlighting import Highlights
from retort.service.http import telling
from retort.service.http.bodies import check_count
from retort.service.http.shapes import Reply
from retort.service.modes import Answer, Caller, Question
from retort.service.service import Service

# What infinity's client says if it is not told a model.
NO_MODEL = "default/not-specified"


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked, in our words.

    `field` and `query_field` are what the shape calls its passages and its query. `ignored` says by
    name why fields of the request were. With `whole`, a passage that cannot be read whole is an
    error.
    """

    queries: Sequence[str]
    passages: Sequence[str]
    reading: Reading
    field: str
    ignored: Mapping[str, str]
    model: str | None = None
    top_n: int | None = None
    min_score: float = 0.0
    highlight: bool = False
    whole: bool = False
    query_field: str = "query"


@dataclass(frozen=True, slots=True)
class Found:
    """An answer to an `Ask`; `id` is the request's, `warnings` are what a client should know."""

    id: str
    ask: Ask
    answer: Answer
    highlights: Highlights
    warnings: list[str]

    @property
    def model(self) -> str:
        """The name of the model that scored."""
        return self.answer.manifest.name

    @property
    def tokens(self) -> int:
        """The tokens that it read."""
        return self.answer.outcome.tokens

    def ranked(self, *, raw: bool = False) -> Iterator[tuple[int, float, dict[str, Any]]]:
        """Index, score and what else there is to tell of each passage, best first."""
        outcome = self.answer.outcome
        scores = (log_odds(outcome.score) if raw else outcome.score).tolist()
        for index in outcome.best(self.ask.top_n, self.ask.min_score):
            yield index, scores[index], telling.of_passage(index, outcome, self.highlights)

    def reply(self, content: Any, headers: dict[str, str] | None = None) -> Reply:
        """An answer in JSON; what its shape has no place for is in headers."""
        told = telling.headers(self.answer, self.warnings)
        return Reply(self.answer, orjson.dumps(content), {**(headers or {}), **told})

    def reply_with_warnings(self, content: dict[str, Any]) -> Reply:
        """The same for a shape that takes fields of ours."""
        if self.warnings:
            content["warnings"] = self.warnings
        return self.reply(content)


async def find(service: Service, caller: Caller, ask: Ask) -> Found:
    """Score. Raises `ServiceError`."""
    if ask.ignored and service.settings.strict_aliases:
        name, why = next(iter(ask.ignored.items()))
        raise InvalidRequest(f"{name}: {why} (strict_aliases)", param=name)
    check_count(len(ask.passages), service.settings.max_passages, ask.field)
    question = Question(
        ask.queries,
        ask.passages,
        ask.reading,
        ask.top_n,
        ask.min_score,
        highlight=ask.highlight,
    )
    model = None if ask.model == NO_MODEL else ask.model
    try:
        answer, highlights = await service.score(caller, question, model=model)
    except InvalidRequest as error:
        if error.param == "query":
            error.param = ask.query_field
        raise
    outcome = answer.outcome
    if outcome.errors:
        # These shapes have no place for a passage without a score.
        index, message = min(outcome.errors.items())
        raise InferenceFailed(f"document {index}: {message}")
    if ask.whole and outcome.truncated:
        where = next(i for i, note in outcome.notes.items() if "truncated" in note.flags)
        raise InvalidRequest(
            f"{ask.field}.{where}: it is too long to be read whole: shorten it, or let it be "
            "truncated",
            param=f"{ask.field}.{where}",
        )
    ignored = (f"{name} was ignored: {why}" for name, why in ask.ignored.items())
    warnings = [*ignored, *telling.warnings(answer, highlights)]
    return Found(caller.request_id, ask, answer, highlights, warnings)
