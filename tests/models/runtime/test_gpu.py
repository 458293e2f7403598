from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from retort.models.bundle import Bundle
from retort.models.encoding import Batch
from retort.models.manifest import Range, ShapeProfile
from retort.models.runtime.gpu import (
    GRAPH_ID,
    MAX_GRAPHS,
    DeviceRunner,
    cut,
    faster_alike,
    one_profile,
    pad,
    padded_columns,
    padded_rows,
    row_buckets,
)
from retort.models.runtime.onnxruntime import OnnxRuntimeBackend, open_session
from tests.tiny_texts import PASSAGES, QUERIES

LONGEST = 64


class RecordedSession:
    """A session on the CPU that notes of each run its shape, its CUDA graph and its thread."""

    def __init__(self, bundle: Bundle) -> None:
        self._session = open_session(bundle.graph_path, "cpu", {}, threads=1)
        self.graphs: list[str | None] = []
        self.threads: set[str] = set()
        self.bindings: list[Any] = []

    def get_outputs(self) -> Any:
        return self._session.get_outputs()

    def io_binding(self) -> Any:
        self.bindings.append(self._session.io_binding())
        return self.bindings[-1]

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        try:
            self.graphs.append(options.get_run_config_entry(GRAPH_ID))
        except Exception:  # ONNX Runtime's own for an entry that is not there
            self.graphs.append(None)
        self.threads.add(threading.current_thread().name)
        self._session.run_with_iobinding(binding, options)


def made(bundle: Bundle, rows: int, length: int = 44) -> Batch:
    """A batch of pairs that are all different."""
    encoder = bundle.encoder()
    pairs = [pair for query in QUERIES for pair in encoder.encode(query, PASSAGES)]
    return encoder.collate([pairs[row % len(pairs)] for row in range(rows)], length)


@pytest.fixture
def session(tiny_bundle: Bundle) -> RecordedSession:
    return RecordedSession(tiny_bundle)


def test_padded_batches_score_as_they_are(tiny_bundle: Bundle, session: RecordedSession) -> None:
    plain = OnnxRuntimeBackend(tiny_bundle.graph_path, threads=1)
    runner = DeviceRunner(session, device="cpu", longest=LONGEST)
    for rows in (1, 3, 10, 16, 33):
        batch = made(tiny_bundle, rows)
        assert runner.infer(batch) == pytest.approx(plain.infer(batch), abs=1e-5)
    assert session.graphs == [None] * 5


def test_a_shape_that_comes_back_finds_its_buffers(
    tiny_bundle: Bundle, session: RecordedSession
) -> None:
    runner = DeviceRunner(session, device="cpu", longest=LONGEST, graphs=True)
    first = runner.infer(made(tiny_bundle, 3))
    kept = first.copy()
    runner.infer(made(tiny_bundle, 4))
    runner.infer(made(tiny_bundle, 12))
    runner.infer(made(tiny_bundle, 11, length=48))
    # 3 and 4 rows share a bucket, 11 and 12 too: two bindings, and a CUDA graph to each.
    assert len(session.bindings) == 2
    assert session.graphs == ["0", "0", "1", "1"]
    assert (first == kept).all(), "an answer was overwritten by the next batch"


def test_past_so_many_shapes_none_is_recorded(
    tiny_bundle: Bundle, session: RecordedSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_GRAPHS > 100
    monkeypatch.setattr("retort.models.runtime.gpu.MAX_GRAPHS", 1)
    runner = DeviceRunner(session, device="cpu", longest=LONGEST, graphs=True)
    for rows in (1, 2, 1, 2):
        runner.infer(made(tiny_bundle, rows))
    assert session.graphs == ["0", "-1", "0", "-1"]


def test_a_larger_batch_is_run_in_parts(tiny_bundle: Bundle, session: RecordedSession) -> None:
    plain = OnnxRuntimeBackend(tiny_bundle.graph_path, threads=1)
    runner = DeviceRunner(session, device="cpu", longest=LONGEST, max_rows=7)
    batch = made(tiny_bundle, 16)
    assert runner.infer(batch) == pytest.approx(plain.infer(batch), abs=1e-5)
    assert len(session.graphs) == 3


def test_one_thread_runs_what_many_ask(tiny_bundle: Bundle, session: RecordedSession) -> None:
    plain = OnnxRuntimeBackend(tiny_bundle.graph_path, threads=1)
    runner = DeviceRunner(session, device="cpu", longest=LONGEST, graphs=True)
    batches = [made(tiny_bundle, rows) for rows in (1, 3, 5, 8)] * 8
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(runner.infer, batches))
    for batch, logits in zip(batches, found, strict=True):
        assert logits == pytest.approx(plain.infer(batch), abs=1e-5)
    assert len(session.threads) == 1
    assert "MainThread" not in session.threads


