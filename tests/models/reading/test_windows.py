from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retort.models.reading.passages import passage_score
from retort.models.reading.windows import (
    Reading,
    estimate_windows,
    kept,
    plan,
    with_limits,
)


def test_the_example() -> None:
    reading = Reading(overlap_tokens=1)
    assert plan(0, 10, (), 5, reading).windows == ((0, 4), (3, 7), (6, 10))


def test_what_fits_is_one_window() -> None:
    assert plan(0, 4, (2,), 4, Reading()).windows == ((0, 4),)


def test_windows_end_and_begin_at_sentences() -> None:
    found = plan(0, 30, (4, 9, 14, 19, 24), 16, Reading(overlap_tokens=5))
    assert found.windows == ((0, 9), (4, 14), (9, 19), (14, 24), (19, 30))
    assert found.whole


@given(
    count=st.integers(1, 2_000),
    room=st.integers(1, 200),
    overlap=st.integers(0, 300),
    most=st.integers(1, 40),
    ends=st.lists(st.integers(1, 2_000), max_size=60),
)
def test_windows_fit_advance_and_cover(
    count: int, room: int, overlap: int, most: int, ends: list[int]
) -> None:
    reading = Reading(max_windows=most, overlap_tokens=overlap)
    found = plan(0, count, sorted({end for end in ends if end <= count}), room, reading)
    windows = found.windows
    assert len(windows) <= most
    assert all(0 <= first < last <= count and last - first <= room for first, last in windows)
    assert all(a < c and b < d for (a, b), (c, d) in pairwise(windows))
    covered = {token for first, last in windows for token in range(first, last)}
    assert found.whole == (len(covered) == count)
    if most > 1:
        assert windows[0][0] == 0
        assert windows[-1][1] == count


@given(count=st.integers(130, 3_000), overlap=st.integers(0, 60))
def test_neighbours_share_what_they_should(count: int, overlap: int) -> None:
    windows = plan(0, count, (), 120, Reading(max_windows=1_000, overlap_tokens=overlap)).windows
    assert all(b - c >= min(overlap, 45) for (_, b), (c, _) in pairwise(windows))


def test_too_many_windows_are_spread_over_the_passage() -> None:
    found = plan(0, 1_000, (), 13, Reading(max_windows=5, overlap_tokens=0))
    assert [first for first, _ in found.windows] == [0, 250, 500, 740, 990]
    assert not found.whole


@pytest.mark.parametrize(("side", "window"), [("right", (0, 40)), ("left", (60, 100))])
def test_max_tokens_leave_out_one_side(side: str, window: tuple[int, int]) -> None:
    reading = with_limits(Reading(), max_tokens=40, side=side)  # type: ignore[arg-type]
    assert kept(100, reading) == window
    assert kept(30, reading) == (0, 30)


def test_first_reads_one_window() -> None:
    found = plan(0, 100, (5,), 10, Reading(score="first"))
    assert (found.windows, found.whole) == (((0, 10),), False)


def test_a_request_cannot_have_more_windows_read() -> None:
    assert with_limits(Reading(max_windows=8), max_windows=50).max_windows == 8
    assert with_limits(Reading(max_windows=8), max_windows=3).max_windows == 3
    reading = Reading()
    assert with_limits(reading) is reading


def test_a_passage_has_its_best_windows_score_or_the_mean_of_its_best() -> None:
    scores = np.array([0.1, 0.8, 0.6, 0.4])
    assert passage_score(scores, Reading()) == (0.8, 1)
    mean, best = passage_score(scores, Reading(score="mean_top_k", top_k=3))
    assert mean == pytest.approx(0.6)
    assert best == 1
    assert passage_score(scores[:1], Reading(score="mean_top_k"))[0] == pytest.approx(0.1)


@given(count=st.integers(1, 4_000), room=st.integers(20, 500))
def test_an_estimate_is_near_the_plan(count: int, room: int) -> None:
    reading = Reading()
    windows = plan(0, count, (), room, reading).windows
    estimated, tokens = estimate_windows(count, room, reading)
    assert abs(estimated - len(windows)) <= 1 + 0.35 * len(windows)
    assert tokens >= min(count, reading.max_windows * room) * 0.5


def test_a_reading_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="max_windows is 0"):
        Reading(max_windows=0)
    with pytest.raises(ValueError, match="top_k is 0"):
        Reading(top_k=0)
    with pytest.raises(ValueError, match="overlap_tokens is -1"):
        Reading(overlap_tokens=-1)
