"""What `/info` and `/comparison` say: the bundles, the backends, the limits, and who is better."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from retort.service.served import Served
from retort.service.service import Service


def describe(service: Service, release: str) -> dict[str, Any]:
    """All that a client or an operator may want to know, and no secret."""
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
    """Student beside teacher, as `ComparisonResponse` says; None where nothing is known yet."""
    student, teacher, shadow = service.student, service.teacher, service.shadow
    means = {role: service.metrics.pair_seconds.mean(role) for role in ("student", "teacher")}
    faster, slower = means["student"], means["teacher"]
    agreement = student.manifest.agreement
    recent = shadow.recent if shadow is not None else None
    return {
        "mode": service.settings.mode,
        "student": _paced(student, means["student"]),
        "teacher": None if teacher is None else _paced(teacher, means["teacher"]),
        "speedup": slower / faster if faster and slower is not None else None,
        "top1_agreement": recent.top1_agreement if recent else None,
        "kendall_tau": recent.kendall_tau if recent else None,
        "score_difference": recent.score_difference if recent else None,
        "compared": recent.total if recent else 0,
        "agreement_at_export": agreement.top1 if agreement is not None else None,
    }


def _paced(served: Served, pair_seconds: float | None) -> dict[str, Any]:
    return {
        "name": served.manifest.name,
        "version": served.manifest.version,
        "pair_ms": None if pair_seconds is None else pair_seconds * 1000,
    }


def _describe(served: Served) -> dict[str, Any]:
    loaded = served.loaded
    told: dict[str, Any] = {
        "model": served.manifest.model_dump(mode="json", exclude={"files", "schema_version"}),
        "digest": served.bundle.digest,
        "backend": None,
    }
    if loaded is not None:
        chosen = loaded.chosen
        told["backend"] = {
            **asdict(chosen.backend.info),
            "batch_tokens": loaded.policy.batch_tokens,
            "overhead_tokens": loaded.policy.overhead_tokens,
            "slots": loaded.slots,
            "streams": loaded.streams,
            "golden": asdict(chosen.golden),
            "measured_pairs_per_second": chosen.pairs_per_second,
        }
    return told
