from __future__ import annotations

from random import Random

import pytest

from retort.service.engine.admission import (
    LARGEST_MARGIN,
    LEAST_MARGIN,
    Margin,
    Refusal,
    refusal,
    retry_after,
)


def ask(tokens: int = 10, time_left: float = 10.0, **changes: float) -> Refusal | None:
    known: dict[str, float] = {
        "held": 50, "limit": 100, "share": 0, "held_seconds": 3.0,
        "before_seconds": 2.0, "own_seconds": 1.0,
        "margin": 1.5,
    }  # fmt: skip
    return refusal(tokens, time_left, **(known | changes))  # type: ignore[arg-type]


def test_room_and_time() -> None:
    assert ask() is None
    full = ask(51)
    assert full is None  # half of the limit is free
    full = ask(50, held=51)
    assert full is not None
    assert full.reason == "full"
    late = ask(time_left=4.0)
    assert late is not None
    assert late.reason == "late"
    assert late.seconds == pytest.approx(0.505)
    # With nothing before it, coming back would not help.
    assert ask(time_left=0.1, before_seconds=0.0) is None


def test_a_share_gets_in_where_others_fill_the_queue() -> None:
    assert ask(20, held=100) is not None
    assert ask(20, held=100, share=30) is None
    assert ask(40, held=100, share=30) is not None
    assert ask(20, held=190, share=30) is not None


def test_the_margin_settles_where_few_are_late() -> None:
    chance, margin = Random(1), Margin()
    late = 0
    for turn in range(20_000):
        taken = 0.5 * chance.lognormvariate(0.2, 0.4)
        late += turn >= 5_000 and taken > 0.5 * margin.value
        margin.observed(0.5, taken)
    assert late / 15_000 == pytest.approx(0.01, abs=0.008)


def test_the_margin_has_bounds_and_ignores_short_waits() -> None:
    margin = Margin()
    for _ in range(1_000):
        margin.observed(0.001, 5.0)
    assert margin.value == Margin().value
    for _ in range(1_000):
        margin.observed(1.0, float("inf"))
    assert margin.value == LARGEST_MARGIN
    for _ in range(10_000):
        margin.observed(1.0, 0.5)
    assert margin.value == LEAST_MARGIN


def test_clients_are_told_to_come_back_at_different_times() -> None:
    times = [retry_after(20.0, key) for key in range(100)]
    assert min(times) == 20
    assert 24 <= max(times) <= 25
    assert len(set(times)) >= 5
