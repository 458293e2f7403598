"""What `/info` says: the bundle, the backend, the limits."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from service.state import Service


def describe(service: Service, release: str) -> dict[str, Any]:
    """All that a client or an operator may want to know, and no secret."""
    settings, manifest, loaded = service.settings, service.bundle.manifest, service.loaded
    told: dict[str, Any] = {
        "release": release,
        "status": service.health.state.value,
        "model": manifest.model_dump(mode="json", exclude={"files", "schema_version"}),
        "digest": service.bundle.digest,
        "limits": {
            "max_passages": settings.max_passages,
            "max_body_bytes": settings.max_body_bytes,
            "queue_tokens": settings.queue_tokens,
            "timeout_ms": settings.timeout_ms,
            "max_timeout_ms": settings.max_timeout_ms,
        },
        "backend": None,
    }
    if loaded is not None:
        chosen = loaded.chosen
        told["backend"] = {
            **asdict(chosen.backend.info),
            "batch_tokens": loaded.policy.batch_tokens,
            "overhead_tokens": loaded.policy.overhead_tokens,
            "slots": loaded.slots,
            "golden": asdict(chosen.golden),
            "measured_pairs_per_second": chosen.pairs_per_second,
        }
    return told
