"""The answer to `POST /score`, as JSON."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson

from retort.models.manifest import Manifest
from retort.models.scores import FloatArray
from retort.service.engine.job import Outcome
from retort.service.errors import InferenceFailed
from retort.service.http.schemas import PassageField, ScoreRequest
from retort.service.modes import Scored


def best_first(scores: FloatArray, outcome: Outcome, top_n: int | None) -> list[int]:
    """Indices of the scored passages, best first, ties by index."""
    order: list[int] = np.argsort(-scores, kind="stable").tolist()
    if outcome.errors:
        order = [index for index in order if index not in outcome.errors]
    return order[:top_n]


def render(request: ScoreRequest, scored: Scored, manifest: Manifest, total_ms: float) -> bytes:
    """The whole body."""
    outcome = scored.outcome
    body: dict[str, Any] = {
        "id": uuid.uuid4().hex,
        "model": manifest.name,
        "version": manifest.version,
        "mode": scored.mode,
        "results": list(_results(request, scored)),
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
    body["usage"] = {
        "pairs": len(request.passages),
        "tokens": outcome.tokens,
        "teacher_pairs": len(scored.by_teacher),
        "truncated": outcome.truncated,
    }
    seconds = outcome.seconds
    body["timings_ms"] = {
        "tokenize": round(seconds.tokenize * 1000, 3),
        "queue": round(seconds.queue * 1000, 3),
        "infer": round(seconds.infer * 1000, 3),
        "total": round(total_ms, 3),
    }
    return orjson.dumps(body)


def _results(request: ScoreRequest, scored: Scored) -> Iterator[dict[str, Any]]:
    outcome = scored.outcome
    numbers = outcome.raw if request.raw_scores else outcome.score
    scores, spreads = numbers.tolist(), outcome.spread.tolist()
    for index in best_first(numbers, outcome, request.top_n):
        passage = request.passages[index]
        result = {
            "index": index,
            **_identity(passage),
            "score": scores[index],
            "spread": spreads[index],
        }
        if scored.mode == "cascade":
            result["by"] = "teacher" if index in scored.by_teacher else "student"
        if request.return_passages:
            result["text"] = passage if isinstance(passage, str) else passage.text
        yield result


def _identity(passage: PassageField) -> dict[str, str | int]:
    if isinstance(passage, str) or passage.id is None:
        return {}
    return {"id": passage.id}
