"""The score store and hidden states: found by content, kept through a kill, never incomplete."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from retort.training.data.pairs import Pair
from retort.training.labels.label import label
from retort.training.labels.store import (
    Floats,
    HiddenStates,
    ScoreStore,
    StoreError,
    hidden_loss,
    pair_keys,
    variance,
)
from retort.training.teachers.scoring.scorer import Scorer

PAIRS = [Pair(f"q{n}", f"p{n}") for n in range(10)]


@dataclass(frozen=True)
class LengthTeacher(Scorer):
    """Scores a pair by its number; fails after `budget` pairs, as a killed process would."""

    block_pairs: ClassVar[int] = 4

    name: str = "length"
    identity: str = "abc"
    budget: int = 1000
    asked: list[str] = field(default_factory=list)

    def score(self, pairs: Sequence[Pair], progress: bool = False) -> Floats:
        if len(self.asked) + len(pairs) > self.budget:
            raise KeyboardInterrupt
        self.asked.extend(pair.query for pair in pairs)
        return np.array([float(pair.query[1:]) for pair in pairs], dtype=np.float32)


def quiet(text: str) -> None:
    return None


def test_keys_tell_query_from_passage() -> None:
    assert Pair("ab", "c").key != Pair("a", "bc").key
    assert Pair("a", "b", 1.0, "x").key == Pair("a", "b", None, "y").key


def test_a_killed_labelling_goes_on_where_it_was(tmp_path: Path) -> None:
    store = ScoreStore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        label(LengthTeacher(budget=8), PAIRS, store, quiet)
    second = LengthTeacher()
    scores = label(second, PAIRS, store, quiet)
    assert second.asked == ["q8", "q9"]
    assert scores.lookup(pair_keys(PAIRS)).tolist() == [float(n) for n in range(10)]


def test_a_pair_is_scored_once_however_often_it_is_there(tmp_path: Path) -> None:
    teacher = LengthTeacher()
    label(teacher, [*PAIRS, *PAIRS], ScoreStore(tmp_path), quiet)
    assert sorted(teacher.asked) == sorted(pair.query for pair in PAIRS)


def test_targets_are_standardised_and_the_scale_stays(tmp_path: Path) -> None:
    store = ScoreStore(tmp_path)
    label(LengthTeacher(), PAIRS, store, quiet)
    targets = store.teacher("length", "abc").standardised(PAIRS)
    assert targets.mean() == pytest.approx(0, abs=1e-6)
    assert targets.std() == pytest.approx(1, abs=1e-6)
    label(LengthTeacher(), [*PAIRS, Pair("q1000", "far")], store, quiet)
    assert store.teacher("length", "abc").standardised(PAIRS).tolist() == targets.tolist()


def test_parts_of_earlier_versions_count(tmp_path: Path) -> None:
    scores = ScoreStore(tmp_path).teacher("length", "abc")
    scores.add(pair_keys(PAIRS[:4]), np.arange(4))
    (part,) = scores.folder.glob("part-*.parquet")
    part.rename(scores.folder / "part-00000.parquet")
    teacher = LengthTeacher()
    label(teacher, PAIRS, ScoreStore(tmp_path), quiet)
    assert teacher.asked == [pair.query for pair in PAIRS[4:]]


def test_a_missing_score_and_a_broken_one_are_errors(tmp_path: Path) -> None:
    store = ScoreStore(tmp_path)
    label(LengthTeacher(), PAIRS[:5], store, quiet)
    scores = store.teacher("length", "abc")
    with pytest.raises(StoreError, match="length: 5 of 10 pairs have no score; run `retort label`"):
        scores.standardised(PAIRS)
    with pytest.raises(StoreError, match="not finite"):
        scores.add(pair_keys(PAIRS[5:6]), np.array([np.nan], dtype=np.float32))
    with pytest.raises(StoreError, match="no scale yet"):
        store.teacher("other", "def").scale()


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
    (keys,) = tmp_path.glob("part-*.keys.npy")
    keys.unlink()
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
    states = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    scale = variance(torch.from_numpy(targets))
    assert scale == pytest.approx(targets.var(axis=0, ddof=1).mean(), rel=1e-5)
    expected = ((states - targets) ** 2).mean() / scale
    found = hidden_loss(torch.from_numpy(states), torch.from_numpy(targets), scale)
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_a_constant_student_reaches_about_one() -> None:
    targets = torch.from_numpy(some_vectors(2000))
    states = targets.mean(0).expand(2000, 4)
    assert float(hidden_loss(states, targets, variance(targets))) == pytest.approx(1.0, abs=0.01)


def test_unequal_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="the student is 8 wide and the teacher 4"):
        hidden_loss(torch.zeros(2, 8), torch.zeros(2, 4), 1.0)
