"""The screening: who is better, who is left out, and what goes on to the next axis."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from retort.loadtest.figures import Spread
from retort.loadtest.texts import Request
from retort.loadtest.tune.axes import Axis
from retort.loadtest.tune.candidate import Candidate
from retort.loadtest.tune.plan import Plan
from retort.loadtest.tune.progress import Progress
from retort.loadtest.tune.screen import Screened, Screening
from retort.models.encoding import Batch
from retort.models.runtime.base import LogitArray
from retort.models.runtime.fake import InferFunction
from tests.fake_bundle import overlap
from tests.loadtest.tune.garage import candidate, make_garage, slow
from tests.service.running import fragile

PLAN = Plan(rounds=2, turn_s=0.1, clients=2, leaders=1)
REQUESTS = (Request("what is old", ("ice is old", "Paris is in France")),)
POISONED = (Request("what is old", ("50 % of it",)),)


def screening(folder: Path, said: list[str], **functions: InferFunction) -> Screening:
    """Over these functions: `s1` runs for one stream, `s2` for two …"""
    by_streams = {int(name[1:]): function for name, function in functions.items()}
    progress = Progress(said.append, said.append)
    return Screening(make_garage(folder, by_streams), REQUESTS, PLAN, 10_000.0, progress)


def wrong(batch: Batch) -> LogitArray:
    """Ranks the other way round."""
    return -overlap(batch)


def test_the_faster_comes_first(tmp_path: Path) -> None:
    said: list[str] = []
    heat = screening(tmp_path, said, s1=slow, s2=overlap).heat("any", [candidate(1), candidate(2)])
    assert [found.candidate.streams for found in heat.screened] == [2, 1]
    assert heat.screened[0].rate.rounds == 2
    assert heat.screened[0].alone_p99_ms < heat.screened[1].alone_p99_ms
    # Every other round goes backwards.
    turns = [line.rpartition(", ")[2] for line in said if "round" in line]
    assert turns == ["1 stream", "2 streams", "2 streams", "1 stream"]
    assert any("pairs/s, alone p99" in line for line in said)


def test_one_that_cannot_meet_the_target_comes_last() -> None:
    fast = Screened(candidate(1), Spread(500.0, 400.0, 600.0, 3), 120.0)
    quick = Screened(candidate(2), Spread(300.0, 200.0, 400.0, 3), 80.0)
    slower = Screened(candidate(4), Spread(200.0, 100.0, 300.0, 3), 70.0)
    found = sorted([slower, fast, quick], key=lambda screened: screened.better(100.0))
    assert found == [quick, slower, fast]


def test_one_that_ranks_wrongly_or_fails_is_left_out_with_the_reason(tmp_path: Path) -> None:
    tried = screening(tmp_path, [], s1=wrong, s2=overlap, s4=fragile)
    tried = replace(tried, requests=POISONED)
    heat = tried.heat("any", [candidate(1), candidate(2), candidate(4)])
    assert [found.candidate.streams for found in heat.screened] == [2]
    reasons = {left.candidate.streams: left.reason for left in heat.left_out}
    assert "does not reproduce the golden scores" in reasons[1]
    assert "no per cent" in reasons[4]
    assert list(tried.garage.backends) == [(candidate(2).engine, None, 2)]


def test_if_nothing_runs_the_reasons_are_told(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)nothing that was asked for runs here.*golden"):
        screening(tmp_path, [], s1=wrong).run([candidate(1)], [])
    with pytest.raises(RuntimeError, match="there is no such backend"):
        screening(tmp_path, []).run([], [])


def test_an_axis_starts_from_the_best_of_the_one_before(tmp_path: Path) -> None:
    def steps(leader: Candidate) -> list[Candidate]:
        return [replace(leader, length_step=step) for step in (8, 16)]

    tried = screening(tmp_path, [], s1=slow, s2=overlap)
    first, second = tried.run([candidate(1), candidate(2)], [Axis("steps", steps)])
    assert (first.axis, second.axis) == ("backend and precision", "steps")
    assert {found.candidate.streams for found in second.screened} == {2}
    assert {found.candidate.length_step for found in second.screened} == {8, 16}
