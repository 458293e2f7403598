"""The outcome: who won, by how much, and what is refused."""

from __future__ import annotations

import json

import pytest

from retort.loadtest.tune.candidate import DEFAULTS
from retort.loadtest.tune.outcome import Standings, TargetMissed, require_met
from retort.loadtest.tune.search import Rung, Search
from tests.loadtest.tune.findings import TUNED, outcome, probe


def test_the_gain_is_over_the_defaults() -> None:
    found = outcome(30.0, 20.0)
    assert found.winner.candidate == TUNED
    assert found.gain == 1.5
    assert outcome(30.0, None).gain is None
    assert outcome(10.0, 20.0).winner.candidate == DEFAULTS


def test_of_equals_the_defaults_win() -> None:
    def standings(tuned: float, defaults: float) -> Standings:
        searches = {
            TUNED: Search(1.0, 100.0, met=probe(tuned)),
            DEFAULTS: Search(1.0, 100.0, met=probe(defaults)),
        }
        return Standings.of(Rung(2.0, searches))

    assert standings(20.0, 20.0).places[0].candidate == DEFAULTS
    assert standings(20.1, 20.0).places[0].candidate == TUNED


def test_a_missed_target_is_told_with_what_came_nearest() -> None:
    missed = outcome(None, None).rungs
    with pytest.raises(TargetMissed, match=r"within 100 ms: the nearest was 130\.0 ms at 2\.00"):
        require_met(missed, [probe(9.0, None), probe(2.0, 130.0), probe(3.0, 400.0)], 100.0)
    with pytest.raises(TargetMissed, match="more than one request of a hundred"):
        require_met(missed, [probe(9.0, None)], 100.0)
    require_met(outcome(30.0, None).rungs, [], 100.0)


def test_it_is_plain_values() -> None:
    found = json.loads(json.dumps(outcome().to_json()))
    assert found["gain"] == 1.5
    assert found["rungs"][0]["places"][0]["met"]["rate"] == 30.0
