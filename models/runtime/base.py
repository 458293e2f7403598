"""The backend protocol: a batch of token ids in, logits out; and what works with every backend.

Each backend has a file of its own in this folder. The protocol is also the seam for tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from time import perf_counter
from typing import Literal, Protocol

import numpy as np

from retort.models.arrays import LogitArray
from retort.models.encoding import Batch, EncodedPair, PairEncoder

Precision = Literal["fp32", "fp16", "bf16", "int8"]
# An ONNX graph: a file, or serialized. A bundle's is given as the bytes whose hash was checked.
Graph = Path | bytes

OUTPUT = "logits"
DIRECT_PAIRS = 16


class BackendUnavailable(Exception):
    """This backend, provider or precision cannot run here; the message says why."""


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """Names of what runs: for instance `openvino`, `cpu`, `bf16`."""

    backend: str
    provider: str
    precision: Precision

    def __str__(self) -> str:
        return f"{self.backend}/{self.provider}/{self.precision}"

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on a GPU, where larger batches pay."""
        return self.provider in ("cuda", "tensorrt")


class Backend(Protocol):
    """Runs a graph. `infer` may be called from several threads at once."""

    @property
    def info(self) -> BackendInfo:
        """Backend, provider and precision, as `/info` and the metrics show them."""
        ...

    def infer(self, batch: Batch) -> LogitArray:
        """Inputs (batch, sequence) int64 to logits (batch, heads) float32.

        Raises whatever its library raises; the server halves the batch and tries again.
        """
        ...


class Streams:
    """Computes as many batches at once as there are `backends`; one more waits for its turn.

    OpenVINO has streams of its own. A graph compiled for two of them gave wrong scores in one of
    three compilations (2026.4.1, in every precision, the golden pairs off by 0.1 to 0.3); compiled
    once per stream, never in hundreds of runs, and it is as fast. So a stream here is a backend of
    its own, and each has to reproduce the golden pairs.
    """

    def __init__(self, backends: Sequence[Backend]) -> None:
        self.backends = tuple(backends)
        # First in, first out: batches that come one by one reach every stream in turn.
        self._idle: SimpleQueue[Backend] = SimpleQueue()
        for backend in self.backends:
            self._idle.put(backend)
        self.info = self.backends[0].info

    def infer(self, batch: Batch) -> LogitArray:
        """Inputs (batch, sequence) to logits (batch, heads). Raises what the stream raises."""
        backend = self._idle.get()
        try:
            return backend.infer(batch)
        finally:
            self._idle.put(backend)


def each_stream(backend: Backend) -> tuple[Backend, ...]:
    """The backends that `backend` is made of; itself if it is one."""
    return backend.backends if isinstance(backend, Streams) else (backend,)


def shared_threads(threads: int, streams: int) -> tuple[int, ...]:
    """How many of `threads` each stream gets, at least one.

    >>> shared_threads(8, 3)
    (3, 3, 2)
    """
    share, more = divmod(threads, streams)
    return tuple(max(1, share + (number < more)) for number in range(streams))


def infer_pairs(
    backend: Backend,
    encoder: PairEncoder,
    pairs: Sequence[EncodedPair],
    at_once: int = DIRECT_PAIRS,
    padded: Callable[[int], int] = lambda length: length,
) -> LogitArray:
    """Logits (pairs, heads) in the order of `pairs`, without a queue.

    Pairs of like length share a batch of `at_once` of them, at most; `padded` says to what length
    one is padded.
    """
    batches = like_length(pairs, at_once)
    parts = []
    for rows in batches:
        length = padded(len(pairs[rows[-1]]))
        parts.append(backend.infer(encoder.collate([pairs[row] for row in rows], length)))
    return in_order(batches, parts)


def like_length(pairs: Sequence[EncodedPair], at_once: int = DIRECT_PAIRS) -> list[list[int]]:
    """The indices of `pairs` in batches of `at_once`, shortest first in and among them."""
    order = sorted(range(len(pairs)), key=lambda index: len(pairs[index]))
    return [order[start : start + at_once] for start in range(0, len(order), at_once)]


def in_order(batches: Sequence[Sequence[int]], parts: Sequence[LogitArray]) -> LogitArray:
    """Logits (pairs, heads) in the order of the pairs, from those of each of the `batches`."""
    logits = np.concatenate(parts)
    logits[[index for rows in batches for index in rows]] = logits.copy()
    return logits


def same_batch(rows: int, columns: int, token: int) -> Batch:
    """A batch (rows, columns) of nothing but `token`, to warm a backend or to time it."""
    ids = np.full((rows, columns), token, dtype=np.int64)
    return Batch(ids, np.ones_like(ids), np.zeros_like(ids))


def fastest(infer: Callable[[Batch], LogitArray], batch: Batch, runs: int) -> float:
    """Seconds of the fastest of `runs` passes of `batch`: what else goes on only adds to them."""
    times = []
    for _ in range(runs):
        start = perf_counter()
        infer(batch)
        times.append(perf_counter() - start)
    return min(times)
