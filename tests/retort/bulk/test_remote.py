"""`retort rank --url`: the same over HTTP, against a real server and one that is busy."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Container, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from retort.bulk.remote import LATE_ATTEMPTS, PROBE, OtherModel, RemoteScorer
from retort.client import DeadlinePassed, Limits, Timings, Usage
from retort.models.bundle import read_bundle
from tests.retort.bulk.files import (
    BACKEND,
    ROOT,
    SCORING,
    SMALL_BLOCKS,
    Rows,
    by_query,
    call,
    make_rows,
    rank,
    read,
    write,
)
from tests.retort.bulk.test_resume import parts_of
from tests.retort.test_failures import heed_interrupts
from tests.service.running import PATIENCE_SECONDS, server


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
    with server("--bundle", SCORING[1], *BACKEND, "--alias", "other=tiny") as running:
        url = ("--url", running.url)
        rank(source, tmp_path / "there.parquet", scoring=url)
        rank(lists, tmp_path / "there.jsonl", *url, "--model", "other", scoring=())
        with closing(RemoteScorer(running.url)) as scorer:
            told = dict(scorer.identity)
        bundle = ["tiny", "0.0.1", read_bundle(Path(SCORING[1])).digest, None]
        assert told == {
            "model of a server": "tiny 0.0.1",
            "mode of a server": "student",
            "windows of a server": [32, 40, "max"],
            "bundle of a server": [*bundle, "onnxruntime", "cpu", "fp32"],
            "teacher of a server": None,
        }
        # Nothing is asked in it but by its tokens.
        bad = write(tmp_path / "bad.jsonl", [{"query": "\u200b", "passage": "paris"}, *rows[:2]])
        ended = call(bad, "--out", tmp_path / "o.jsonl", *url)
        assert ended.exit_code == 1
        assert "bad.jsonl, line 1: " in ended.stderr
        ended = rank(bad, tmp_path / "p.jsonl", "--skip-bad", scoring=url)
        assert "1 bad row skipped" in ended.stderr
        ended = call(source, "--out", tmp_path / "o.parquet", *url, "--model", "large")
        assert ended.exit_code == 1
        assert "'large'" in ended.stderr
        assert "tiny" in ended.stderr
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
    """Refuses each query once, and tells how many are under way."""

    protocol_version = "HTTP/1.1"
    lock = threading.Lock()
    refusing = True
    refused: set[bytes]
    asked: list[str]
    refusals: list[float]
    taken: list[float]
    # How many passages there were, of each request that was answered so.
    statuses: dict[int, list[int]]
    now = most = 0
    version = "1"
    digest: str | None = None
    # Of more passages than that a request is too large, or late; of some it always is.
    too_large = late = 10**6
    never: Container[str] = ()
    # Queries that wait for an answer, until this is set.
    held: Container[str] = ()
    free: threading.Event

    def do_GET(self) -> None:
        limits = {**dict.fromkeys(Limits.__struct_fields__, 10**6), "window_score": "max"}
        told = {"release": "1", "status": "ready", "mode": "student", "modes": ["student"]}
        models = [{"name": "m", "digest": self.digest}] if self.digest else []
        self.answer(200, {**told, "limits": limits, "models": models})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if asked["query"] in self.held:
            self.free.wait(PATIENCE_SECONDS)
        texts = asked["passages"]
        query = asked["query"].encode()
        cls = type(self)
        with self.lock:
            first = query not in self.refused and asked["query"] != PROBE[0]
            self.refused.add(query)
            cls.now += 1
            cls.most = max(cls.most, cls.now)
        time.sleep(0.02)
        with self.lock:
            cls.now -= 1
        if first and self.refusing:
            self.refusals.append(time.monotonic())
            self.refuse(429, "overloaded", len(texts), ("Retry-After", "1"))
        elif len(texts) > self.too_large or any(text in self.never for text in texts):
            self.refuse(413, "too_large", len(texts))
        elif len(texts) > self.late:
            self.refuse(504, "deadline_exceeded", len(texts))
        else:
            self.taken.append(time.monotonic())
            self.score(asked["query"], texts)

    def refuse(self, status: int, kind: str, texts: int, *headers: tuple[str, str]) -> None:
        self.statuses.setdefault(status, []).append(texts)
        error = {"type": kind, "message": kind, "param": None}
        self.answer(status, {"error": error}, *headers)

    def score(self, query: str, texts: list[str]) -> None:
        self.statuses.setdefault(200, []).append(len(texts))
        self.asked.append(query)
        results = [
            {"index": index, "score": len(text) / 1e4, "spread": 0.0}
            for index, text in enumerate(texts)
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

    Own.refused, Own.refusals, Own.taken, Own.statuses, Own.asked = set(), [], [], {}, []
    Own.free = threading.Event()
    serving = ThreadingHTTPServer(("127.0.0.1", 0), Own)
    serving.daemon_threads = True
    thread = threading.Thread(target=serving.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{serving.server_port}", Own
    Own.free.set()
    serving.shutdown()
    thread.join()
    serving.server_close()


@pytest.fixture
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of the client are short."""
    monkeypatch.setattr("retort.client.retry.FIRST_PAUSE_SECONDS", 0.001)


