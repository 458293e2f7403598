"""What a server says of itself: `/info`, and `/comparison` of student and teacher."""

from __future__ import annotations

from typing import Any

from retort.service.http.aliases.tei import LABEL
from retort.service.model import Model, Served
from retort.service.service import Service
from retort.service.shadow import Recent


def describe(service: Service, release: str) -> dict[str, Any]:
    """The body of `/info`: all that a client or an operator may want to know, and no secret."""
    settings, teacher = service.settings, service.teacher
    students = list(service.engines.students.values())
    return {
        "release": release,
        "status": service.health.state.value,
        **(_describe(students[0]) if students else {"model": None, "backend": None}),
        **_as_tei(service, release),
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


def _as_tei(service: Service, release: str) -> dict[str, Any]:
    """What clients of text-embeddings-inference read, under its names."""
    served = next(iter(service.engines.students.values())).served if service.ready else None
    settings = service.settings
    return {
        "model_id": None if served is None else served.manifest.name,
        "model_sha": None if served is None else served.bundle.digest,
        "model_dtype": None if served is None else served.backend["precision"],
        "model_type": {"reranker": {"id2label": {"0": LABEL}, "label2id": {LABEL: 0}}},
        "max_concurrent_requests": settings.max_passages,
        "max_input_length": _max_length(served),
        "max_batch_tokens": settings.queue_tokens,
        "max_batch_requests": None,
        "max_client_batch_size": settings.max_passages,
        "auto_truncate": True,
        "tokenization_workers": max(1, settings.workers or 1),
        "version": release,
        "sha": None,
        "docker_label": None,
    }


def _max_length(served: Served | None) -> int | None:
    return None if served is None else served.manifest.truncation.max_length


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
