from __future__ import annotations

import pytest

from retort.service.engine.pace import Pace


def make_pace(streams: int = 1) -> Pace:
    return Pace(0.002, 1e-5, batch_tokens=1_000, streams=streams)


def test_a_pass_costs_its_overhead_and_its_tokens() -> None:
    pace = make_pace()
    assert pace.expected(100) == pytest.approx(0.003)
    assert pace.backlog(0) == 0
    assert pace.backlog(1_000) == pytest.approx(0.012)
    assert pace.backlog(1_001) == pytest.approx(2 * 0.002 + 1_001e-5)
    assert pace.token_seconds == pytest.approx(1.2e-5)


def test_streams_share_what_waits_but_not_one_batch() -> None:
    pace = make_pace(streams=2)
    assert pace.backlog(800) == pytest.approx(0.010)
    assert pace.backlog(2_000) == pytest.approx(0.012)
    assert pace.token_seconds == pytest.approx(0.6e-5)


def test_it_follows_the_machine() -> None:
    pace = make_pace()
    for _ in range(200):
        pace.observed(1_000, 3 * 0.012)
    assert pace.slowdown == pytest.approx(3, rel=0.05)
    assert pace.expected(100) == pytest.approx(0.009, rel=0.05)
    for _ in range(600):
        pace.observed(1_000, 0.012)
    assert pace.slowdown == pytest.approx(1, rel=0.1)


def test_tiny_passes_weigh_as_much_as_they_take() -> None:
    pace = make_pace()
    # Each tiny pass takes twice as long as it should: 2 ms of noise, not a slow machine.
    for _ in range(50):
        pace.observed(16, 0.0043)
    for _ in range(50):
        pace.observed(1_000, 0.012)
    assert pace.slowdown < 1.2
