"""The dense search compares everything, in blocks, and draws evenly over the scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from retort.training.data.mining import dense
from retort.training.data.mining.dense import Vectors, nearest, spread


class Numbers:
    """The text "3" lies at 3 degrees of a circle, as far out as it is long."""

    def query_vectors(self, texts: Sequence[str]) -> Vectors:
        angles = np.radians([float(text) for text in texts])
        lengths = np.asarray([[len(text)] for text in texts])
        points = lengths * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        return np.asarray(points, dtype=np.float32)

    passage_vectors = query_vectors


def test_the_nearest_come_first_whatever_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    passages = ["90", "10", "40", "0", "170", "44"]
    queries = ["1", "42.5", "180"]
    whole = [(p.tolist(), c.tolist()) for p, c in nearest(Numbers(), queries, passages, 3)]
    assert [places for places, _ in whole] == [[3, 1, 2], [5, 2, 1], [4, 0, 5]]
    assert whole[0][1] == pytest.approx(np.cos(np.radians([1, 9, 39])), abs=1e-6)
    monkeypatch.setattr(dense, "BLOCK_COSINES", 6)  # one query at a time
    again = [places.tolist() for places, _ in nearest(Numbers(), queries, passages, 3)]
    assert again == [places for places, _ in whole]


def test_of_equals_the_first_is_nearer() -> None:
    ((places, _),) = nearest(Numbers(), ["0"], ["5", "20", "5", "1", "5"], 3)
    assert places.tolist() == [3, 0, 2]


def test_there_are_no_more_neighbours_than_passages() -> None:
    ((places, cosines),) = nearest(Numbers(), ["0"], ["5", "2"], 9)
    assert places.tolist() == [1, 0]
    assert cosines.shape == (2,)


def test_scores_are_drawn_over_their_range_and_not_over_their_ranks() -> None:
    cosines = np.array([0.9, 0.89, 0.88, 0.87, 0.5, 0.1, 0.09], dtype=np.float32)
    free = np.ones(7, dtype=bool)
    assert spread(cosines, 3, free) == [3, 4, 5]  # middles at 0.765, 0.495 and 0.225
    free[[3, 4]] = False
    assert spread(cosines, 3, free) == [2, 1, 5]
    assert len(spread(cosines, 9, free)) == 5
