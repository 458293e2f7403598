"""Steps of load: the arithmetic of an outcome, and both generators against a small server.

The server stalls, refuses, hangs up or is not there.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from time import perf_counter
from typing import Any

import pytest

from retort.loadtest.load import (
    NO_ANSWER,
    Answer,
    Generator,
    Outcome,
    Recording,
    Step,
    complete,
    require_answers,
    run_step,
    run_together,
)
from retort.loadtest.rounds import percentile
from tests.loadtest.stalling import Stall, serve

STEP = Step("http://127.0.0.1:1", ("{}",), (10,), seconds=1.0)
BODIES = ('{"query": "good", "passages": ["a", "b"]}', '{"query": "bad", "passages": ["a"]}')
SLOW_S = 0.4  # no request takes as long unless the server stalls


def outcome(*answers: Answer, loop: str = "open") -> Outcome:
    """A step of two seconds."""
    return Outcome("closed" if loop == "closed" else "open", 2.0, answers, 0.1)


def test_latency_counts_from_when_a_request_was_due() -> None:
    found = outcome(Answer(due=0.5, sent=1.4, done=1.5, status=200, pairs=1))
    assert found.latencies == [1.0]
    assert found.lateness == [pytest.approx(0.9)]


def test_what_was_due_outside_the_window_is_not_counted() -> None:
    before = Answer(due=-0.1, sent=0.1, done=0.2, status=200, pairs=1)
    after = Answer(due=2.0, sent=2.0, done=2.1, status=429, pairs=1)
    inside = Answer(due=1.9, sent=1.9, done=3.0, status=200, pairs=1)
    found = outcome(before, inside, after)
    assert found.due == (inside,)
    assert found.statuses == {200: 1}
    assert found.error_share == 0


def test_what_was_never_answered_is_an_error_and_has_no_latency() -> None:
    good = Answer(0.1, 0.1, 0.2, 200, 1)
    found = outcome(good, replace(good, status=429), replace(good, done=60.0, status=NO_ANSWER))
    assert found.error_share == pytest.approx(2 / 3)
    assert len(found.latencies) == 1


def test_an_open_rate_counts_what_was_answered_in_the_window() -> None:
    early = Answer(due=-1.0, sent=-1.0, done=0.5, status=200, pairs=4)
    late = Answer(due=1.0, sent=1.0, done=2.5, status=200, pairs=100)
    failed = Answer(due=1.0, sent=1.0, done=1.5, status=503, pairs=100)
    assert outcome(early, late, failed).pairs_per_second == 2.0


def test_a_closed_rate_counts_requests_by_their_share_in_the_window() -> None:
    # One user whose requests take 1.6 s: 10 pairs in 1.6 s are 6.25 pairs/s, wherever the window.
    for shift in (0.0, 0.3, 0.9, 1.5):
        times = [(shift - 1.6 * k, shift - 1.6 * (k - 1)) for k in range(-3, 4)]
        answers = [Answer(begin, begin, end, 200, 10) for begin, end in times]
        assert outcome(*answers, loop="closed").pairs_per_second == pytest.approx(6.25)


def test_steps_without_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="0 users"):
        replace(STEP, users=0)
    with pytest.raises(ValueError, match="0 requests per second"):
        replace(STEP, rate=0.0)
    with pytest.raises(ValueError, match="1 bodies with 2 numbers"):
        replace(STEP, pairs=(1, 2))


def test_an_answer_is_complete_with_a_result_for_each_pair() -> None:
    content = b'{"outputs": [{"data": [0.1, 0.9]}]}'
    assert complete(content, 2, ("outputs", 0, "data"))
    assert not complete(content, 3, ("outputs", 0, "data"))
    assert not complete(content, 2, ("results",))
    assert not complete(b"no JSON", 2, ("results",))
    assert not complete(None, 0, ("results",))


def test_a_server_that_answers_nothing_is_an_error() -> None:
    good = outcome(Answer(0.1, 0.1, 0.2, 200, 1), loop="closed")
    assert require_answers("it", good) is good
    with pytest.raises(RuntimeError, match=r"it answered no request .* closed load.*\{503: 1\}"):
        require_answers("it", outcome(Answer(0.1, 0.1, 0.2, 503, 1), loop="closed"))


@pytest.fixture(params=["lean", pytest.param("locust", marks=pytest.mark.slow)])
def run(request: pytest.FixtureRequest) -> Callable[..., Outcome]:
    """A step of 1.2 seconds after a third of one, sent by either generator."""
    generator: Generator = request.param

    def run(host: str, **changes: Any) -> Outcome:
        given = {"seconds": 1.2, "warmup_s": 0.3, "timeout_s": 5.0, **changes}
        return run_step(Step(host, BODIES, (2, 1), **given), generator)

    return run


def stall() -> Stall:
    """Quick during the warm-up, then silent for most of the time that is counted."""
    return Stall(after=0.4, seconds=0.9)


def slow(found: Outcome) -> int:
    """How many requests took longer than a quick server ever does."""
    return sum(latency > SLOW_S for latency in found.latencies)


@pytest.mark.parametrize("connections", [1024, 1])
def test_an_open_loop_sees_all_that_was_due_while_the_server_stalled(
    run: Callable[..., Outcome], connections: int
) -> None:
    with serve(stall()) as host:
        found = run(host, loop="open", rate=40.0, arrivals="even", connections=connections)
    # Of those due in the silence, those of its first half second wait longer than `SLOW_S`; the
    # wait for a connection counts too.
    assert len(found.due) == pytest.approx(40 * found.seconds, abs=2)
    assert slow(found) >= 18
    assert percentile(found.latencies, 90) > 0.6
    assert found.error_share == 0


def test_a_closed_loop_leaves_out_what_it_did_not_send(run: Callable[..., Outcome]) -> None:
    # This is coordinated omission, and why no latency is reported from a closed loop.
    with serve(stall()) as host:
        found = run(host, users=1)
    assert max(found.latencies) > 0.6
    assert slow(found) <= 3


def test_poisson_arrivals_come_at_the_rate_asked(run: Callable[..., Outcome]) -> None:
    with serve() as host:
        found = run(host, loop="open", rate=100.0)
    due = sorted(answer.due for answer in found.due)
    gaps = [after - before for before, after in pairwise(due)]
    assert len(due) == pytest.approx(100 * found.seconds, rel=0.4)
    assert max(gaps) > 2.5 * sum(gaps) / len(gaps)


def test_refusals_and_short_answers_are_errors(run: Callable[..., Outcome]) -> None:
    def refuse(query: str) -> int:
        return 200 if query == "good" else 429

    with serve(status=refuse, retry_after=1) as host:
        found = run(host, seconds=0.3, users=2)
    assert set(found.statuses) == {200, 429}
    assert 0 < found.error_share < 1
    assert all(answer.retry_after for answer in found.answers)
    with serve(results=7) as host:
        found = run(host, seconds=0.3, users=2)
    assert set(found.statuses) == {NO_ANSWER}
    assert found.pairs_per_second == 0


def test_nobody_listening_is_an_error_and_no_crash(run: Callable[..., Outcome]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        found = run(f"http://127.0.0.1:{port}", seconds=0.3, users=2)
    assert set(found.statuses) == {NO_ANSWER}
    assert found.error_share == 1


def test_several_processes_share_the_users_and_count_at_the_same_time() -> None:
    with serve() as host:
        step = Step(host, BODIES, (2, 1), 0.5, users=5, warmup_s=0.3, timeout_s=5.0)
        found = run_together(step, 2)
        with pytest.raises(ValueError, match="an open step runs in one process"):
            run_together(replace(step, loop="open"), 2)
    assert found.error_share == 0
    # Five closed users: at any time five requests are in flight, or about to be.
    for moment in (0.1, 0.25, 0.4):
        assert 3 <= sum(answer.sent <= moment < answer.done for answer in found.answers) <= 5


def test_counting_begins_at_the_moment_that_was_set() -> None:
    begin = perf_counter() + 60
    for step, expected in ((replace(STEP, begin=begin), 60.0), (STEP, STEP.seconds)):
        waits = Recording(step).waits()
        assert next(waits) == (None, step.warmup_s)
        condition, _ = next(waits)
        assert condition is not None
        condition, seconds = next(waits)
        assert condition is None
        assert seconds == pytest.approx(expected, abs=1.0 if step.begin else 0.0)


@contextmanager
def raw_server(answer: Callable[[int], bytes]) -> Iterator[tuple[str, list[int]]]:
    """Answers each request with the bytes for its number, empty to hang up; and a connection count.

    The bytes are sent in two pieces, because an answer seldom arrives whole.
    """
    connections: list[int] = []
    listener = socket.create_server(("127.0.0.1", 0))
    requests = iter(range(10**9))

    def serve_one(connection: socket.socket) -> None:
        with connection:
            while connection.recv(65536):
                content = answer(next(requests))
                if not content:
                    return
                connection.sendall(content[:20])
                connection.sendall(content[20:])

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(1)
            threading.Thread(target=serve_one, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", connections
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def response(body: str, *headers: str) -> bytes:
    """An HTTP response with status 200."""
    head = "".join(f"{line}\r\n" for line in headers)
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{head}\r\n{body}".encode()


def test_connections_are_kept() -> None:
    with raw_server(lambda number: response('{"results": [1]}')) as (host, connections):
        found = run_step(replace(STEP, host=host, pairs=(1,), seconds=0.3, users=3))
    assert set(found.statuses) == {200}
    assert len(found.due) > 10
    assert len(connections) == 3


def test_a_lost_connection_is_counted_and_opened_again() -> None:
    content = response('{"results": [1]}')
    with raw_server(lambda number: content if number % 2 else b"") as (host, connections):
        found = run_step(replace(STEP, host=host, pairs=(1,), seconds=0.5, users=1))
    assert set(found.statuses) == {200, NO_ANSWER}
    assert len(connections) >= 2


def test_a_server_that_wants_to_close_gets_a_new_connection_each_time() -> None:
    content = response('{"results": [1]}', "Connection: close")
    with raw_server(lambda number: content) as (host, connections):
        found = run_step(replace(STEP, host=host, pairs=(1,), seconds=0.3, users=1))
    assert set(found.statuses) == {200}
    assert len(connections) >= len(found.answers)


def test_a_load_process_that_fails_is_an_error_with_its_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONHOME", "/no/such/python")
    with pytest.raises(RuntimeError, match=r"(?s)ended with status 1.*Fatal Python error"):
        run_step(STEP)
