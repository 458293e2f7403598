"""BM25 candidates: an index over a pool of passages, and the passages nearest to each query."""

from __future__ import annotations

from collections.abc import Sequence

import bm25s
import numpy as np
from numpy.typing import NDArray


class Bm25Index:
    """BM25 (Lucene's variant, k1 1.5, b 0.75) over a pool; English stop words left out."""

    def __init__(self, passages: Sequence[str]) -> None:
        if not passages:
            raise ValueError("an index over no passages: give at least one")
        self.passages = list(passages)
        tokens = bm25s.tokenize(self.passages, stopwords="en", show_progress=False)
        self._index = bm25s.BM25(backend="numba")
        self._index.index(tokens, show_progress=False)

    def search(
        self, queries: Sequence[str], k: int, *, progress: bool = False
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Positions in the pool and scores, each (queries, k), best first.

        A query that shares no word with the pool gets positions of score 0: leave those out.
        """
        k = min(k, len(self.passages))
        tokens = bm25s.tokenize(
            list(queries), stopwords="en", return_ids=False, show_progress=False
        )
        # bm25s refuses a query without tokens; a token outside the vocabulary scores 0 instead.
        tokens = [words or ["\x00"] for words in tokens]
        found, scores = self._index.retrieve(tokens, k=k, show_progress=progress)
        return np.asarray(found, dtype=np.int64), np.asarray(scores, dtype=np.float32)
