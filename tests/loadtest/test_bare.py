"""The bare loop: batches of like length, run in turn, from several threads at once."""

from __future__ import annotations

import time

import pytest

from retort.loadtest.bare import (
    bare_rate,
    forward_times,
    like_length_batches,
    load_served,
)
from retort.loadtest.traffic import Request, fixed
from retort.models.bundle import Bundle
from retort.models.encoding import Batch, PairEncoder


@pytest.fixture
def requests(encoder: PairEncoder) -> tuple[Request, ...]:
    """Four requests of four pairs of 32 tokens."""
    return fixed(encoder, requests=4, passages=4, tokens=32).requests


def test_every_batch_is_run_in_turn_and_at_least_one(
    encoder: PairEncoder, requests: tuple[Request, ...]
) -> None:
    batches = like_length_batches(encoder, requests, 8)
    seen: list[int] = []
    assert len(forward_times(lambda batch: seen.append(id(batch)), batches, 0.0)) == 1
    forward_times(lambda batch: seen.append(id(batch)), batches, 0.01)
    assert set(seen) == {id(batch) for batch in batches}


def test_slots_run_at_once(encoder: PairEncoder, requests: tuple[Request, ...]) -> None:
    batches = like_length_batches(encoder, requests, 8)

    def forward(batch: Batch) -> object:
        time.sleep(0.02)
        return None

    one, three = (bare_rate(forward, batches, 0.1, slots) for slots in (1, 3))
    assert one <= 8 / 0.02
    assert three > 1.5 * one


def test_batches_hold_pairs_of_like_length(encoder: PairEncoder) -> None:
    requests = [Request("able", tuple(" ".join(["about"] * n) for n in (9, 1, 8, 2, 5)))]
    batches = like_length_batches(encoder, requests, 2)
    # 1 and 2 words, then 5 and 8; the last pair fills no batch. Four tokens are not the passage's.
    assert [batch.shape for batch in batches] == [(2, 6), (2, 12)]


def test_fewer_pairs_than_a_batch_make_one_batch(encoder: PairEncoder) -> None:
    requests = [Request("able", ("about", "above"))]
    assert [b.shape[0] for b in like_length_batches(encoder, requests, 50)] == [2]


def test_the_backend_is_the_one_that_the_server_runs(tiny_bundle: Bundle) -> None:
    names = {"backend": "onnxruntime", "provider": "cpu", "precision": "fp32"}
    served = {**names, "threads": 1, "streams": 1}
    assert str(load_served(served, tiny_bundle).info) == "onnxruntime/cpu/fp32"
