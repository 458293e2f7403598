from __future__ import annotations

import gzip
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from retort.models.bundle import Bundle
from retort.models.errors import StartError
from retort.service.http.access.tracing import Tracer
from retort.service.http.context import parse_traceparent
from tests.service.running import ROOT, server

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@contextmanager
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """A collector's URL, and what it got."""
    got: list[bytes] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append(body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Receiver) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}", got
        finally:
            listening.shutdown()
            thread.join()


@pytest.mark.slow
def test_the_stages_of_a_request_are_spans_of_its_trace(tiny_bundle: Bundle) -> None:
    with collector() as (url, got):
        flags = ("--bundle", str(tiny_bundle.folder), "--otlp-endpoint", url)
        with server(*flags) as running:
            body = {"query": "how tall is the tower", "documents": ["the tower", "paris"]}
            headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-Id": "abc"}
            httpx.post(f"{running.url}/v2/rerank", json=body, headers=headers)
            unsampled = {"traceparent": f"00-{TRACE}-{PARENT}-00"}
            httpx.post(f"{running.url}/v2/rerank", json=body, headers=unsampled)
            assert running.stop() == 0
    spans: list[Span] = []
    for sent in got:
        for resource in ExportTraceServiceRequest.FromString(_plain(sent)).resource_spans:
            for scope in resource.scope_spans:
                spans += scope.spans
    ours = [span for span in spans if span.trace_id.hex() == TRACE]
    (root,) = [span for span in ours if span.name == "POST /v2/rerank"]
    assert root.parent_span_id.hex() == PARENT
    stages = {span.name: span for span in ours if span.parent_span_id == root.span_id}
    assert set(stages) == {"tokenize", "queue", "infer"}
    assert len(ours) == 4
    for span in stages.values():
        assert root.start_time_unix_nano <= span.start_time_unix_nano
        assert span.start_time_unix_nano <= span.end_time_unix_nano <= root.end_time_unix_nano
    infer = stages["infer"]
    assert infer.end_time_unix_nano > infer.start_time_unix_nano
    attributes = {a.key: a.value.string_value or a.value.int_value for a in root.attributes}
    assert attributes["retort.request_id"] == "abc"
    assert attributes["http.response.status_code"] == 200
    assert attributes["retort.pairs"] == 2


def _plain(body: bytes) -> bytes:
    """The body without the compression that an exporter may use."""
    return gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body


@pytest.mark.parametrize(
    "value",
    [
        "",
        "nonsense",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
    ],
)
def test_what_is_no_traceparent(value: str) -> None:
    assert parse_traceparent(value) is None


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    for value in (f"00-{TRACE}-{PARENT}-01", f"01-{TRACE}-{PARENT}-01-more"):
        assert parse_traceparent(value) == (TRACE, PARENT, "01")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(StartError, match="extra otel"):
        Tracer("http://127.0.0.1:4318")


def test_without_a_collector_nothing_is_imported() -> None:
    program = (
        "import sys, retort.service.http.app\n"
        "assert 'opentelemetry.sdk' not in sys.modules\n"
        "assert 'opentelemetry.exporter' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
