"""Streams: several backends of the same graph as one; a batch goes to one that is idle.

OpenVINO has streams of its own. A graph compiled for two of them gave wrong scores in one of three
compilations (2026.4.1, in every precision, the golden pairs off by 0.1 to 0.3); compiled once for
each stream, in none of hundreds, and it is as fast. So a stream here is a backend of its own, and
each has to reproduce the golden pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from queue import SimpleQueue

from retort.models.encoding import Batch
from retort.models.runtime.base import Backend, BackendInfo, LogitArray


class Streams:
    """Computes as many batches at once as there are `backends`; one more waits for its turn."""

    def __init__(self, backends: Sequence[Backend]) -> None:
        self.backends = tuple(backends)
        # First in, first out: batches that come one by one reach every stream in turn.
        self._idle: SimpleQueue[Backend] = SimpleQueue()
        for backend in self.backends:
            self._idle.put(backend)

    @property
    def info(self) -> BackendInfo:
        """What runs, the same in every stream."""
        return self.backends[0].info

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
