"""What a server says of itself: `/info`, and `/comparison` of student and teacher."""

from __future__ import annotations

from typing import Any

from retort.service.http.aliases.tei import LABEL
from retort.service.metrics import Role
from retort.service.model import Model, Served
from retort.service.service import Service
from retort.service.settings import Mode
from retort.service.shadow.recent import Recent


def describe(service: Service, release: str) -> dict[str, Any]:
    """The body of `/info`: all that a client or an operator may want to know, and no secret."""
    settings = service.settings
    students = list(service.engines.students.values())
    return {
        "release": release,
        "status": service.health.state.value,
        **(_describe(students[0]) if students else {"model": None, "backend": None}),
        **_as_tei(service, release),
        "models": [{"name": student.name, **_describe(student)} for student in students],
        "teacher": _describe_teacher(service),
        "mode": settings.mode,
        "modes": modes(service),
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


def modes(service: Service) -> list[Mode]:
    """The modes that a request may ask for."""
    return ["student"] if service.teacher is None else ["student", "teacher", "cascade"]


def _describe_teacher(service: Service) -> dict[str, Any] | None:
    """The teacher, as this front end knows it; that at a URL with no bundle."""
    teacher, distant = service.teacher, service.distant_teacher
    if distant is not None:
        return {
            "healthy": distant.healthy,
            "model": {"name": distant.name, "version": distant.version},
            "digest": None,
            "backend": None,
            "url": distant.url,
            "shape": distant.shape,
            "problem": distant.problem or None,
        }
    return None if teacher is None else {"healthy": teacher.healthy, **_describe(teacher)}


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
    student, shadow = service.student, service.shadow
    agreement = None if student.served is None else student.served.manifest.agreement
    recent = Recent() if shadow is None else shadow.recent
    version = "" if student.served is None else student.served.manifest.version
    own = _paced(service, "student", student.name, version)
    teacher = _paced_teacher(service)
    return {
        "mode": service.settings.mode,
        "modes": modes(service),
        "student": own,
        "teacher": teacher,
        "speedup": None if teacher is None else _speedup(own, teacher),
        "top1_agreement": recent.top1_agreement,
        "kendall_tau": recent.kendall_tau,
        "score_difference": recent.score_difference,
        "compared": recent.total,
        "agreement_at_export": agreement.top1 if agreement is not None else None,
    }


def _paced_teacher(service: Service) -> dict[str, Any] | None:
    teacher, distant = service.teacher, service.distant_teacher
    if distant is not None:
        return _paced(service, "teacher", distant.name, distant.version)
    if teacher is None:
        return None
    version = "" if teacher.served is None else teacher.served.manifest.version
    return _paced(service, "teacher", teacher.name, version)


def _paced(service: Service, role: Role, name: str, version: str) -> dict[str, Any]:
    pair, request = service.metrics.mean_pair_seconds(role), None
    if service.distant_teacher is not None:
        request = service.metrics.mean_shadow_seconds(role)
    return {
        "name": name,
        "version": version,
        "pair_ms": None if pair is None else pair * 1000,
        "request_ms": None if request is None else request * 1000,
    }


def _speedup(student: dict[str, Any], teacher: dict[str, Any]) -> float | None:
    """The teacher's time over the student's: in the backend per pair, or per compared request."""
    for what in ("request_ms", "pair_ms"):
        if student[what] and teacher[what] is not None:
            ratio: float = teacher[what] / student[what]
            return ratio
    return None


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
