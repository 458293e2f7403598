"""Growth of memory: its slope, and a real server that is loaded until it has scored enough."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retort.loadtest.experiments.stress_parts import memory, memory_part
from retort.loadtest.load import Outcome, Step
from retort.loadtest.result import Table
from retort.loadtest.rounds import Spread
from tests.loadtest.experiments.subject import sleepy_subject

Sample = tuple[float, float]


def samples(slope: float, noise: float = 0.0, count: int = 200) -> list[Sample]:
    """A hundred MB and `slope` bytes per pair, a sample every hundred pairs."""
    chance = np.random.default_rng(0)
    return [
        (100.0 * n, 1e8 + slope * 100.0 * n + chance.normal(0, noise or 1e-9)) for n in range(count)
    ]


def figures(table: Table) -> tuple[Spread, float, float]:
    """Slope in MB per 100,000 pairs, growth in MB, and the growth's share of what was held."""
    row = "after the warm-up"
    names = ("MB per 100,000 pairs", "growth, MB", "growth over what was held")
    slope, growth, share = (table.cell(row, name) for name in names)
    assert isinstance(slope, Spread)
    assert isinstance(growth, float)
    assert isinstance(share, float)
    return slope, growth, share


def test_a_leak_has_its_slope() -> None:
    slope, growth, share = figures(memory_part(samples(slope=200.0, noise=1e4), 0).table)
    assert slope.value == pytest.approx(20, rel=0.01)
    assert slope.low < 20 < slope.high
    # From the middle of the first tenth to that of the last.
    assert growth == pytest.approx(3.6, rel=0.02)
    assert share == pytest.approx(0.036, rel=0.02)


def test_the_interval_of_noise_holds_zero() -> None:
    slope, *_ = figures(memory_part(samples(slope=0.0, noise=1e7), 0).table)
    assert slope.low < 0 < slope.high
    slope, growth, _ = figures(memory_part(samples(slope=300.0, noise=2e7), 0).table)
    assert slope.low < 0 < slope.value
    assert growth > 1


def test_the_interval_is_that_of_least_squares_with_eight_degrees_of_freedom() -> None:
    # Ten means 0, 0, …, 9 pairs apart; residuals ±1 in turn. 2.306 is Student's t at 97.5%.
    points = [(float(n), 10e6 + 1e6 * (-1.0) ** n) for n in range(10)]
    slope, *_ = figures(memory_part(points, 0).table)
    x, y = np.array(points).T
    value, rest = np.polyfit(x, y, 1, full=True)[:2]
    half = 2.306 * np.sqrt(rest[0] / 8 / ((x - x.mean()) ** 2).sum())
    assert slope.value == pytest.approx(value[0] / 10)
    assert slope.high - slope.value == pytest.approx(half / 10, rel=1e-4)


def test_the_warm_up_is_not_counted() -> None:
    growing = [(pairs, held + 1e6 * min(pairs, 5000)) for pairs, held in samples(0.0)]
    assert figures(memory_part(growing, 0).table)[1] > 100
    part = memory_part(growing, 5000)
    assert figures(part.table)[1] == pytest.approx(0, abs=1e-6)
    assert part.table.cell("after the warm-up", "pairs") == 14_900
    assert len(part.plots[0].panels[0].lines[0].points) == 200


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match=r"9 samples after 0 pairs of warm-up"):
        memory_part(samples(0.0, count=9), 0)


@pytest.mark.slow
def test_a_real_server_is_loaded_until_it_has_scored_enough_pairs(tmp_path: Path) -> None:
    steps: list[Step] = []

    def run(step: Step) -> Outcome:
        steps.append(step)
        return subject.run(step)

    with sleepy_subject(tmp_path) as subject:
        options = replace(subject.options, memory_pairs=300, warmup_pairs=50)
        part = memory(replace(subject, options=options, run=run))
    table = part.table
    assert table.cell("after the warm-up", "failed") == 0
    assert part.plots[0].panels[0].lines[0].points[-1][0] >= 350
    assert all(held > 10 for _, held in part.plots[0].panels[0].lines[0].points)
    assert len({step.bodies for step in steps}) == len(steps)
