"""A server as a process, started, awaited and stopped; its counters; the machine."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest

from retort.loadtest.servers import (
    Counters,
    Server,
    describe_machine,
    shadow_outcomes,
)
from retort.loadtest.targets import Target
from retort.service.metrics import Metrics


def script(folder: Path, body: str, **environment: str) -> Target:
    """A server that runs `body` with the port in `port`."""
    file = folder / "server.py"
    file.write_text("import os, sys\nport = int(sys.argv[-1])\n" + textwrap.dedent(body))
    return Target("fake", "the fake", (sys.executable, str(file)), environment=environment)


READY = """
    from http.server import BaseHTTPRequestHandler, HTTPServer

    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            # Not ready the first time: whoever waits must ask again.
            self.send_response(503 if len(asked) == 1 else 200)
            body = b'{"name": "%s"}' % os.environb.get(b"NAME", b"")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def test_inside_the_block_the_server_is_ready(tmp_path: Path) -> None:
    with Server(script(tmp_path, READY, NAME="fake")) as server:
        assert server.get_json("/info") == {"name": "fake"}
        assert server.host.endswith(f":{server.port}")
    with pytest.raises(OSError, match="refused"):
        server.get("/info")


def test_a_server_that_ends_at_once_is_an_error_with_its_words(tmp_path: Path) -> None:
    target = script(tmp_path, "sys.exit('no such bundle')")
    with pytest.raises(
        RuntimeError, match=r"the fake ended with status 1 before it was ready:\nno such bundle"
    ):
        Server(target).__enter__()


def test_an_answer_that_is_no_200_is_an_error(tmp_path: Path) -> None:
    body = READY.replace("503 if len(asked) == 1", "404 if self.path == '/info'")
    with (
        Server(script(tmp_path, body)) as server,
        pytest.raises(RuntimeError, match="GET /info of the fake was answered with 404"),
    ):
        server.get_json("/info")


def test_a_server_that_is_not_ready_in_time_is_an_error(tmp_path: Path) -> None:
    body = READY.replace("503 if len(asked) == 1 else 200", "503")
    server = Server(script(tmp_path, body), ready_timeout_s=0.5)
    with pytest.raises(RuntimeError, match=r"was not ready after 0\.5 s"):
        server.__enter__()
    with pytest.raises(RuntimeError, match="the fake does not run"):
        assert server.pid


def parsed(metrics: Metrics) -> Counters:
    return Counters.parse(metrics.render().decode())


def test_only_later_batches_are_counted() -> None:
    metrics = Metrics()
    metrics.batch(pairs=100, tokens=900, padded=1000)
    metrics.stages["infer"].observe(9.0)
    before = parsed(metrics)
    metrics.batch(pairs=4, tokens=50, padded=64)
    metrics.batch(pairs=6, tokens=70, padded=96)
    metrics.stages["infer"].observe(0.1)
    metrics.stages["infer"].observe(0.3)
    found = parsed(metrics).since(before)
    assert (found.batches, found.pairs, found.tokens) == (2, 10, 160)
    assert found.usual_batch() == 5
    assert found.mean_seconds("infer") == pytest.approx(0.2)
    with pytest.raises(ValueError, match="no request went through the stage 'queue'"):
        found.mean_seconds("queue")
    with pytest.raises(ValueError, match="no batch"):
        before.since(before).usual_batch()


def test_a_missing_series_is_an_error() -> None:
    with pytest.raises(KeyError):
        Counters.parse("# TYPE other gauge\nother 1\n")


def test_shadowed_requests_are_counted_by_outcome() -> None:
    registry = CollectorRegistry()
    counter = Counter("retort_shadow_requests", "Shadowed.", ["outcome"], registry=registry)
    counter.labels("compared").inc(3)
    counter.labels("dropped").inc()
    text = generate_latest(registry).decode()
    assert shadow_outcomes(text) == {"compared": 3, "dropped": 1}


def test_processor_and_telling_instructions_are_named(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("model name\t: Some CPU\nflags\t\t: fpu avx2 amx_bf16 sse\n")
    line = describe_machine(cpuinfo)
    assert line.startswith("Some CPU, ")
    assert "(amx_bf16, avx2), Python 3." in line


def test_without_cpuinfo_it_still_says_something(tmp_path: Path) -> None:
    assert "core" in describe_machine(tmp_path / "missing")
