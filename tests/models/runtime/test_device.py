from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from retort.models.bundle import Bundle
from retort.models.encoding import Batch
from retort.models.runtime.device import GRAPH_ID, MAX_GRAPHS, DeviceRunner
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
    monkeypatch.setattr("retort.models.runtime.device.MAX_GRAPHS", 1)
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
