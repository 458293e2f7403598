"""Small requests beside large ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from retort.loadtest.limits.neighbour import LargeRequests, Neighbour, measure_neighbour
from tests.loadtest.limits.ground import sleepy_ground
from tests.loadtest.stalling import serve


def test_the_ratio_is_of_all_rounds_and_its_range_of_each() -> None:
    found = Neighbour(
        1000, 5.0, quiet=((0.01,) * 5, (0.02,) * 5), loud=((0.02,) * 5, (0.05,) * 5),
        large=(2.0, 3.0), failed=0,
    )  # fmt: skip
    assert found.ratio == pytest.approx(2.5)
    assert (found.over_rounds.low, found.over_rounds.high) == (2.0, 2.5)
    (row,) = found.finding().rows
    assert (row.found, row.reached) == ("2.50 times (50 ms over 20 ms)", True)
    assert "2 large requests of 2.50 s" in found.finding().notes[0]


def test_failures_and_a_ratio_over_three_miss() -> None:
    found = Neighbour(10, 5.0, ((0.01,),), ((0.031,),), (1.0,), failed=0)
    assert found.finding().rows[0].reached is False
    found = Neighbour(10, 5.0, ((0.01,),), ((0.01,),), (1.0,), failed=1)
    assert found.finding().rows[0].reached is False


def test_large_requests_that_are_refused_are_counted() -> None:
    with serve(status=lambda query: 429) as host:
        asking = LargeRequests(int(host.rpartition(":")[2]), [b'{"query": "", "passages": []}'])
        with asking.asked():
            pass
    assert asking.failed >= 1
    assert asking.seconds == []


@pytest.mark.slow
def test_on_a_real_server_small_requests_pass_large_ones(tmp_path: Path) -> None:
    with sleepy_ground(tmp_path) as ground:
        found = measure_neighbour(ground)
    assert found.failed == 0
    assert len(found.quiet) == len(found.loud) == 1
    assert len(found.quiet[0]) == pytest.approx(5, abs=2)
    # A small one waits for the batch that runs; behind a large one it would take as long as that.
    assert found.large
    assert max(found.loud[0]) > min(found.quiet[0])
