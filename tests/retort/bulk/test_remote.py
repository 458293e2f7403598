"""`retort rank --url`: the same over HTTP, against a real server and one that is busy."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from retort.client import Limits, Timings, Usage
from tests.retort.bulk.files import BACKEND, ROOT, SCORING, Rows, call, make_rows, rank, read, write
from tests.service.running import server


@pytest.fixture(scope="module")
def rows() -> Rows:
    return make_rows(12, seed=3)


@pytest.mark.slow
def test_a_server_scores_the_same(rows: Rows, tmp_path: Path) -> None:
    source = write(tmp_path / "in.parquet", rows)
    rank(source, tmp_path / "here.parquet")
    lines = [{"query": "where is paris", "passages": ["paris is in france", {"id": 7, "text": ""}]}]
    lists = write(tmp_path / "in.jsonl", lines)
    rank(lists, tmp_path / "here.jsonl")
    with server("--bundle", SCORING[1], *BACKEND) as running:
        url = ("--url", running.url)
        rank(source, tmp_path / "there.parquet", scoring=url)
        rank(lists, tmp_path / "there.jsonl", *url, "--model", "tiny", scoring=())
        # Nothing is asked in it but by its tokens.
        bad = write(tmp_path / "bad.jsonl", [{"query": "\u200b", "passage": "paris"}, *rows[:2]])
        ended = call(bad, "--out", tmp_path / "o.jsonl", *url)
        assert ended.exit_code == 1
        assert "bad.jsonl, line 1: " in ended.stderr
        ended = rank(bad, tmp_path / "p.jsonl", "--skip-bad", scoring=url)
        assert "1 bad row skipped" in ended.stderr
        ended = call(source, "--out", tmp_path / "o.parquet", *url, "--model", "large")
        assert ended.exit_code == 1
        assert "no model large, but tiny" in ended.stderr
    for here, there in zip(
        read(tmp_path / "here.parquet"), read(tmp_path / "there.parquet"), strict=True
    ):
        assert there == {
            **here,
            "score": pytest.approx(here["score"], abs=1e-6),
            "spread": pytest.approx(here["spread"], abs=1e-6),
            "rank": there["rank"],
        }
    (here,), (there,) = read(tmp_path / "here.jsonl"), read(tmp_path / "there.jsonl")
    assert [result["index"] for result in there["results"]] == [0, 1]
    for one, other in zip(here["results"], there["results"], strict=True):
        assert other["score"] == pytest.approx(one["score"], abs=1e-6)


class Busy(BaseHTTPRequestHandler):
    """Refuses each request once, and tells how many are under way."""

    protocol_version = "HTTP/1.1"
    lock = threading.Lock()
    refused: set[bytes]
    refusals: list[float]
    taken: list[float]
    now = most = 0
    version = "1"

    def do_GET(self) -> None:
        limits = dict.fromkeys(Limits.__struct_fields__, 10**6)
        told = {"release": "1", "status": "ready", "mode": "student", "modes": ["student"]}
        model = {"id": "m", "version": "1", "role": "student", "created": 1}
        self.answer(200, {**told, "limits": limits} if "info" in self.path else {"data": [model]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        query = asked["query"].encode()
        cls = type(self)
        with self.lock:
            first = query not in self.refused
            self.refused.add(query)
            cls.now += 1
            cls.most = max(cls.most, cls.now)
        time.sleep(0.02)
        with self.lock:
            cls.now -= 1
        if first:
            self.refusals.append(time.monotonic())
            error = {"type": "overloaded", "message": "busy", "param": None}
            self.answer(429, {"error": error}, ("Retry-After", "1"))
            return
        self.taken.append(time.monotonic())
        self.scored(asked)

    def scored(self, asked: dict[str, Any]) -> None:
        """Answer with scores."""
        results = [
            {"index": index, "score": len(text) / 1e4, "spread": 0.0}
            for index, text in enumerate(asked["passages"])
        ]
        usage = {**dict.fromkeys(Usage.__struct_fields__, 1), "query_cut": None}
        timings = dict.fromkeys(Timings.__struct_fields__, 1.0)
        answer = {"id": "1", "model": "m", "version": self.version, "mode": "student"}
        self.answer(200, {**answer, "results": results, "usage": usage, "timings_ms": timings})

    def answer(self, status: int, body: object, *headers: tuple[str, str]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(content)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def busy() -> Iterator[tuple[str, type[Busy]]]:
    class Own(Busy):
        """With counts of its own."""

    Own.refused, Own.refusals, Own.taken = set(), [], []
    serving = ThreadingHTTPServer(("127.0.0.1", 0), Own)
    thread = threading.Thread(target=serving.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{serving.server_port}", Own
    serving.shutdown()
    thread.join()
    serving.server_close()


def test_a_busy_server_is_asked_again_when_it_says(
    rows: Rows, tmp_path: Path, busy: tuple[str, type[Busy]]
) -> None:
    url, handler = busy
    source = write(tmp_path / "in.tsv", rows)
    rank(source, tmp_path / "out.tsv", "--url", url, "--concurrency", 3, scoring=())
    found = read(tmp_path / "out.tsv")
    assert [row["score"] for row in found] == [len(row["passage"]) / 1e4 for row in rows]
    assert len(handler.refusals) == len(handler.taken) == 12
    assert handler.taken[0] >= handler.refusals[0] + 1
    assert 1 < handler.most <= 3


def test_scores_of_two_models_are_not_mixed(
    rows: Rows, tmp_path: Path, busy: tuple[str, type[Busy]]
) -> None:
    url, handler = busy
    handler.version = "2"
    ended = call(write(tmp_path / "in.tsv", rows[:3]), "--out", tmp_path / "out.tsv", "--url", url)
    assert ended.exit_code == 1
    assert "now answers with m 2" in ended.stderr


@pytest.mark.parametrize("status", [413, 504])
def test_a_request_that_is_too_much_is_asked_in_halves(
    status: int, rows: Rows, tmp_path: Path, busy: tuple[str, type[Busy]]
) -> None:
    url, handler = busy
    sizes: list[int] = []

    def small_alone(self: Busy) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if len(asked["passages"]) > 3:
            error = {"type": "too_much", "message": "less, please", "param": None}
            self.answer(status, {"error": error})
            return
        sizes.append(len(asked["passages"]))
        self.scored(asked)

    handler.do_POST = small_alone  # type: ignore[method-assign]
    source = write(tmp_path / "in.tsv", rows)
    rank(source, tmp_path / "out.tsv", "--url", url, scoring=())
    found = read(tmp_path / "out.tsv")
    assert [row["score"] for row in found] == [len(row["passage"]) / 1e4 for row in rows]
    assert sum(sizes) == len(rows)
    assert max(sizes) <= 3


def test_a_run_that_is_interrupted_ends_though_the_server_hangs(
    rows: Rows, tmp_path: Path, busy: tuple[str, type[Busy]]
) -> None:
    url, handler = busy
    come, go = threading.Event(), threading.Event()

    def hang(self: Busy) -> None:
        come.set()
        go.wait(60)

    handler.do_POST = hang  # type: ignore[method-assign]
    source, out = write(tmp_path / "in.tsv", rows), tmp_path / "out.tsv"
    command = [sys.executable, "-m", "retort", "rank", str(source), "--out", str(out)]
    running = subprocess.Popen([*command, "--url", url], cwd=ROOT, stderr=subprocess.PIPE)
    try:
        assert come.wait(60)
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=20)
        assert running.returncode == 130
    finally:
        running.kill()
        go.set()
