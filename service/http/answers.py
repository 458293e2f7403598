"""Bodies of answers: to `POST /score`, `/info` and `/comparison`."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import orjson

from retort.models.reading.windows import with_limits
from retort.models.scores import log_odds
from retort.service.errors import InferenceFailed
from retort.service.highlighting import Highlights
from retort.service.http import telling
from retort.service.http.bodies import check_count
from retort.service.http.schemas import SCORE_EXAMPLE, PassageField, ScoreRequest, ScoreResponse
from retort.service.http.scoring import Reply, ScoringRoute
from retort.service.model import Model
from retort.service.modes import Answer, Caller, Question
from retort.service.service import Service
from retort.service.shadow import Recent


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
        strict=True,
    )
    return Reply(render(asked, answer, highlights, (time.perf_counter() - start) * 1000))


SCORE = ScoringRoute(
    "/score",
    "Score passages against a query",
    ScoreRequest,
    _score,
    example=SCORE_EXAMPLE,
    responses={200: {"model": ScoreResponse}},
)


def render(request: ScoreRequest, answer: Answer, highlights: Highlights, total_ms: float) -> bytes:
    """The body of an answer to `POST /score`."""
    outcome, seconds = answer.outcome, answer.outcome.seconds
    body: dict[str, Any] = {
        "id": uuid.uuid4().hex,
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
        "tokenize": round(seconds.tokenize * 1000, 3),
        "queue": round(seconds.queue * 1000, 3),
        "infer": round(seconds.infer * 1000, 3),
        **({"highlight": round(highlights.seconds * 1000, 3)} if request.highlight else {}),
        "total": round(total_ms, 3),
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


def describe(service: Service, release: str) -> dict[str, Any]:
    """The body of `/info`: all that a client or an operator may want to know, and no secret."""
    settings, teacher = service.settings, service.teacher
    students = list(service.engines.students.values())
    return {
        "release": release,
        "status": service.health.state.value,
        **(_describe(students[0]) if students else {"model": None, "backend": None}),
        "models": [{"name": student.name, **_describe(student)} for student in students],
        "teacher": None if teacher is None else {"healthy": teacher.healthy, **_describe(teacher)},
        "mode": settings.mode,
        "modes": ["student"] if teacher is None else ["student", "teacher", "cascade"],
        "shadow": settings.shadow,
        "cascade_share": settings.cascade_share,
        "limits": {
            "max_passages": settings.max_passages,
            "max_pairs": settings.max_pairs,
            "max_windows": settings.max_windows,
            "overlap_tokens": settings.overlap_tokens,
            "window_score": settings.window_score,
            "max_body_bytes": settings.max_body_bytes,
            "queue_tokens": settings.queue_tokens,
            "timeout_ms": settings.timeout_ms,
            "max_timeout_ms": settings.max_timeout_ms,
        },
    }


def compared(service: Service) -> dict[str, Any]:
    """The body of `/comparison`, as `ComparisonResponse` says; None where nothing is known yet."""
    student, teacher, shadow = service.student, service.teacher, service.shadow
    means = {role: service.metrics.mean_pair_seconds(role) for role in ("student", "teacher")}
    faster, slower = means["student"], means["teacher"]
    agreement = None if student.served is None else student.served.manifest.agreement
    recent = Recent() if shadow is None else shadow.recent
    return {
        "mode": service.settings.mode,
        "student": _paced(student, means["student"]),
        "teacher": None if teacher is None else _paced(teacher, means["teacher"]),
        "speedup": slower / faster if faster and slower is not None else None,
        "top1_agreement": recent.top1_agreement,
        "kendall_tau": recent.kendall_tau,
        "score_difference": recent.score_difference,
        "compared": recent.total,
        "agreement_at_export": agreement.top1 if agreement is not None else None,
    }


def _paced(model: Model, pair_seconds: float | None) -> dict[str, Any]:
    return {
        "name": model.name,
        "version": "" if model.served is None else model.served.manifest.version,
        "pair_ms": None if pair_seconds is None else pair_seconds * 1000,
    }


def _describe(model: Model) -> dict[str, Any]:
    served = model.served
    if served is None:
        return {"model": None, "digest": None, "backend": None}
    manifest = served.manifest
    return {
        "model": manifest.model_dump(mode="json", exclude={"files", "schema_version"}),
        "digest": served.bundle.digest,
        "backend": served.backend,
    }
