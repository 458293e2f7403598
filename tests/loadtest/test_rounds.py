"""What repeated measurements add up to, and the order in which they are made."""

from __future__ import annotations

import pytest

from retort.loadtest.load import Answer, Outcome
from retort.loadtest.rounds import (
    Latency,
    OpenLoad,
    Spread,
    percentile,
    ratio_of_means,
    ratios,
    take_turns,
)


def test_spread_is_median_low_and_high() -> None:
    assert Spread.over([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0, 3)


def test_spread_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no round was measured"):
        Spread.over([])


def test_ratios_are_taken_within_a_round() -> None:
    # The machine was half as fast in the second round; the ratio does not see it.
    assert ratios([90.0, 45.0], [100.0, 50.0]) == Spread(0.9, 0.9, 0.9, 2)


def test_ratios_need_as_many_rounds_of_both() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratios([1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("share", "expected"), [(1, 1.0), (50, 50.0), (95, 95.0), (99, 99.0), (100, 100.0)]
)
def test_percentile_is_a_measured_value(share: float, expected: float) -> None:
    assert percentile([float(n) for n in range(100, 0, -1)], share) == expected


def test_percentile_of_one_value_is_that_value() -> None:
    assert percentile([7.0], 50) == percentile([7.0], 99) == 7.0


@pytest.mark.parametrize(("values", "share"), [([], 50.0), ([1.0], 0.0), ([1.0], 101.0)])
def test_percentile_refuses_nonsense(values: list[float], share: float) -> None:
    with pytest.raises(ValueError, match="percentile"):
        percentile(values, share)


def test_latency_is_in_milliseconds() -> None:
    assert Latency.of([0.001, 0.002, 0.003, 0.004]) == Latency(2.0, 4.0, 4.0, 4)


def test_every_other_round_runs_backwards() -> None:
    order: list[str] = []
    log: list[str] = []

    def turn(name: str) -> int:
        order.append(name)
        return len(order)

    results = take_turns(
        {"a": lambda: turn("a"), "b": lambda: turn("b"), "c": lambda: turn("c")}, 3, log.append
    )
    assert order == ["a", "b", "c", "c", "b", "a", "a", "b", "c"]
    assert results == {"a": [1, 6, 7], "b": [2, 5, 8], "c": [3, 4, 9]}
    assert log[3] == "round 2 of 3: c"


def test_a_mean_has_the_same_range_as_a_median() -> None:
    assert Spread.mean([3.0, 1.0, 8.0]) == Spread(4.0, 1.0, 8.0, 3)


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


@pytest.mark.parametrize(("above", "below"), [([1.0, 2.0], [1.0]), ([], [])])
def test_rounds_that_do_not_match_are_refused(above: list[float], below: list[float]) -> None:
    with pytest.raises(ValueError, match=f"{len(above)} rounds over {len(below)}"):
        ratio_of_means(above, below)


def opened(good: int, bad: int) -> Outcome:
    """Two open seconds with answers of three pairs after 1, 2, 3 … ms, and refusals."""
    answers = [Answer(0.0, 5e-4, 1e-3 * (number + 1), 200, 3) for number in range(good)]
    answers += [Answer(0.0, 0.0, 0.0, 429, 3)] * bad
    return Outcome("open", 2.0, tuple(answers), 0.1)


def test_an_open_load_sums_up_a_step() -> None:
    found = OpenLoad.of(7.0, opened(good=100, bad=0))
    assert (found.offered, found.requests, found.answered) == (7.0, 100, 150)
    assert (found.p50_ms, found.p95_ms, found.p99_ms) == pytest.approx((50, 95, 99))
    assert (found.error_share, found.late_ms) == pytest.approx((0.0, 0.5))
    assert found.cells == pytest.approx((150, 50, 95, 99, 0.0, 100))
    with pytest.raises(RuntimeError, match="no request was due in 2 s"):
        OpenLoad.of(7.0, opened(good=0, bad=0))


def test_a_request_without_an_answer_is_later_than_any_other() -> None:
    assert OpenLoad.of(7.0, opened(good=99, bad=1)).p99_ms == pytest.approx(99)
    found = OpenLoad.of(7.0, opened(good=98, bad=2))
    assert found.p50_ms == pytest.approx(50)
    assert found.p99_ms is None
    assert found.cells[-3:] == ("none", 0.02, 100)


@pytest.mark.parametrize(("p99_ms", "meets"), [(100.0, True), (100.1, False), (None, False)])
def test_a_target_is_met_by_the_p99(p99_ms: float | None, meets: bool) -> None:
    assert OpenLoad(1.0, 10.0, 1.0, 2.0, p99_ms, 0.0, 100, 1.0).meets(100.0) is meets
