"""The plan: how long a run takes is known beforehand."""

from __future__ import annotations

import pytest

from retort.loadtest.tune.lane import WARMUP_S
from retort.loadtest.tune.plan import LOAD_S, LOCUST_S, QUICK, REPEATED, Plan


def test_the_time_it_takes_is_known_beforehand() -> None:
    plan = Plan(rounds=1, turn_s=1.0, finalists=2, probes=1, probe_s=3.0, warmup_s=1.0)
    screening = LOAD_S + 2 * (1.0 + WARMUP_S)
    # Two servers and the defaults for three seconds each, then one and the defaults for six.
    rungs = 3 * (3.0 + 1.0 + LOCUST_S) + 2 * (6.0 + 1.0 + LOCUST_S)
    expected = screening + 3 * LOAD_S + REPEATED * rungs
    assert plan.about_s(engines=1, variants=0) == pytest.approx(expected)


def test_the_usual_run_takes_a_quarter_of_an_hour_and_the_quick_one_minutes() -> None:
    assert 10 < Plan().about_s(engines=7, variants=9) / 60 < 20
    assert QUICK.about_s(engines=7, variants=6) < 300
