"""The arithmetic of the comparison: speedups, the price of shadowing, load points."""

from __future__ import annotations

import json

import pytest

from retort.loadtest.comparison import Comparison, LoadPoint, Role, Setup, Target
from retort.loadtest.figures import Interval, ratio_of_means
from retort.loadtest.step import Answer, Taken

SETUP = Setup(
    created="2026-01-01",
    command="retort loadtest",
    machine="one core",
    load="10 questions",
    users=2,
    passages=10,
    rounds=2,
    seconds=1.0,
    load_seconds=1.0,
)


def target(role: Role, shape_only: bool = False) -> Target:
    """A server that nobody asks."""
    return Target(role, f"the {role}", "http://127.0.0.1:1", "an engine", shape_only)


def taken(pairs: int, status: int = 200, failed: int = 0) -> Taken:
    """A closed second in which so many pairs were answered, and so many requests were not."""
    answers = [Answer(0.0, 0.0, 1.0, status, pairs), *[Answer(0.5, 0.5, 0.6, 429, 1)] * failed]
    return Taken("closed", 1.0, tuple(answers), 0.25)


def compared(**rates: tuple[int, ...]) -> Comparison:
    """A comparison of servers by their pairs a second in each round."""
    roles: dict[str, Role] = {
        "student": "student", "shadow": "shadow", "teacher": "teacher", "large": "bert-large",
    }  # fmt: skip
    count = len(rates["student"])
    rounds = [
        {roles[name]: taken(values[i]) for name, values in rates.items()} for i in range(count)
    ]
    return Comparison.of(SETUP, [target(roles[name]) for name in rates], rounds)


def test_a_speedup_is_the_students_rate_over_the_teachers() -> None:
    found = compared(student=(800, 400), teacher=(100, 50), large=(10, 5))
    assert [speedup.teacher.role for speedup in found.speedups] == ["teacher", "bert-large"]
    # The machine ran at half its speed in the second round, for all alike.
    assert found.speedups[0].times == Interval(8.0, 8.0, 8.0, 2)
    assert found.speedups[0].wanted == 8
    assert found.speedups[1].times.value == 80
    assert found.shadow_loss is None


def test_what_shadowing_costs_is_a_share_of_the_students_rate() -> None:
    found = compared(student=(100, 100, 100), shadow=(98, 97, 99))
    assert found.shadow_loss is not None
    assert found.shadow_loss.value == pytest.approx(0.02)
    assert found.shadow_loss.low == pytest.approx(0.01)
    assert found.shadow_loss.high == pytest.approx(0.03)


def test_failures_are_counted_over_all_rounds() -> None:
    rounds: list[dict[Role, Taken]] = [{"student": taken(10)}, {"student": taken(10, failed=2)}]
    (figures,) = Comparison.of(SETUP, [target("student")], rounds).figures
    assert figures.error_share == 0.5
    assert figures.generator_cpu == 0.25


def test_a_server_that_answers_nothing_is_an_error() -> None:
    with pytest.raises(RuntimeError, match=r"the student answered no request.*\{503: 1\}"):
        Comparison.of(SETUP, [target("student")], [{"student": taken(10, status=503)}])


def test_a_load_point_sums_up_an_open_step() -> None:
    answers = [
        Answer(i / 100, i / 100 + 0.002, i / 100 + 0.01 * (i + 1), 200, 2) for i in range(99)
    ]
    step = Taken("open", 1.0, (*answers, Answer(0.99, 0.99, 1.5, 504, 2)), 0.1)
    point = LoadPoint.of("student", 100.0, step)
    assert (point.requests, point.error_share) == (100, 0.01)
    assert point.p50_ms == pytest.approx(500)
    assert point.p99_ms == pytest.approx(990)
    assert point.sent_late_ms == pytest.approx(2)


def test_a_point_without_answers_has_no_latency() -> None:
    step = Taken("open", 1.0, (Answer(0.1, 0.1, 0.2, 429, 1),), 0.1)
    point = LoadPoint.of("student", 1.0, step)
    assert (point.p50_ms, point.error_share) == (None, 1.0)
    with pytest.raises(RuntimeError, match=r"no request was due in 1 s at 0\.1"):
        LoadPoint.of("student", 0.1, Taken("open", 1.0, (), 0.1))


def test_json_holds_everything() -> None:
    found = json.loads(json.dumps(compared(student=(8, 8), teacher=(2, 4)).to_json()))
    assert found["setup"]["users"] == 2
    assert found["speedups"][0]["times"]["rounds"] == 2
    assert found["figures"][1]["rates"] == [2, 4]


def test_an_interval_holds_the_rounds_together() -> None:
    drifting = ratio_of_means([100, 50, 25], [10, 5, 2.5])
    assert drifting.low == pytest.approx(10)
    assert drifting.high == pytest.approx(10)
    noisy = ratio_of_means([100, 100, 100, 100], [8, 12, 9, 11])
    assert noisy.value == 10
    assert 8 < noisy.low < 10 < noisy.high < 13
    assert ratio_of_means([100, 100], [8, 12], seed=1) == ratio_of_means(
        [100, 100], [8, 12], seed=1
    )


def test_rounds_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="2 rounds over 1"):
        ratio_of_means([1, 2], [1])
    with pytest.raises(ValueError, match="0 rounds over 0"):
        ratio_of_means([], [])
