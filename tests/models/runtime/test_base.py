"""Streams: which of them computes, how many at once, and what becomes of one that fails."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest

from retort.models.arrays import LogitArray
from retort.models.encoding import Batch
from retort.models.runtime.base import Streams, each_stream, shared_threads
from tests.fake_bundle import FakeBackend

BATCH = Batch(*np.ones((3, 1, 4), dtype=np.int64))


def named(number: int) -> FakeBackend:
    return FakeBackend(lambda batch: np.full((1, 1), number, dtype=np.float32))


def test_batches_one_by_one_reach_every_stream_in_turn() -> None:
    streams = Streams([named(0), named(1), named(2)])
    assert [float(streams.infer(BATCH)[0, 0]) for _ in range(6)] == [0, 1, 2, 0, 1, 2]


def test_each_stream_has_a_batch_at_once() -> None:
    together = Barrier(3, timeout=5)

    def infer(batch: Batch) -> LogitArray:
        together.wait()
        return np.zeros((1, 1), dtype=np.float32)

    streams = Streams([FakeBackend(infer) for _ in range(3)])
    with ThreadPoolExecutor(6) as pool:
        assert len(list(pool.map(streams.infer, [BATCH] * 6))) == 6


def test_a_stream_that_fails_computes_again() -> None:
    def fail(batch: Batch) -> LogitArray:
        raise MemoryError("too large")

    streams = Streams([FakeBackend(fail)])
    for _ in range(2):
        with pytest.raises(MemoryError, match="too large"):
            streams.infer(BATCH)


def test_a_backend_without_streams_is_its_own() -> None:
    one, other = named(0), named(1)
    assert each_stream(one) == (one,)
    assert each_stream(Streams([one, other])) == (one, other)


def test_threads_are_shared_out() -> None:
    assert shared_threads(8, 3) == (3, 3, 2)
    assert shared_threads(2, 4) == (1, 1, 1, 1)
