"""The score store: found by content, kept through a kill, never silently incomplete."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from retort.training.data.pairs import Pair
from retort.training.labels.label import label
from retort.training.labels.store import Floats, ScoreStore, StoreError, pair_keys

PAIRS = [Pair(f"q{n}", f"p{n}") for n in range(10)]


class LengthTeacher:
    """Scores a pair by its number; fails after `budget` pairs, as a killed process would."""

    name = "length"
    identity = "abc"
    block_pairs = 4

    def __init__(self, budget: int = 1000) -> None:
        self.asked: list[str] = []
        self.budget = budget

    def score(self, pairs: Sequence[Pair], progress: bool = False) -> Floats:
        if len(self.asked) + len(pairs) > self.budget:
            raise KeyboardInterrupt
        self.asked += [pair.query for pair in pairs]
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


def test_a_pair_is_asked_once_however_often_it_stands_there(tmp_path: Path) -> None:
    teacher = LengthTeacher()
    label(teacher, [*PAIRS, *PAIRS], ScoreStore(tmp_path), quiet)
    assert sorted(teacher.asked) == sorted(pair.query for pair in PAIRS)


def test_targets_are_standardised_and_the_scale_stays(tmp_path: Path) -> None:
    store = ScoreStore(tmp_path)
    label(LengthTeacher(), PAIRS, store, quiet)
    targets = store.teacher("length", "abc").targets(PAIRS)
    assert targets.mean() == pytest.approx(0, abs=1e-6)
    assert targets.std() == pytest.approx(1, abs=1e-6)
    label(LengthTeacher(), [*PAIRS, Pair("q1000", "far")], store, quiet)
    assert store.teacher("length", "abc").targets(PAIRS).tolist() == targets.tolist()


def test_a_missing_score_and_a_broken_one_are_errors(tmp_path: Path) -> None:
    store = ScoreStore(tmp_path)
    label(LengthTeacher(), PAIRS[:5], store, quiet)
    scores = store.teacher("length", "abc")
    with pytest.raises(StoreError, match="length: 5 of 10 pairs have no score; run `retort label`"):
        scores.targets(PAIRS)
    with pytest.raises(StoreError, match="not finite"):
        scores.add(pair_keys(PAIRS[5:6]), np.array([np.nan], dtype=np.float32))
    with pytest.raises(StoreError, match="no scale yet"):
        store.teacher("other", "def").scale()
