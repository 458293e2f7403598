"""Bodies of answers: to `POST /score`, `/info` and `/comparison`."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import orjson

from retort.models.arrays import FloatArray
from retort.models.manifest import Manifest
from retort.service.engine.job import Outcome
from retort.service.errors import InferenceFailed
from retort.service.http.schemas import PassageField, ScoreRequest
from retort.service.model import Model
from retort.service.modes import Answer
from retort.service.service import Service
from retort.service.shadow import Recent


def best_first(scores: FloatArray, outcome: Outcome, top_n: int | None) -> list[int]:
    """Indices of the scored passages, best first, ties by index."""
    order: list[int] = np.argsort(-scores, kind="stable").tolist()
    if outcome.errors:
        order = [index for index in order if index not in outcome.errors]
    return order[:top_n]


def render(request: ScoreRequest, answer: Answer, manifest: Manifest, total_ms: float) -> bytes:
    """The body of an answer to `POST /score`."""
    outcome = answer.outcome
    body: dict[str, Any] = {
        "id": uuid.uuid4().hex,
        "model": manifest.name,
        "version": manifest.version,
        "mode": answer.mode,
        "results": list(_results(request, answer)),
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
        "teacher_pairs": len(answer.by_teacher),
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


def _results(request: ScoreRequest, answer: Answer) -> Iterator[dict[str, Any]]:
    outcome = answer.outcome
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
        if answer.mode == "cascade":
            result["by"] = "teacher" if index in answer.by_teacher else "student"
        if request.return_passages:
            result["text"] = passage if isinstance(passage, str) else passage.text
        yield result


def _identity(passage: PassageField) -> dict[str, str | int]:
    if isinstance(passage, str) or passage.id is None:
        return {}
    return {"id": passage.id}


def describe(service: Service, release: str) -> dict[str, Any]:
    """The body of `/info`: all that a client or an operator may want to know, and no secret."""
    settings, teacher = service.settings, service.teacher
    return {
        "release": release,
        "status": service.health.state.value,
        **_describe(service.student),
        "teacher": None if teacher is None else {"healthy": teacher.healthy, **_describe(teacher)},
        "mode": settings.mode,
        "modes": ["student"] if teacher is None else ["student", "teacher", "cascade"],
        "shadow": settings.shadow,
        "cascade_share": settings.cascade_share,
        "limits": {
            "max_passages": settings.max_passages,
            "max_body_bytes": settings.max_body_bytes,
            "queue_tokens": settings.queue_tokens,
            "timeout_ms": settings.timeout_ms,
            "max_timeout_ms": settings.max_timeout_ms,
        },
    }


def compared(service: Service) -> dict[str, Any]:
    """The body of `/comparison`, as `ComparisonResponse` says; None where nothing is known yet."""
    student, teacher, shadow = service.student, service.teacher, service.shadow
    means = {role: service.metrics.pair_seconds.mean(role) for role in ("student", "teacher")}
    faster, slower = means["student"], means["teacher"]
    agreement = student.manifest.agreement
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
        "name": model.manifest.name,
        "version": model.manifest.version,
        "pair_ms": None if pair_seconds is None else pair_seconds * 1000,
    }


def _describe(model: Model) -> dict[str, Any]:
    loaded = model.loaded
    described: dict[str, Any] = {
        "model": model.manifest.model_dump(mode="json", exclude={"files", "schema_version"}),
        "digest": model.bundle.digest,
        "backend": None,
    }
    if loaded is not None:
        chosen = loaded.chosen
        described["backend"] = {
            **asdict(chosen.backend.info),
            "batch_tokens": loaded.policy.batch_tokens,
            "overhead_tokens": loaded.policy.overhead_tokens,
            "threads": loaded.threads,
            "slots": loaded.slots,
            "streams": loaded.streams,
            "golden": asdict(chosen.golden),
            "measured_pairs_per_second": chosen.pairs_per_second,
        }
    return described
