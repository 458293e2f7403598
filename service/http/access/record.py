"""The access record: one line per request, with everything but what was asked and answered."""

from __future__ import annotations

import logging

from starlette.types import Scope

from retort.service.http.context import RequestContext

logger = logging.getLogger("retort.access")

# Asked many times per minute by orchestrators and Prometheus, and of no interest if it works.
QUIET_PATHS = frozenset({"/livez", "/readyz", "/health", "/metrics"})


def record(scope: Scope, context: RequestContext, status: int, seconds: float) -> None:
    """Write the line of a request that was answered with `status` after so many seconds."""
    quiet = scope["path"] in QUIET_PATHS and status == 200
    level = logging.DEBUG if quiet else logging.INFO
    if not logger.isEnabledFor(level):
        return
    client = scope.get("client")
    fields = {
        "client": client[0] if client else "",
        "key": context.key,
        "method": scope["method"],
        "route": context.route,
        "status": status,
        "ms": round(seconds * 1000, 2),
        "passages": context.passages,
        "pairs": context.pairs,
        "tokens": context.tokens,
        "model": context.model,
        "request_id": context.request_id,
        "trace_id": context.trace_id,
    }
    # Without what `logger.log` would look for: from which line it was called.
    line = logger.makeRecord(logger.name, level, "", 0, _Text(fields), (), None)
    line.fields = fields
    logger.handle(line)


class _Text:
    """The fields as text, made only where they are written so."""

    def __init__(self, fields: dict[str, object]) -> None:
        self._fields = fields

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in self._fields.items() if value != "")
