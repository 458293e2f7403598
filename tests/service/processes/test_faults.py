"""Faults in the real processes: an engine that is killed, stops, hangs, raises, or scores wrongly.

`retort chaos` does the same for longer, and measures.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from retort.models.bundle import Bundle
from tests.service.running import PATIENCE_SECONDS, ServerProcess, ended, server
from tests.tiny_texts import PASSAGES, QUERIES

pytestmark = pytest.mark.slow

MODULE = "tests.service.processes.faults"
BODY = {"query": QUERIES[0], "passages": list(PASSAGES), "timeout_ms": 30_000}


class Asking:
    """A client that asks all the time, in a thread, and keeps what it got."""

    def __init__(self, url: str) -> None:
        self.statuses: list[int] = []
        self.rankings: set[tuple[int, ...]] = set()
        self._url = url
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Asking:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        with httpx.Client(base_url=self._url, timeout=PATIENCE_SECONDS) as client:
            while not self._over.is_set():
                try:
                    reply = client.post("/score", json=BODY)
                except httpx.TransportError:
                    self.statuses.append(0)
                    continue
                self.statuses.append(reply.status_code)
                if reply.status_code == 200:
                    self.rankings.add(ranking(reply))


def ranking(reply: httpx.Response) -> tuple[int, ...]:
    return tuple(result["index"] for result in reply.json()["results"])


def until(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> float:
    """Wait for it; how long that took."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() < start + seconds
        time.sleep(0.02)
    return time.monotonic() - start


def engines(running: ServerProcess) -> list[psutil.Process]:
    return children(running, "engine")


def children(running: ServerProcess, word: str) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(running.process.pid).children():
        try:
            command = " ".join(child.cmdline())
        except psutil.Error:
            continue
        if f".{word}" in command or command.endswith(f" {word}"):
            found.append(child)
    return found


def ready(running: ServerProcess) -> bool:
    return httpx.get(f"{running.url}/readyz", timeout=10).status_code == 200


@pytest.fixture
def fault(tmp_path: Path) -> Path:
    return tmp_path / "fault"


@contextmanager
def faulty(bundle: Bundle, fault: Path, *flags: str) -> Iterator[ServerProcess]:
    options = ("--bundle", str(bundle.folder), "--threads", "1", "--backend", "onnxruntime")
    with server(*options, *flags, module=MODULE, FAULT_FILE=str(fault)) as running:
        yield running


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_an_engine_that_is_lost_loses_no_request(
    tiny_bundle: Bundle, fault: Path, number: signal.Signals
) -> None:
    with faulty(tiny_bundle, fault) as running, Asking(running.url) as asking:
        for _ in range(2):
            (engine,) = engines(running)
            os.kill(engine.pid, number)
            gone = until(lambda engine=engine: not engine.is_running())  # type: ignore[misc]
            assert gone < 10
            until(lambda: ready(running))
            before = len(asking.statuses)
            until(lambda before=before: len(asking.statuses) > before + 5)  # type: ignore[misc]
        text = httpx.get(f"{running.url}/metrics").text
        reason = "died" if number == signal.SIGKILL else "silent"
        assert f'retort_restarts_total{{kind="engine",reason="{reason}"}} 2.0' in text
    assert set(asking.statuses) <= {200, 503}
    assert len(asking.rankings) == 1


@pytest.mark.parametrize("word", ["hang", "exit"])
def test_a_pass_that_never_ends_or_ends_the_engine_costs_no_other_request(
    tiny_bundle: Bundle, fault: Path, word: str
) -> None:
    with faulty(tiny_bundle, fault, "--hang-seconds", "0.5") as running:
        with Asking(running.url) as asking:
            (engine,) = engines(running)
            fault.write_text(word)
            until(lambda: not engine.is_running())
            until(lambda: ready(running))
        assert set(asking.statuses) <= {200, 503}
        assert len(asking.rankings) == 1
        # What was in flight was tried once more.
        assert 200 in asking.statuses


def test_a_request_that_ends_every_engine_is_told_so(tiny_bundle: Bundle, fault: Path) -> None:
    with faulty(tiny_bundle, fault) as running:
        stop = threading.Event()

        def again() -> None:
            # As soon as one engine has read the file, there is another for the next.
            while not stop.wait(0.01):
                if not fault.exists():
                    fault.write_text("exit")

        thread = threading.Thread(target=again)
        thread.start()
        try:
            reply = httpx.post(f"{running.url}/score", json=BODY, timeout=60)
        finally:
            stop.set()
            thread.join()
        assert reply.status_code == 503
        assert reply.json()["error"]["type"] == "not_ready"
        assert "retry-after" in reply.headers
        fault.unlink(missing_ok=True)
        until(lambda: ready(running))
        assert httpx.post(f"{running.url}/score", json=BODY, timeout=60).status_code == 200


@pytest.mark.parametrize("word", ["raise", "nan"])
def test_while_every_pass_fails_it_is_not_ready_and_then_it_is(
    tiny_bundle: Bundle, fault: Path, word: str
) -> None:
    with faulty(tiny_bundle, fault) as running:
        (engine,) = engines(running)
        fault.write_text(word)
        reply = httpx.post(f"{running.url}/score", json=BODY, timeout=60)
        assert reply.status_code == 500
        assert "secret" not in reply.text
        assert until(lambda: not ready(running)) < 1.0
        assert httpx.get(f"{running.url}/livez").status_code == 200
        fault.unlink()
        assert until(lambda: ready(running)) < 5.0
        assert engines(running)[0].pid == engine.pid
        assert httpx.post(f"{running.url}/score", json=BODY, timeout=60).status_code == 200


