from __future__ import annotations

import time

import numpy as np
import pytest

from retort.service.engine.pairs import Pairs
from tests.fake_bundle import make_encoder
from tests.tiny_texts import PASSAGES, QUERIES

ENCODER = make_encoder()


def test_a_batch_is_what_the_encoder_lays_out() -> None:
    encoded = ENCODER.encode(QUERIES[0], [*PASSAGES, "", "old " * 100])
    pairs = Pairs.join([Pairs.of(encoded[:2]), Pairs.of(encoded[2:])])
    rows = np.array([5, 0, 3])
    found = pairs.take(rows).batch(64, ENCODER.pad_id)
    right = ENCODER.collate([encoded[row] for row in rows], 64)
    for one, other in zip(found.arrays, right.arrays, strict=True):
        assert one.dtype == other.dtype == np.int64
        assert one.tolist() == other.tolist()
    assert pairs.tokens == sum(map(len, encoded))


@pytest.mark.slow
def test_a_full_batch_costs_no_loop_over_its_pairs() -> None:
    parts = [Pairs(np.ones(1280, np.uint16), np.full(10, 128), np.full(10, 12)) for _ in range(13)]
    rows = np.arange(10)[::-1].copy()
    times = []
    for _ in range(50):
        start = time.perf_counter()
        Pairs.join([part.take(rows) for part in parts]).batch(128, 0)
        times.append(time.perf_counter() - start)
    # A loop over 130 pairs takes about a millisecond.
    assert min(times) < 0.0007
