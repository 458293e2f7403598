"""The turns: their order, what is offered, and the search for the highest load held."""

from __future__ import annotations

import pytest

from retort.loadtest.load import Outcome, Step
from retort.loadtest.options import PeersOptions
from retort.loadtest.peers.turns import BARE, Figures, Turns, about_s
from retort.loadtest.rounds import OpenLoad
from retort.loadtest.traffic import Traffic
from tests.loadtest.peers.contestants import TRAFFIC, Idle, Track

OPTIONS = PeersOptions(rounds=2, seconds=1.0, load_seconds=1.0, users=5, p99_ms=40.0)


def track() -> Track:
    """Our server and a slow one."""
    return Track((Idle("retort", 400.0), Idle("slow", 100.0)))


def measured(track: Track) -> tuple[Figures, ...]:
    """What all turns of the track's servers give."""
    turns = Turns(OPTIONS, TRAFFIC, track.figures, lambda line: None, run=track.run)
    assert turns.measure() == ()
    return turns.figures


def test_every_other_round_goes_backwards_with_the_bare_loop_next_to_ours() -> None:
    found, lines, bare = track(), list[str](), list[int]()

    def loop(traffic: Traffic, seconds: float) -> float:
        bare.append(len(found.steps))
        return 500.0

    turns = Turns(OPTIONS, TRAFFIC, found.figures, lines.append, loop, found.run)
    assert turns.measure() == (500.0, 500.0)
    closed = [step.host for step in found.steps if step.loop == "closed"]
    assert closed == ["retort", "slow", "slow", "retort"]
    assert bare == [0, 4]
    assert [step.host for step in found.steps if step.loop == "open"] == [
        "retort", "slow", "slow", "retort", "retort", "slow", "slow", "retort",
    ]  # fmt: skip
    assert {step.users for step in found.steps if step.loop == "closed"} == {5}
    assert lines[0] == f"mixed, round 1 of 2: {BARE}"


def test_the_low_load_is_the_same_for_all_and_the_high_one_is_each_ones_own() -> None:
    ours, slow = measured(track())
    assert ours.points[0].offered == slow.points[0].offered == pytest.approx(50.0)
    assert ours.points[1].offered == pytest.approx(320.0, rel=0.01)
    assert slow.points[1].offered == pytest.approx(80.0)
    assert ours.rates == pytest.approx([400.0] * 2, rel=0.01)


def test_the_search_closes_in_on_the_highest_load_held() -> None:
    # 10 ms / (1 - share) is 40 ms at three quarters of the capacity.
    for one, capacity in zip(measured(track()), (400.0, 100.0), strict=True):
        held = one.highest_held(40.0)
        assert held is not None
        assert 0.6 < held / capacity <= 0.75


def point(offered: float, p99_ms: float) -> OpenLoad:
    """A load with that p99."""
    return OpenLoad(offered, offered, p99_ms / 4, p99_ms / 2, p99_ms, 0.0, 100, 0.5)


def test_no_load_above_a_missed_one_is_offered() -> None:
    found = track()
    kept = Figures(found.servers[1])
    kept.closed.append(found.run(Step("slow", ("{}",), (2,), 1.0)))
    assert kept.next_offer(40.0) == pytest.approx(50.0)
    kept.points += [point(50.0, 100.0), point(80.0, 10.0)]
    assert kept.next_offer(40.0) == pytest.approx(25.0)
    assert kept.highest_held(40.0) is None
    kept.points.append(point(25.0, 30.0))
    assert kept.highest_held(40.0) == 25.0


def test_processor_time_is_shared_among_all_pairs_answered() -> None:
    found = Track((Idle("retort", 100.0),))
    (ours,) = measured(found)
    assert ours.cpu_seconds == len(found.steps)
    assert ours.pairs == 2 * (2 * 50 + sum(round(s.rate) for s in found.steps if s.loop == "open"))
    assert ours.memory_bytes == 100 * found.servers[0].turns


def failing(name: str) -> tuple[Track, Turns]:
    """Turns in which the server of that name answers nothing."""
    found = track()

    def run(step: Step) -> Outcome:
        outcome = found.run(step)
        return Outcome(step.loop, 1.0, (), 0.1) if step.host == name else outcome

    return found, Turns(OPTIONS, TRAFFIC, found.figures, lambda line: None, run=run)


def test_one_that_answers_nothing_takes_no_more_turns_and_the_others_go_on() -> None:
    found, turns = failing("slow")
    turns.measure()
    ours, slow = turns.figures
    assert "answered no request with 200" in slow.problem
    assert [step.host for step in found.steps].count("slow") == 1
    assert ours.points[0].offered == pytest.approx(200.0, rel=0.01)


def test_ours_must_not_fail() -> None:
    with pytest.raises(RuntimeError, match="answered no request with 200"):
        failing("retort")[1].measure()


def test_the_time_is_known_beforehand() -> None:
    assert 120 < about_s(PeersOptions(), 8, 2) < 1500
    assert about_s(PeersOptions(), 2, 2) < about_s(PeersOptions(), 8, 2)
