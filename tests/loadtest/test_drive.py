"""Steps as real Locust processes against a server that stalls, refuses or is not there."""

from __future__ import annotations

import socket

import pytest

from retort.loadtest.figures import percentile
from retort.loadtest.step import NO_ANSWER, Step, Taken, run_step
from tests.loadtest.stalling import Stall, serve

BODIES = ('{"query": "good", "passages": ["a", "b"]}', '{"query": "bad", "passages": ["a"]}')
PAIRS = (2, 1)
SLOW_S = 0.4  # no request takes as long unless the server stalls


def step(host: str, **changes: object) -> Step:
    """A step of 1.2 seconds after a third of one."""
    given: dict[str, object] = {"seconds": 1.2, "warmup_s": 0.3, "timeout_s": 5.0}
    return Step(host, BODIES, PAIRS, **(given | changes))  # type: ignore[arg-type]


def stall() -> Stall:
    """Quick during the warm-up, then silent for most of the time that is counted."""
    return Stall(after=0.4, seconds=0.9)


def slow(taken: Taken) -> int:
    """How many requests took longer than a quick server ever does."""
    return sum(latency > SLOW_S for latency in taken.latencies)


def test_an_open_loop_sees_all_that_was_due_while_the_server_stalled() -> None:
    with serve(stall()) as host:
        taken = run_step(step(host, loop="open", rate=40.0, arrivals="even"))
    # Of what was due in the silence, those of its first half second wait longer than `SLOW_S`.
    assert len(taken.due) == pytest.approx(40 * taken.seconds, abs=2)
    assert slow(taken) >= 18
    assert percentile(taken.latencies, 90) > 0.6
    assert taken.error_share == 0


def test_the_wait_for_a_connection_counts_too() -> None:
    with serve(stall()) as host:
        taken = run_step(step(host, loop="open", rate=40.0, arrivals="even", connections=1))
    assert slow(taken) >= 18
    assert percentile(taken.latencies, 90) > 0.6


def test_a_closed_loop_leaves_out_what_it_did_not_send() -> None:
    # This is coordinated omission, and why no latency is reported from a closed loop.
    with serve(stall()) as host:
        taken = run_step(step(host, users=1))
    assert max(taken.latencies) > 0.6
    assert slow(taken) <= 3


def test_poisson_arrivals_come_at_the_rate_asked() -> None:
    with serve() as host:
        taken = run_step(step(host, loop="open", rate=100.0))
    gaps = [b.due - a.due for a, b in zip(taken.due, taken.due[1:], strict=False)]
    assert len(taken.due) == pytest.approx(100 * taken.seconds, rel=0.4)
    assert max(gaps) > 2.5 * sum(gaps) / len(gaps)


def test_refusals_and_short_answers_are_errors() -> None:
    def refuse(query: str) -> int:
        return 200 if query == "good" else 429

    with serve(status=refuse) as host:
        taken = run_step(step(host, seconds=0.3, users=2))
    assert set(taken.statuses) == {200, 429}
    assert 0 < taken.error_share < 1
    with serve(results=7) as host:
        taken = run_step(step(host, seconds=0.3, users=2))
    assert set(taken.statuses) == {NO_ANSWER}
    assert taken.pairs_per_second == 0


def test_nobody_listening_is_an_error_and_no_crash() -> None:
    with socket.socket() as taken_port:
        taken_port.bind(("127.0.0.1", 0))
        port = taken_port.getsockname()[1]
        taken = run_step(step(f"http://127.0.0.1:{port}", seconds=0.3, users=2))
    assert set(taken.statuses) == {NO_ANSWER}
    assert taken.error_share == 1


def test_a_load_process_that_fails_is_an_error_with_its_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONHOME", "/no/such/python")
    with pytest.raises(RuntimeError, match=r"(?s)ended with status 1.*Fatal Python error"):
        run_step(step("http://127.0.0.1:1"))
