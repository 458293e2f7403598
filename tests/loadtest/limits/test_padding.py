"""The share of padding, from what was sent and what the server ran."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from retort.loadtest.counters import Counters
from retort.loadtest.limits.mixed import mixed_requests
from retort.loadtest.limits.padding import Batches, Padding, measure_padding
from retort.loadtest.step import Answer, Taken
from retort.loadtest.texts import encode
from tests.loadtest.limits.ground import made_up_ground, sleepy_ground


def taken(sizes: list[int], status: int = 200) -> Taken:
    return Taken("closed", 1.0, tuple(Answer(0, 0, 0.1, status, size) for size in sizes), 0.1)


def test_padding_is_what_the_batches_had_beside_the_pairs_own_tokens(tmp_path: Path) -> None:
    with made_up_ground(tmp_path) as ground:
        requests = mixed_requests(ground.options.pairs)
        sizes = [len(request.passages) for request in requests]
        own = sum(len(pair) for request in requests for pair in encode(ground.encoder, request))
        # All of them once, and the first one again.
        own += sum(map(len, encode(ground.encoder, requests[0])))
        pairs = sum(sizes) + sizes[0]
        counted = Counters(3, pairs, own / 0.9, {})
        found = Batches.of("any", counted, taken([*sizes, sizes[0]]), requests, ground)
        assert found.share == pytest.approx(0.1)

        (row,) = Padding((found,), "made up").finding().rows
        assert (row.found.split()[0], row.reached) == ("10.0%", False)
        tight = replace(found, counted=replace(counted, tokens=own / 0.93))
        assert Padding((tight,), "made up").finding().rows[0].reached

        more = replace(counted, pairs=pairs + 1)
        with pytest.raises(RuntimeError, match="somebody else asks it"):
            Batches.of("any", more, taken([*sizes, sizes[0]]), requests, ground)
        with pytest.raises(RuntimeError, match=r"1 of 1 requests failed"):
            Batches.of("any", counted, taken([sizes[0]], 504), requests, ground)


@pytest.mark.slow
def test_a_real_server_is_measured_under_both_loads(tmp_path: Path) -> None:
    with sleepy_ground(tmp_path) as ground:
        found = measure_padding(ground)
    assert [batches.load for batches in found.batches] == [
        "8 clients",
        "open loop at 70% of that rate",
    ]
    for batches in found.batches:
        # Lengths go in steps of 16 tokens: some padding there always is, and never most of it.
        assert 0 < batches.share < 0.6
