"""Scaling: which arrangements there are, how many clients they are given, and once for real."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from retort.loadtest.experiments import scaling
from retort.loadtest.experiments.scaling import (
    Load,
    arrangements,
    most_users,
    pinned,
    run_scale,
)
from retort.loadtest.load import Answer, Outcome
from retort.loadtest.options import ScaleOptions
from retort.loadtest.rounds import Spread
from retort.models.bundle import Bundle


def server(capacity: float, passages: int = 10) -> Callable[[int], Load]:
    """A server of so many requests per second: more clients than it takes to get them wait."""

    def load(users: int) -> Load:
        seconds = max(0.01, users / capacity)
        count = round(min(users / 0.01, capacity))
        answers = [Answer(0.0, 0.0, seconds, 200, passages) for _ in range(count)]
        return Load(users, (Outcome("open", 1.0, tuple(answers), 0.1),), 1)

    return load


@pytest.mark.parametrize(
    ("cores", "servers"),
    [
        (1, [(1, 1)]),
        (2, [(1, 1), (1, 2), (2, 1)]),
        (3, [(1, 1), (1, 2), (2, 1), (3, 1)]),
        (8, [(1, 1), (1, 2), (1, 4), (1, 8), (2, 4), (3, 2)]),
    ],
)
def test_servers_never_share_cores(cores: int, servers: list[tuple[int, int]]) -> None:
    found = arrangements(cores)
    assert [(each.servers, each.cores) for each in found] == servers
    for each in found:
        shares = each.shares(range(cores))
        assert {len(share) for share in shares} == {each.cores}
        assert len(set().union(*shares)) == each.servers * each.cores


def test_clients_are_doubled_until_the_p99_is_over_the_target() -> None:
    # 400 requests/s: 4 clients fill it, and 64 wait 160 ms each.
    assert most_users(server(400), 5.0 + 155.0, lambda line: None) == 4
    said: list[str] = []
    assert most_users(server(400), 30.0, said.append) == 4
    assert len(said) == 5  # 1, 2, 4, 8 (20 ms), 16 (40 ms)
    with pytest.raises(RuntimeError, match="one client alone has a p99 of 200 ms"):
        most_users(server(5), 100.0, lambda line: None)


def test_the_figures_are_those_of_all_servers_together() -> None:
    one = server(400)(4).outcomes
    both = Load(4, one * 2, 5)
    assert both.pairs_per_second == 2 * server(400)(4).pairs_per_second
    assert both.requests_per_second == pytest.approx(800)
    assert both.p99_ms == pytest.approx(10)


def test_what_is_started_in_the_block_stays_on_its_cores() -> None:
    before = os.sched_getaffinity(0)
    one = {min(before)}
    with pinned(one):
        assert os.sched_getaffinity(0) == one
    assert os.sched_getaffinity(0) == before


@pytest.mark.slow
def test_real_servers_are_measured(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "MOST_USERS", 2)
    # A backend that need not be looked for.
    monkeypatch.setenv("RETORT_BACKEND", "onnxruntime")
    monkeypatch.setenv("RETORT_PRECISION", "fp32")
    cores = len(os.sched_getaffinity(0))
    two = arrangements(cores)[-1]  # of several servers, where there are cores for them
    monkeypatch.setattr(scaling, "arrangements", lambda cores: [two])
    options = ScaleOptions(str(tiny_bundle.folder), p99_ms=5_000, passages=4, rounds=1, seconds=0.5)
    said: list[str] = []
    found = run_scale(options, said.append)
    table = found.table("scale")
    rate, memory = (table.cell(str(two), name) for name in ("pairs/s", "memory, MB"))
    assert isinstance(rate, Spread)
    assert rate.value > 0
    assert isinstance(memory, float)
    assert memory > 60 * two.servers  # each is several processes of Python
    assert table.cell(str(two), "compared with one of 1 core") == Spread(1.0, 1.0, 1.0, 1)
