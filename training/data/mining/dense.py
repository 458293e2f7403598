"""The passages nearest to a query by the cosine of their vectors; all are compared, in blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

BLOCK_COSINES = 2**24  # 64 MB of them at a time


class Embedder(Protocol):
    """A bi-encoder: vectors (texts, width) of queries and of passages."""

    def query_vectors(self, texts: Sequence[str]) -> Vectors: ...

    def passage_vectors(self, texts: Sequence[str]) -> Vectors: ...


def nearest(
    embedder: Embedder, queries: Sequence[str], passages: Sequence[str], k: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """For each of `queries`, in order, positions and cosines (k,) of the `passages` nearest to it.

    The nearest comes first; of equals, the one that stands first. There are fewer than `k` where
    there are fewer passages.
    """
    asked, pool = unit(embedder.query_vectors(queries)), unit(embedder.passage_vectors(passages))
    k = min(k, len(pool))
    rows = max(1, BLOCK_COSINES // len(pool))
    for start in range(0, len(asked), rows):
        cosines = asked[start : start + rows] @ pool.T
        least = np.partition(cosines, len(pool) - k, axis=1)[:, len(pool) - k]
        for own, low in zip(cosines, least, strict=True):
            best = np.flatnonzero(own >= low)
            best = best[np.argsort(-own[best], kind="stable")[:k]]
            yield best, own[best]


def unit(vectors: Vectors) -> Vectors:
    """The vectors (texts, width) at length 1."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)


def spread(cosines: NDArray[np.float32], count: int, free: NDArray[np.bool_]) -> list[int]:
    """Up to `count` places in `cosines` (k,), best first, spread evenly over the range of values.

    The range is cut into `count` equal parts, and of each part the place nearest to its middle is
    taken that is still `free` (k,).

    Example: of cosines 0.9, 0.8, 0.2, 0.1 all free, two are places 0 or 1, and 2 or 3.
    """
    high, low = float(cosines[0]), float(cosines[-1])
    open_, taken = free.copy(), []
    for part in range(min(count, int(free.sum()))):
        middle = high - (part + 0.5) * (high - low) / count
        place = int(np.where(open_, np.abs(cosines - middle), np.inf).argmin())
        open_[place] = False
        taken.append(place)
    return taken
