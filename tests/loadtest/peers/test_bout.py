"""The turns: their order, what is offered, and the search for the highest load held."""

from __future__ import annotations

import pytest

from retort.loadtest.peers.bout import Kept, Plan, Turns
from retort.loadtest.peers.findings import Point
from retort.loadtest.peers.loads import Workload
from retort.loadtest.step import Step, Taken
from tests.loadtest.peers.contestants import WORKLOAD, Idle, Track

PLAN = Plan(rounds=2, seconds=1.0, load_seconds=1.0, search_steps=3, users=5, p99_ms=40.0)
PAIR = (Idle("retort", 400.0), Idle("slow", 100.0))


def turns(track: Track, said: list[str], bare: list[str] | None = None) -> Turns:
    """Turns of the track's contestants."""

    def loop(workload: Workload, seconds: float) -> float:
        assert bare is not None
        bare.append(f"after {len(track.steps)}")
        return 500.0

    return Turns(
        PLAN, WORKLOAD, track.contestants, said.append, None if bare is None else loop, track.run
    )


def test_every_other_turn_goes_backwards() -> None:
    track, said, bare = Track(PAIR), list[str](), list[str]()
    found = turns(track, said, bare).measure()
    closed = [step.host for step in track.steps if step.loop == "closed"]
    assert closed == ["retort", "slow", "slow", "retort"]
    assert bare == ["after 0", "after 4"], "beside ours in both rounds"
    assert found.bare == (500.0, 500.0)
    assert [step.host for step in track.steps if step.loop == "open"] == [
        "retort", "slow", "slow", "retort", "retort", "slow", "slow", "retort", "retort", "slow",
    ]  # fmt: skip
    assert {step.users for step in track.steps if step.loop == "closed"} == {5}
    assert said[0] == "real, round 1 of 2: bare backend loop"


def test_one_low_load_is_the_same_for_all_and_the_high_one_is_each_ones_own() -> None:
    found = turns(Track(PAIR), []).measure()
    ours, slow = found.measured
    assert ours.low.offered == slow.low.offered == pytest.approx(50.0)
    assert ours.high.offered == pytest.approx(320.0, rel=0.01)
    assert slow.high.offered == pytest.approx(80.0)
    assert list(ours.rates) == pytest.approx([400.0] * 2, rel=0.01)


def test_the_search_closes_in_on_the_highest_load_held() -> None:
    # 10 ms / (1 - share) is 40 ms at three quarters of the capacity.
    found = turns(Track(PAIR), []).measure()
    for one, capacity in zip(found.measured, (400.0, 100.0), strict=True):
        held = one.highest_within(40.0)
        assert held is not None
        assert 0.65 < held.offered / capacity <= 0.75
        assert [point.offered for point in one.points] == sorted(p.offered for p in one.points)


def test_a_load_above_a_missed_one_is_not_asked() -> None:
    kept = Kept(Idle("one", 100.0))
    kept.closed.append(Track((Idle("one", 100.0),)).run(Step("one", ("{}",), (2,), 1.0)))
    assert kept.next_offer(40.0) == pytest.approx(50.0)
    for offered, latency in ((50.0, 0.1), (80.0, 0.01)):
        taken = Track((Idle("one", 100.0),)).run(
            Step("one", ("{}",), (2,), 1.0, loop="open", rate=1.0)
        )
        late = tuple(a.__class__(a.due, a.sent, a.due + latency, 200, 2) for a in taken.answers)
        kept.points.append(Point.of(offered, Taken("open", 1.0, late, 0.1)))
    assert kept.next_offer(40.0) == pytest.approx(25.0)


def test_processor_time_is_shared_among_all_pairs_answered() -> None:
    contestants = (Idle("retort", 100.0),)
    track = Track(contestants)
    (ours,) = turns(track, []).measure().measured
    pairs = 2 * (2 * 50 + sum(round(step.rate) for step in track.steps if step.loop == "open"))
    assert ours.cpu_seconds_per_1000 == pytest.approx(1000 * len(track.steps) / pairs, rel=0.05)
    assert ours.memory_bytes == 100 * contestants[0].turns


def failing(name: str) -> tuple[Track, Turns]:
    """Turns in which the server of that name answers nothing."""
    track = Track(PAIR)

    def run(step: Step) -> Taken:
        found = track.run(step)
        return Taken(step.loop, 1.0, (), 0.1) if step.host == name else found

    return track, Turns(PLAN, WORKLOAD, PAIR, lambda words: None, run=run)


def test_one_that_answers_nothing_is_out_and_the_others_go_on() -> None:
    track, turns = failing("slow")
    found = turns.measure()
    assert [one.name for one in found.measured] == ["retort"]
    assert len(found.out) == 1
    assert "no request was answered with 200" in found.out[0]
    assert [step.host for step in track.steps].count("slow") == 1
    assert found.measured[0].low.offered == pytest.approx(200.0, rel=0.01)


def test_ours_must_not_fail() -> None:
    with pytest.raises(RuntimeError, match="no request was answered"):
        failing("retort")[1].measure()


def test_the_time_is_known_beforehand() -> None:
    assert 60 < Plan().about_s(8) < 600
    assert Plan().about_s(2) < Plan().about_s(8)