def test_an_engine_that_scores_wrongly_is_replaced(tiny_bundle: Bundle, fault: Path) -> None:
    with faulty(tiny_bundle, fault, "--recheck-seconds", "0.3") as running:
        right = [
            r["index"] for r in httpx.post(f"{running.url}/score", json=BODY).json()["results"]
        ]
        (engine,) = engines(running)
        fault.write_text("wrong")
        until(lambda: not engine.is_running())
        until(lambda: ready(running))
        reply = httpx.post(f"{running.url}/score", json=BODY).json()["results"]
        assert [result["index"] for result in reply] == right
        text = httpx.get(f"{running.url}/metrics").text
        # More than once, if the second was caught by the fault before it was over.
        assert re.search(r'retort_restarts_total{kind="engine",reason="wrong"} [1-9]', text)


def test_a_slow_engine_is_left_alone(tiny_bundle: Bundle, fault: Path) -> None:
    with faulty(tiny_bundle, fault, "--hang-seconds", "1") as running:
        (engine,) = engines(running)
        fault.write_text("slow")
        for _ in range(5):
            assert httpx.post(f"{running.url}/score", json=BODY, timeout=60).status_code == 200
        assert ready(running)
        assert engines(running)[0].pid == engine.pid


def test_a_full_queue_refuses_at_once_and_then_accepts_again(
    tiny_bundle: Bundle, fault: Path
) -> None:
    with faulty(tiny_bundle, fault, "--queue-tokens", "200") as running:

        def ask(_: int) -> httpx.Response:
            return httpx.post(f"{running.url}/score", json=BODY, timeout=60)

        alone = ranking(ask(0))
        fault.write_text("slow")
        with ThreadPoolExecutor(24) as pool:
            replies = list(pool.map(ask, range(24)))
        fault.unlink()
        refused = [reply for reply in replies if reply.status_code == 429]
        answered = [reply for reply in replies if reply.status_code == 200]
        assert refused
        assert answered
        assert len(refused) + len(answered) == 24
        assert all(reply.json()["error"]["type"] == "overloaded" for reply in refused)
        assert all(int(reply.headers["retry-after"]) >= 1 for reply in refused)
        assert all(ranking(reply) == alone for reply in answered)
        assert ask(0).status_code == 200


def test_sigterm_ends_a_server_whose_engines_hang(tiny_bundle: Bundle, fault: Path) -> None:
    with faulty(tiny_bundle, fault, "--drain-seconds", "2", "--hang-seconds", "60") as running:
        fault.write_text("hang")
        asking = threading.Thread(
            target=lambda: httpx.post(f"{running.url}/score", json=BODY, timeout=60)
        )
        asking.daemon = True
        asking.start()
        until(lambda: not fault.exists())
        start = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - start < 10


def test_a_standby_takes_over_at_once(tiny_bundle: Bundle, fault: Path) -> None:
    with faulty(tiny_bundle, fault, "--standby", "true") as running:
        until(lambda: len(engines(running)) == 2)
        time.sleep(3)  # until it is loaded
        first = min(engines(running), key=lambda engine: engine.create_time())
        os.kill(first.pid, signal.SIGKILL)
        start = time.monotonic()
        assert httpx.post(f"{running.url}/score", json=BODY, timeout=60).status_code == 200
        assert time.monotonic() - start < 1.0
        until(lambda: len(engines(running)) == 2)


def test_a_front_end_that_dies_is_replaced(tiny_bundle: Bundle, fault: Path) -> None:
    with faulty(tiny_bundle, fault, "--workers", "2") as running:
        fronts = children(running, "front_end")
        assert len(fronts) == 2
        os.kill(fronts[0].pid, signal.SIGKILL)
        until(lambda: len(children(running, "front_end")) == 2 and not fronts[0].is_running())
        for _ in range(20):
            reply = httpx.post(f"{running.url}/score", json=BODY, timeout=60)
            assert reply.status_code == 200
        text = httpx.get(f"{running.url}/metrics").text
        assert 'retort_restarts_total{kind="front_end",reason="died"} 1.0' in text
        # Whichever of them is asked, it knows the counts of all.
        assert 'retort_requests_total{route="/score",status="200"} 20.0' in text


def test_a_front_end_that_is_slow_to_start_is_left_alone(tiny_bundle: Bundle) -> None:
    # As on a container's share of a core, where importing takes longer than a front end that
    # serves may be silent.
    running = ServerProcess("--port", "0", "--bundle", str(tiny_bundle.folder), "--threads", "1")
    with ended(running):
        until(lambda: bool(children(running, "front_end")))
        (front,) = children(running, "front_end")
        front.suspend()
        time.sleep(5)
        front.resume()
        running.wait_until_ready()
        assert [child.pid for child in children(running, "front_end")] == [front.pid]
        text = httpx.get(f"{running.url}/metrics").text
        assert 'retort_restarts_total{kind="front_end",reason="silent"} 0.0' in text


def test_when_the_supervisor_is_killed_nobody_is_left(tiny_bundle: Bundle, fault: Path) -> None:
    with faulty(tiny_bundle, fault) as running:
        left = psutil.Process(running.process.pid).children(recursive=True)
        assert len(left) == 2
        running.process.kill()
        until(lambda: not any(process.is_running() for process in left), 10)


def test_a_disk_that_is_full_costs_no_answer(tiny_bundle: Bundle) -> None:
    folder = str(tiny_bundle.folder)
    flags = ("--bundle", folder, "--teacher", folder, "--shadow", "1", "--threads", "1")
    with server(*flags, "--disagreements", "/dev/full") as running:
        for _ in range(5):
            assert httpx.post(f"{running.url}/score", json=BODY, timeout=60).status_code == 200
        assert ready(running)
