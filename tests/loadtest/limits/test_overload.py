"""What is answered in time at twice the capacity, and what the others are told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from retort.loadtest.limits.overload import Overload, measure_overload
from retort.loadtest.step import Answer, Step, Taken, run_step
from tests.loadtest.limits.ground import made_up_ground, sleepy_ground
from tests.loadtest.stalling import serve

GOOD = Answer(due=0.5, sent=0.5, done=0.9, status=200, pairs=10)
REFUSED = Answer(due=0.5, sent=0.5, done=0.5, status=429, pairs=10, retry_after=True)


def opened(*answers: Answer) -> Taken:
    return Taken("open", 1.0, answers, 0.1)


def test_only_what_came_in_time_counts() -> None:
    late = replace(GOOD, due=0.1, done=0.9)
    after = replace(GOOD, due=0.9, done=1.1)
    found = Overload(500, (20.0,), (opened(GOOD, GOOD, late, after, REFUSED),))
    assert found.share.median == pytest.approx(1.0)
    assert found.others == {"429": 1}
    first, second = found.finding().rows
    assert (first.reached, second.reached) == (True, True)
    assert "1 came more than 50 ms after the deadline" in found.finding().notes[0]
    found = Overload(500, (22.0,), (opened(GOOD, GOOD, late),))
    assert found.finding().rows[0].reached is False


def test_the_others_are_told_apart() -> None:
    others = (REFUSED, replace(REFUSED, retry_after=False), replace(REFUSED, status=504),
              replace(REFUSED, status=0))  # fmt: skip
    found = Overload(500, (10.0,), (opened(GOOD, *others),))
    assert found.others == {"429": 1, "429 without Retry-After": 1, "504": 1, "no answer": 1}
    assert found.refused_share == 0.25
    assert found.finding().rows[1].reached is False


def test_the_rate_is_twice_the_capacity_in_turn_with_it(tmp_path: Path) -> None:
    steps: list[Step] = []

    def run(step: Step) -> Taken:
        steps.append(step)
        if step.loop == "closed":
            return Taken("closed", 1.0, (Answer(0.0, 0.0, 0.5, 200, 30),), 0.1)
        return opened(GOOD)

    with made_up_ground(tmp_path) as ground:
        options = replace(ground.options, rounds=2)
        found = measure_overload(replace(ground, options=options, run=run))
    assert [step.loop for step in steps] == ["closed", "open", "closed", "open"]
    # 30 pairs/s are three requests of ten.
    assert [step.rate for step in steps if step.loop == "open"] == [6.0, 6.0]
    assert all('"timeout_ms": 300' in body for body in steps[1].bodies)
    assert found.capacity == (30.0, 30.0)


def test_a_refusal_says_whether_it_told_when_to_come_back() -> None:
    bodies, pairs = ('{"query": "good", "passages": ["a"]}',), (1,)

    def refusals(**given: object) -> set[bool]:
        with serve(status=lambda query: 429, **given) as host:  # type: ignore[arg-type]
            taken = run_step(Step(host, bodies, pairs, seconds=0.3, warmup_s=0.1, users=1))
        assert set(taken.statuses) == {429}
        return {answer.retry_after for answer in taken.answers}

    assert refusals() == {False}
    assert refusals(retry_after=1) == {True}


@pytest.mark.slow
def test_a_real_server_is_pushed_over_its_capacity(tmp_path: Path) -> None:
    with sleepy_ground(tmp_path) as ground:
        found = measure_overload(ground)
    assert found.capacity[0] > 0
    assert 0 <= found.share.median < 1.5
    # Twice as much as it can do: about half must go without scores.
    assert found.others.total() > 0.2 * len(found.taken[0].due)
