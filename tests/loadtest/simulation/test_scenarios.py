"""The scenarios: every policy meets the same, and each shows what it was made to show."""

from __future__ import annotations

from dataclasses import replace

import pytest

from retort.loadtest.simulation.arrivals import KINDS
from retort.loadtest.simulation.policies import CONTENDERS, OURS, Contender, shortest_first
from retort.loadtest.simulation.report import WANTED_HEAD_OF_LINE
from retort.loadtest.simulation.scenarios import (
    BATCH_TOKENS,
    LENGTH_STEPS,
    head_of_line,
    other_limits,
    sizes,
    starvation,
    sweep,
)
from retort.loadtest.simulation.scene import Scene
from retort.service.engine.scheduler import Policy, length_steps
from tests.loadtest.simulation.scenes import small_scene

SHORTEST = Contender("shortest first", shortest_first)
ARRIVAL_ORDER = next(c for c in CONTENDERS if c.name == "arrival order")


def few() -> Scene:
    """So few requests that the large ones among them do not take long."""
    return small_scene(40)


def test_a_sweep_has_every_policy_at_every_load() -> None:
    told: list[str] = []
    points = list(sweep(small_scene(), [0.3, 0.9], told.append))
    assert [(point.kind, point.load, point.policy) for point in points] == [
        (kind, load, contender.name)
        for kind in KINDS
        for load in (0.3, 0.9)
        for contender in CONTENDERS
    ]
    assert len(told) == len(points)
    assert told[0] == "poisson arrivals at 30% of capacity: Retort"
    by = {(point.kind, point.load, point.policy): point.figures for point in points}
    for kind in KINDS:
        assert by[kind, 0.3, "Retort"].p99_ms < by[kind, 0.9, "Retort"].p99_ms
        assert by[kind, 0.9, "Retort"].padding < by[kind, 0.9, "arrival order"].padding / 2
        assert by[kind, 0.9, "Retort"].p99_ms < by[kind, 0.9, "arrival order"].p99_ms


def test_a_large_request_holds_up_arrival_order_most() -> None:
    ours, theirs = (head_of_line(small_scene(), each) for each in (OURS, ARRIVAL_ORDER))
    assert ours.alone.answered == theirs.alone.answered == 300
    assert ours.beside.answered == 300
    assert ours.beside.busy > 0.99 > 0.5 > ours.alone.busy
    assert 1 < ours.ratio < WANTED_HEAD_OF_LINE < theirs.ratio / 2


def test_a_flood_starves_long_pairs_where_the_shortest_go_first() -> None:
    scene = replace(small_scene(1_000), machine=replace(small_scene().machine, queue_tokens=10**9))
    ours, theirs = (starvation(scene, each) for each in (OURS, SHORTEST))
    assert theirs.long_ms > 2 * ours.long_ms
    assert theirs.long_ms > theirs.flood_seconds * 1e3 / 2
    assert ours.refused == theirs.refused == 0


def test_one_limit_is_changed_at_a_time() -> None:
    policy = Policy(length_steps(64, 16), 2_048)
    found = [(other.batch_tokens, other.lengths[0]) for other in other_limits(policy)]
    # The policy's own step is among the steps, and is not run twice.
    assert found == [
        *((tokens, 16) for tokens in BATCH_TOKENS),
        *((2_048, step) for step in LENGTH_STEPS if step != 16),
    ]


def test_limits_without_room_are_left_out() -> None:
    found = other_limits(Policy((8, 600), batch_tokens=1_024))
    assert {other.batch_tokens for other in found} == {1_024, 2_048, 4_096}
    assert all(other.lengths[-1] == 600 for other in found)
    assert {other.lengths[0] for other in other_limits(Policy((16,), 16))} == {1, 4, 8, 16}


def test_a_finer_step_has_less_padding_and_more_shapes() -> None:
    told: list[str] = []
    found = {(size.batch_tokens, size.length_step): size for size in sizes(few(), told.append)}
    assert len(found) == len(told)
    fine, coarse = found[512, 4].figures, found[512, 32].figures
    assert fine.padding < coarse.padding
    assert fine.shapes > coarse.shapes
    assert found[512, 16].figures.p99_ms > 0


@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda contender: contender.name)
def test_one_seed_gives_one_answer(contender: Contender) -> None:
    assert head_of_line(small_scene(60), contender) == head_of_line(small_scene(60), contender)
    assert starvation(small_scene(60), contender) == starvation(small_scene(60), contender)
