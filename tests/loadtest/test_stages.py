"""The load shapes: how many users at which moment."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from retort.loadtest.stages import RAMP, SOAK, SPIKE, Stage, users_at

SHAPES = Path("loadtest/shapes")
TICK = """
from types import SimpleNamespace
from retort.loadtest.shapes.ramp import Ramp
from retort.loadtest.shapes.soak import Soak
from retort.loadtest.shapes.spike import Spike
import json
ticks = {}
for shape in (Ramp(), Soak(), Spike()):
    options = SimpleNamespace(num_users=40, run_time=100)
    shape.runner = SimpleNamespace(environment=SimpleNamespace(parsed_options=options))
    found = []
    for second in (0, 20, 50, 99, 100):
        shape.get_run_time = lambda: second
        found.append(shape.tick())
    ticks[type(shape).__name__] = found
print(json.dumps(ticks))
"""


def levels(stages: tuple[Stage, ...]) -> list[int]:
    """Users out of 100 at every hundredth of the run."""
    found = [users_at(stages, step / 100, 100) for step in range(100)]
    return [users for users in found if users is not None]


@pytest.mark.parametrize("stages", [RAMP, SPIKE, SOAK])
def test_a_shape_fills_its_run_and_ends(stages: tuple[Stage, ...]) -> None:
    assert len(levels(stages)) == 100
    assert max(levels(stages)) == 100
    assert min(levels(stages)) >= 1
    assert users_at(stages, 1.0, 100) is None


def test_a_ramp_rises_and_stays() -> None:
    assert all(a <= b for a, b in pairwise(levels(RAMP)))
    assert levels(RAMP)[5] < 10
    assert levels(RAMP)[70:] == [100] * 30


def test_a_spike_is_sudden_and_five_times_as_high() -> None:
    found = levels(SPIKE)
    assert found[39:41] == [20, 100]
    assert found[59:61] == [100, 20]
    assert set(found) == {20, 100}


def test_a_soak_stays() -> None:
    assert levels(SOAK)[5:] == [100] * 95


def test_shapes_take_peak_and_length_from_locusts_own_options() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TICK], capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(done.stdout) == {
        "Ramp": [[1, 40.0], [10, 40.0], [28, 40.0], [40, 40.0], None],
        "Soak": [[1, 40.0], [40, 40.0], [40, 40.0], [40, 40.0], None],
        "Spike": [[8, 40.0], [8, 40.0], [40, 40.0], [8, 40.0], None],
    }
