"""Bodies of answers: to `POST /score`, `/info` and `/comparison`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec
import orjson

from retort.models.reading.windows import with_limits
from retort.models.scores import log_odds
from retort.service.errors import InferenceFailed
from retort.service.highlighting import Highlights
from retort.service.http import telling
from retort.service.http.bodies import check_count
from retort.service.http.schemas import (
    SCORE_ANSWER_EXAMPLE,
    SCORE_EXAMPLE,
    PassageField,
    ScoreRequest,
    ScoreResponse,
)
from retort.service.http.shapes import Reply, Shape
from retort.service.modes import Answer, Caller, Question
from retort.service.service import Service


async def _score(service: Service, caller: Caller, asked: ScoreRequest, start: float) -> Reply:
    check_count(len(asked.passages), service.settings.max_passages, "passages")
    question = Question(
        [asked.query],
        asked.texts(),
        with_limits(
            service.reading,
            max_windows=asked.max_windows,
            overlap_tokens=asked.overlap_tokens,
        ),
        asked.top_n,
        asked.min_score,
        asked.highlight,
    )
    answer, highlights = await service.score(
        caller,
        question,
        timeout_ms=asked.timeout_ms,
        mode=asked.mode,
        model=asked.model,
    )
    return Reply(
        answer, render(caller.request_id, asked, answer, highlights, time.perf_counter() - start)
    )


_DECODER = msgspec.json.Decoder(ScoreRequest)

SCORE_SHAPE: Shape[Any] = Shape(
    "Retort",
    ScoreRequest,
    lambda body, _: _DECODER.decode(body),
    _score,
    "own",
    ScoreResponse,
    SCORE_EXAMPLE,
    SCORE_ANSWER_EXAMPLE,
)


def render(
    request_id: str, request: ScoreRequest, answer: Answer, highlights: Highlights, seconds: float
) -> bytes:
    """The body of an answer to `POST /score`, which has taken so many seconds."""
    outcome, stages = answer.outcome, answer.outcome.seconds
    body: dict[str, Any] = {
        "id": request_id,
        "model": answer.manifest.name,
        "version": answer.manifest.version,
        "mode": answer.mode,
        "score_kind": "log_odds" if request.raw_scores else "probability",
        "results": list(_results(request, answer, highlights)),
    }
    if outcome.errors:
        body["errors"] = [
            {
                "index": index,
                **_identity(request.passages[index]),
                "type": InferenceFailed.type,
                "message": message,
            }
            for index, message in sorted(outcome.errors.items())
        ]
    probability = telling.answerable(answer)
    if probability is not None:
        body["answerable"] = probability
    if warnings := telling.warnings(answer, highlights):
        body["warnings"] = warnings
    body["usage"] = telling.usage(answer)
    body["timings_ms"] = {
        "tokenize": round(stages.tokenize * 1000, 3),
        "queue": round(stages.queue * 1000, 3),
        "infer": round(stages.infer * 1000, 3),
        **({"highlight": round(highlights.seconds * 1000, 3)} if request.highlight else {}),
        "total": round(seconds * 1000, 3),
    }
    return orjson.dumps(body)


def _results(
    request: ScoreRequest, answer: Answer, highlights: Highlights
) -> Iterator[dict[str, Any]]:
    outcome = answer.outcome
    numbers = log_odds(outcome.score) if request.raw_scores else outcome.score
    scores, spreads = numbers.tolist(), outcome.spread.tolist()
    for index in outcome.best(request.top_n, request.min_score):
        passage = request.passages[index]
        result = {
            "index": index,
            **_identity(passage),
            "score": scores[index],
            "spread": spreads[index],
        }
        if outcome.notes or highlights.found:
            result |= telling.of_passage(index, outcome, highlights)
        if answer.mode == "cascade":
            result["by"] = "teacher" if index in answer.by_teacher else "student"
        if request.return_passages:
            result["text"] = passage if isinstance(passage, str) else passage.text
        yield result


def _identity(passage: PassageField) -> dict[str, orjson.Fragment]:
    """The client's id, as it came."""
    if isinstance(passage, str):
        return {}
    raw = bytes(passage.id)
    return {} if raw in (b"", b"null") else {"id": orjson.Fragment(raw)}
