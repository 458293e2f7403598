"""Tracing: the stages of a request as OpenTelemetry spans, sent to a collector by OTLP over HTTP.

    request ─┬─ tokenize
             ├─ queue
             └─ infer

The spans are made when the request has been answered, from times that are taken anyway, so a server
without a collector pays nothing and imports nothing.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from retort.models.errors import StartError
from retort.service.http.context import RequestContext, TraceParent

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExporter


class Tracer:
    """Makes spans and sends them to `endpoint`, or to an exporter for tests.

    Raises `StartError` if OpenTelemetry is not installed.
    """

    def __init__(self, endpoint: str, exporter: SpanExporter | None = None) -> None:
        try:
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor

            if exporter is None:
                from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

                exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")
        except ModuleNotFoundError as error:
            raise StartError(
                f"otlp_endpoint needs {error.name}, which is not installed: it comes with the "
                "extra otel"
            ) from None
        self._provider = TracerProvider(resource=Resource.create({"service.name": "retort"}))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("retort")

    def trace(self, context: RequestContext, method: str, status: int, seconds: float) -> None:
        """Make the spans of a request that took so many seconds until now."""
        end = time.time_ns()
        start = end - _ns(seconds)
        span = self._tracer.start_span(
            f"{method} {context.route}",
            _parent(context.parent),
            start_time=start,
            attributes={
                "http.request.method": method,
                "http.route": context.route,
                "http.response.status_code": status,
                "retort.request_id": context.request_id,
                "retort.key": context.key,
                "retort.model": context.model,
                "retort.passages": context.passages,
                "retort.pairs": context.pairs,
            },
        )
        if context.stages is not None:
            from opentelemetry.trace import set_span_in_context

            within = set_span_in_context(span)
            # One after the other, up to the end: before them the body was read.
            stages = context.stages
            at = max(start, end - _ns(stages.tokenize + stages.queue + stages.infer))
            for name in ("tokenize", "queue", "infer"):
                stage = self._tracer.start_span(name, within, start_time=at)
                at = min(end, at + _ns(getattr(stages, name)))
                stage.end(at)
        span.end(end)

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


def _parent(parent: TraceParent | None) -> Context | None:
    if parent is None:
        return None
    from opentelemetry.trace import (
        NonRecordingSpan,
        SpanContext,
        TraceFlags,
        set_span_in_context,
    )

    known = SpanContext(
        int(parent.trace_id, 16),
        int(parent.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(int(parent.flags, 16)),
    )
    return set_span_in_context(NonRecordingSpan(known))
