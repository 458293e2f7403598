"""The scene: loads that are what they say, the same for every policy."""

from __future__ import annotations

import pytest

from retort.loadtest.simulation.arrivals import KINDS, ArrivalKind
from retort.loadtest.simulation.demand import Demand
from tests.loadtest.simulation.scenes import small_scene


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("load", [0.3, 1.2])
def test_the_work_that_comes_is_the_load(kind: ArrivalKind, load: float) -> None:
    scene = small_scene(requests=5_000)
    arrivals = scene.arrivals(kind, load)
    work = sum(scene.machine.least_seconds(each.lengths, scene.policy) for each in arrivals)
    assert work / arrivals[-1].at == pytest.approx(load, rel=0.15)


def test_a_seed_gives_the_same_arrivals() -> None:
    first, same, other = (small_scene(seed=seed).arrivals("poisson", 0.5) for seed in (0, 0, 1))
    assert first == same
    assert first != other


def test_another_demand_and_fewer_requests() -> None:
    demand = Demand(((7,),))
    assert small_scene(requests=300).of(demand, 100).requests == 100
    assert small_scene(requests=50).of(demand, 100).requests == 50
    assert {a.lengths for a in small_scene().of(demand, 9).arrivals("bursty", 1.0)} == {(7,)}
