from __future__ import annotations

import numpy as np
import pytest

from retort.models.scores import combine


def test_equation_six() -> None:
    logits = np.array([[0.3, -2.0, 5.0], [1.0, 1.0, 1.0]], dtype=np.float32)
    heads = 1 / (1 + np.exp(-logits.astype(np.float64)))
    scores = combine(logits)
    assert scores.score == pytest.approx(heads.mean(axis=1))
    assert scores.spread == pytest.approx(heads.std(axis=1))
    assert scores.finite.all()


def test_the_docstrings_example() -> None:
    scores = combine(np.array([[0.0, 0.0], [4.0, -4.0]], dtype=np.float32))
    assert scores.score == pytest.approx([0.5, 0.5])
    assert scores.spread == pytest.approx([0.0, 0.482], abs=1e-3)


def test_extreme_logits_do_not_overflow() -> None:
    scores = combine(np.array([[1e4, 1e4], [-1e4, -1e4]], dtype=np.float32))
    assert scores.score.tolist() == [1.0, 0.0]


def test_scores_that_are_no_numbers_are_marked() -> None:
    logits = np.array([[0.0, np.nan], [np.inf, 0.0], [1.0, 1.0]], dtype=np.float32)
    scores = combine(logits)
    assert scores.finite.tolist() == [False, False, True]
    assert np.isfinite(scores.score).all()


def test_close_half_precision_logits_stay_apart() -> None:
    logits = np.array([[9.0], [9.0078125]], dtype=np.float16)
    first, second = combine(logits).score
    assert first < second
