"""Hidden states: kept whole, found again, and the loss as the formula says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from retort.training.labels.hidden import HiddenStates, hidden_loss, variance
from retort.training.labels.store import StoreError

KEYS = np.array([11, 22, 33], dtype=np.uint64)


def some_vectors(rows: int, width: int = 4) -> np.ndarray:
    return np.random.default_rng(rows).standard_normal((rows, width)).astype(np.float32)


def test_vectors_are_found_again_after_a_restart(tmp_path: Path) -> None:
    first, second = some_vectors(3), some_vectors(1)
    states = HiddenStates(tmp_path, "ce")
    states.add(KEYS, first)
    states.add(np.array([44], dtype=np.uint64), second)
    again = HiddenStates(tmp_path, "ce")
    assert len(again) == 4
    found = again.lookup(np.array([44, 22], dtype=np.uint64)).numpy()
    np.testing.assert_allclose(found, np.stack([second[0], first[1]]), atol=2e-3)


def test_a_part_that_was_cut_short_does_not_count(tmp_path: Path) -> None:
    HiddenStates(tmp_path, "ce").add(KEYS, some_vectors(3))
    (tmp_path / "part-00000.keys.npy").unlink()
    states = HiddenStates(tmp_path, "ce")
    assert states.missing(KEYS).all()
    states.add(KEYS, some_vectors(3))
    assert not states.missing(KEYS).any()


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    states = HiddenStates(tmp_path, "ce")
    states.add(KEYS[:2], some_vectors(2))
    assert states.missing(KEYS).tolist() == [False, False, True]
    with pytest.raises(StoreError, match="ce: 1 of 3 pairs have no hidden state"):
        states.lookup(KEYS)


def test_the_loss_is_the_squared_error_over_the_variance() -> None:
    targets = some_vectors(50)
    states = np.random.default_rng(0).standard_normal((50, 7, 4)).astype(np.float32)
    scale = variance(torch.from_numpy(targets))
    assert scale == pytest.approx(targets.var(axis=0, ddof=1).mean(), rel=1e-5)
    expected = ((states[:, 0] - targets) ** 2).mean() / scale
    found = hidden_loss(torch.from_numpy(states), torch.from_numpy(targets), scale)
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_a_constant_student_reaches_about_one() -> None:
    targets = torch.from_numpy(some_vectors(2000))
    states = targets.mean(0).expand(2000, 1, 4)
    assert float(hidden_loss(states, targets, variance(targets))) == pytest.approx(1.0, abs=0.01)


def test_unequal_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="the student is 8 wide and the teacher 4"):
        hidden_loss(torch.zeros(2, 3, 8), torch.zeros(2, 4), 1.0)
