"""What repeated measurements come to."""

from __future__ import annotations

import pytest

from retort.loadtest.figures import Latency, Spread, percentile, ratios


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
