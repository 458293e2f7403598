"""The findings: ratios over rounds, the load that was held, the best of infinity's engines."""

from __future__ import annotations

import json

import pytest

from retort.loadtest.figures import Latency
from retort.loadtest.peers.findings import Point, failed_of
from retort.loadtest.step import Answer, Taken
from tests.loadtest.peers.found import FINDINGS, point


def test_a_peer_is_compared_round_by_round() -> None:
    bout = FINDINGS.bouts[0]
    times = bout.times("infinity")
    assert times is not None
    assert times.value == pytest.approx(4.0)
    assert bout.times("litserve") is None
    assert bout.of_bare is not None
    assert bout.of_bare.value == pytest.approx(0.8)


def test_infinitys_best_engine_is_the_fastest_that_was_measured() -> None:
    best = FINDINGS.bouts[0].best_infinity
    assert best is not None
    assert best.name == "infinity-bf16"


def test_a_load_is_held_up_to_the_first_that_is_not() -> None:
    ours = FINDINGS.bouts[0].measured[0]
    held = ours.highest_within(100.0)
    assert held is not None
    assert held.offered == 200.0
    assert ours.highest_within(1.0) is None


def test_failures_end_a_load_too() -> None:
    assert point(1.0, 10.0).holds(10.0)
    assert not point(1.0, 10.0).holds(9.9)
    assert not point(1.0, 10.0, errors=0.02).holds(10.0)


def test_a_point_sums_up_a_step() -> None:
    answers = (Answer(0.5, 0.6, 1.5, 200, 10), Answer(0.7, 0.7, 0.9, 503, 10))
    taken = Taken("open", 2.0, answers, 0.1)
    found = Point.of(20.0, taken)
    assert (found.requests, found.error_share, found.answered) == (2, 0.5, 5.0)
    assert found.latency == Latency(1000.0, 1000.0, 1000.0, 1)
    assert failed_of([taken, taken]) == 2
    with pytest.raises(RuntimeError, match="no request was due"):
        Point.of(20.0, Taken("open", 2.0, (), 0.1))


def test_everything_is_plain_values() -> None:
    again = json.loads(json.dumps(FINDINGS.to_json()))
    assert again["standings"][2]["problem"].startswith("the server ended")
