"""What a step comes to: latency from when a request was due, rates at the edges of a window."""

from __future__ import annotations

from dataclasses import replace

import pytest

from retort.loadtest.step import NO_ANSWER, Answer, Step, Taken

STEP = Step("http://127.0.0.1:1", ("{}",), (10,), seconds=1.0)


def taken(*answers: Answer, loop: str = "open") -> Taken:
    """A step of two seconds."""
    return Taken("closed" if loop == "closed" else "open", 2.0, answers, 0.1)


def test_latency_counts_from_when_a_request_was_due() -> None:
    found = taken(Answer(due=0.5, sent=1.4, done=1.5, status=200, pairs=1))
    assert found.latencies == [1.0]
    assert found.lateness == [pytest.approx(0.9)]


def test_what_was_due_outside_the_window_is_not_counted() -> None:
    before = Answer(due=-0.1, sent=0.1, done=0.2, status=200, pairs=1)
    after = Answer(due=2.0, sent=2.0, done=2.1, status=429, pairs=1)
    inside = Answer(due=1.9, sent=1.9, done=3.0, status=200, pairs=1)
    found = taken(before, inside, after)
    assert found.due == (inside,)
    assert found.statuses == {200: 1}
    assert found.error_share == 0


def test_what_was_never_answered_is_an_error_and_has_no_latency() -> None:
    good = Answer(0.1, 0.1, 0.2, 200, 1)
    found = taken(good, replace(good, status=429), replace(good, done=60.0, status=NO_ANSWER))
    assert found.error_share == pytest.approx(2 / 3)
    assert len(found.latencies) == 1


def test_an_open_rate_counts_what_was_answered_in_the_window() -> None:
    early = Answer(due=-1.0, sent=-1.0, done=0.5, status=200, pairs=4)
    late = Answer(due=1.0, sent=1.0, done=2.5, status=200, pairs=100)
    failed = Answer(due=1.0, sent=1.0, done=1.5, status=503, pairs=100)
    assert taken(early, late, failed).pairs_per_second == 2.0


def test_a_closed_rate_counts_requests_by_their_share_in_the_window() -> None:
    # One user whose requests take 1.6 s: 10 pairs in 1.6 s are 6.25 pairs/s, wherever the window.
    for shift in (0.0, 0.3, 0.9, 1.5):
        times = [(shift - 1.6 * k, shift - 1.6 * (k - 1)) for k in range(-3, 4)]
        answers = [Answer(begin, begin, end, 200, 10) for begin, end in times]
        assert taken(*answers, loop="closed").pairs_per_second == pytest.approx(6.25)


def test_steps_without_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="0 users"):
        replace(STEP, users=0)
    with pytest.raises(ValueError, match="0 requests a second"):
        replace(STEP, rate=0.0)
    with pytest.raises(ValueError, match="1 bodies with 2 counts"):
        replace(STEP, pairs=(1, 2))
