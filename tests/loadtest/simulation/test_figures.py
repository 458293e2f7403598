"""Figures: sums that can be checked by hand."""

from __future__ import annotations

import pytest

from retort.loadtest.simulation.figures import Figures
from retort.loadtest.simulation.simulator import Answer, Arrival, Ran, Run

USUAL, LARGE = Arrival(1.0, (10, 12)), Arrival(0.0, (30,), again=True)


def test_a_run_is_summed_up() -> None:
    run = Run(
        answers=(Answer(LARGE, 0.0, 5.0), Answer(USUAL, 1.0, 2.0), Answer(USUAL, 2.0, 4.0)),
        batches=(Ran(0.0, 1.0, 1, 32, 30), Ran(2.0, 4.0, 2, 16, 22), Ran(4.0, 5.0, 2, 16, 22)),
        refused=(USUAL, USUAL),
    )
    found = Figures.of(run)
    assert found.padding == pytest.approx(1 - 74 / 96)
    assert found.pairs_per_batch == pytest.approx(5 / 3)
    assert found.busy == pytest.approx(0.8)
    assert (found.p50_ms, found.p99_ms, found.longest_ms) == pytest.approx((1e3, 3e3, 3e3))
    assert (found.answered, found.refused, found.shapes) == (2, 0.5, 2)


def test_nothing_answered_has_no_figures() -> None:
    with pytest.raises(ValueError, match="no request was answered"):
        Figures.of(Run((Answer(LARGE, 0.0, 5.0),), (Ran(0.0, 5.0, 1, 32, 30),), (USUAL,)))