def test_a_busy_server_is_asked_again_when_it_says(
    rows: Rows, tmp_path: Path, busy: tuple[str, type[Busy]]
) -> None:
    url, handler = busy
    source = write(tmp_path / "in.tsv", rows)
    rank(source, tmp_path / "out.tsv", "--url", url, "--concurrency", 3, scoring=())
    found = read(tmp_path / "out.tsv")
    assert [row["score"] for row in found] == [len(row["passage"]) / 1e4 for row in rows]
    # And once to know what model there is.
    assert len(handler.refusals) == len(handler.taken) - 1 == 12
    assert handler.taken[1] >= handler.refusals[0] + 1
    assert 1 < handler.most <= 3


@pytest.mark.parametrize(("limit", "status"), [("too_large", 413), ("late", 504)])
def test_what_is_too_large_or_late_is_asked_in_halves(
    limit: str,
    status: int,
    rows: Rows,
    tmp_path: Path,
    busy: tuple[str, type[Busy]],
    prompt: None,
) -> None:
    url, handler = busy
    handler.refusing = False
    setattr(handler, limit, 5)
    source = write(tmp_path / "in.tsv", rows)
    rank(source, tmp_path / "out.tsv", "--url", url, scoring=())
    found = read(tmp_path / "out.tsv")
    assert [row["score"] for row in found] == [len(row["passage"]) / 1e4 for row in rows]
    assert min(handler.statuses[status]) > 5 >= max(handler.statuses[200])
    assert sum(handler.statuses[200]) == len(rows) + 1


def test_a_pair_that_is_always_late_ends_the_run_and_is_asked_for_again(
    rows: Rows, tmp_path: Path, busy: tuple[str, type[Busy]], prompt: None
) -> None:
    url, handler = busy
    handler.refusing = False
    source = write(tmp_path / "in.tsv", [{**rows[0], "query": "late"}])
    scorer = RemoteScorer(url)
    handler.late = 0
    with closing(scorer), pytest.raises(DeadlinePassed):
        list(scorer.stream([[("who", "paris")]], lambda pairs: pairs))
    assert handler.statuses[504] == [1] * (LATE_ATTEMPTS + 1)
    handler.late = 10**6
    rank(source, tmp_path / "out.tsv", "--url", url, scoring=())


def test_a_passage_that_the_server_never_takes_is_a_bad_row(
    rows: Rows, tmp_path: Path, busy: tuple[str, type[Busy]]
) -> None:
    url, handler = busy
    handler.refusing = False
    own = by_query(rows)[rows[0]["query"]]
    handler.never = {own[2]["passage"]}
    source, out = write(tmp_path / "in.tsv", own), tmp_path / "out.tsv"
    ended = call(source, "--out", out, "--url", url)
    assert ended.exit_code == 1
    assert f"{source}, line 4: too_large" in ended.stderr
    asked = len(handler.asked)
    assert "1 bad row skipped" in rank(source, out, "--url", url, "--skip-bad", scoring=()).stderr
    # But for what model there is, nothing is asked again.
    assert len(handler.asked) == asked + 1
    assert len(read(out)) == len(own) - 1


def test_an_interrupt_ends_a_run_at_once_and_it_goes_on(
    rows: Rows, tmp_path: Path, busy: tuple[str, type[Busy]]
) -> None:
    url, handler = busy
    handler.refusing = False
    queries = list(by_query(rows))
    handler.held = set(queries[-3:])
    source, out = write(tmp_path / "in.tsv", rows), tmp_path / "out.tsv"
    command = [*SMALL_BLOCKS, "rank", str(source), "--out", str(out), "--url", url]
    process = subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts
    )
    stop = time.monotonic() + PATIENCE_SECONDS
    while not (parts := parts_of(out)) or not handler.refused.issuperset(
        query.encode() for query in queries[:-3]
    ):
        assert process.poll() is None
        assert time.monotonic() < stop
        time.sleep(0.01)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_SECONDS)
    # A request may take ten minutes.
    assert time.monotonic() - began < 10
    assert process.returncode == 130
    handler.free.set()
    handler.asked.clear()
    subprocess.run(command, cwd=ROOT, check=True, timeout=PATIENCE_SECONDS)
    assert len(parts) >= 1
    assert queries[0] not in handler.asked
    assert [row["score"] for row in read(out)] == [len(row["passage"]) / 1e4 for row in rows]


def test_scores_of_two_models_are_not_mixed(
    rows: Rows, tmp_path: Path, busy: tuple[str, type[Busy]]
) -> None:
    url, handler = busy
    handler.refusing = False
    scorer = RemoteScorer(url)
    handler.version = "2"
    with closing(scorer), pytest.raises(OtherModel, match="now answers with m 2"):
        list(scorer.stream([[("who", "paris")]], lambda pairs: pairs))


def test_nothing_goes_on_with_another_bundle_of_the_same_version(
    rows: Rows, tmp_path: Path, busy: tuple[str, type[Busy]]
) -> None:
    url, handler = busy
    handler.refusing = False
    handler.digest = "one"
    source, out = write(tmp_path / "in.tsv", rows[:20]), tmp_path / "out.tsv"
    assert call(source, "--out", out, "--url", url, "--shard", "2/2").exit_code == 0
    handler.digest = "two"
    ended = call(source, "--out", out, "--url", url)
    assert ended.exit_code == 1
    assert "another bundle of a server" in ended.stderr