def test_trying_out_runs_the_first_shape_twice(session: RecordedSession) -> None:
    DeviceRunner(session, device="cpu", longest=LONGEST, graphs=True).try_out()
    assert session.graphs == ["0", "0"]


def test_an_error_reaches_the_caller(session: RecordedSession) -> None:
    runner = DeviceRunner(session, device="cpu", longest=LONGEST)
    outside = np.full((1, 16), 10_000, dtype=np.int64)
    with pytest.raises(Exception, match="indices element out of data bounds"):
        runner.infer(Batch(outside, np.ones_like(outside), np.zeros_like(outside)))


def test_rows_are_padded_little_and_to_few_sizes() -> None:
    padded = [padded_rows(rows) for rows in range(1, 1025)]
    assert padded == sorted(padded)
    assert all(few <= many for few, many in enumerate(padded, 1))
    assert all(padded_rows(rows) == rows for rows in padded)
    # From sixteen rows on less than half is padding, from a hundred on less than a seventh.
    assert all(many < 1.5 * few for few, many in enumerate(padded, 1) if few >= 16)
    assert all(many < 1.15 * few for few, many in enumerate(padded, 1) if few >= 100)
    assert len(set(padded)) < 60
    assert [padded_rows(rows) for rows in (1, 2, 3, 10, 100)] == [1, 2, 4, 12, 112]


def test_every_bucket_is_named_once() -> None:
    assert row_buckets(300) == tuple(sorted({padded_rows(rows) for rows in range(1, 289)}))
    assert row_buckets(1) == (1,)
    assert len(row_buckets(4096)) < 100


def test_large_buckets_waste_an_eighth_at_most() -> None:
    for rows in range(100, 5_000):
        assert 1 - rows / padded_rows(rows) <= 0.125


def test_columns_never_pass_the_longest() -> None:
    assert [padded_columns(columns, 100) for columns in (1, 16, 17, 96, 97, 100)] == [
        16,
        16,
        32,
        96,
        100,
        100,
    ]


def test_padding_adds_rows_of_one_token_and_keeps_the_rest() -> None:
    ones = np.ones((2, 3), dtype=np.int64)
    batch = pad(Batch(5 * ones, ones, ones), 4, 8)
    assert batch.shape == (4, 8)
    assert batch.input_ids.sum() == 30
    assert batch.attention_mask.tolist() == [[1, 1, 1] + [0] * 5] * 2 + [[1] + [0] * 7] * 2
    assert batch.token_type_ids.sum() == 6


def test_a_part_of_a_batch() -> None:
    ids = np.arange(12).reshape(4, 3)
    part = cut(Batch(ids, ids + 1, ids + 2), 1, 3)
    assert part.input_ids.tolist() == [[3, 4, 5], [6, 7, 8]]
    assert part.token_type_ids.tolist() == [[5, 6, 7], [8, 9, 10]]


def profile(batch: tuple[int, int, int], sequence: tuple[int, int, int]) -> ShapeProfile:
    ranges = (Range(min=low, opt=usual, max=high) for low, usual, high in (batch, sequence))
    return ShapeProfile(batch=next(ranges), sequence=next(ranges))


def test_profiles_become_one() -> None:
    small, large = profile((1, 10, 16), (8, 64, 128)), profile((16, 64, 256), (8, 128, 128))
    assert one_profile([small, large]) == profile((1, 64, 256), (8, 128, 128))
    assert one_profile([]) is None


@pytest.mark.parametrize("rows", [1, 7, 33])
def test_what_is_padded_is_as_wide_as_asked(rows: int) -> None:
    ids = np.ones((rows, 5), dtype=np.int64)
    assert pad(Batch(ids, ids, ids), padded_rows(rows), 16).shape == (padded_rows(rows), 16)


class Timed:
    """A runner that takes its time; `off` is what it adds to each logit."""

    def __init__(self, seconds: float, off: float = 0.0) -> None:
        self._seconds, self._off = seconds, off

    def infer(self, batch: Batch) -> Any:
        time.sleep(self._seconds)
        return batch.attention_mask.sum(axis=1, keepdims=True) + self._off


def test_of_two_ways_the_quicker_is_taken_if_it_agrees() -> None:
    slow, quick, wrong = Timed(0.004), Timed(0.001, 0.01), Timed(0.0, 0.5)
    assert faster_alike(quick, slow, 128)  # type: ignore[arg-type]
    assert not faster_alike(slow, quick, 128)  # type: ignore[arg-type]
    assert not faster_alike(wrong, slow, 128)  # type: ignore[arg-type]
