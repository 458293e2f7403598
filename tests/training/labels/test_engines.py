"""Engines: scores of another engine serve if they are the same, earlier stores are taken over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from retort.training.data.pairs import Pair
from retort.training.labels.engines import TOLERANCE
from retort.training.labels.label import label
from retort.training.labels.store import Floats, ScoreStore, StoreError, pair_keys
from retort.training.teachers.scoring.scorer import Scorer

PAIRS = [Pair(f"q{number}", f"p{number}") for number in range(60)]
TRUE = np.random.default_rng(1).normal(2.0, 3.0, len(PAIRS)).astype(np.float32)


@dataclass(frozen=True)
class Moved(Scorer):
    """True scores, each a share of their deviation off."""

    name: str = "t"
    identity: str = "abc"
    off: float = 0.0

    def score(self, pairs: Sequence[Pair], progress: bool = False) -> Floats:
        rows = [int(pair.query[1:]) for pair in pairs]
        signs = np.where(np.array(rows) % 2, 1, -1)
        moved: Floats = (TRUE[rows] + self.off * TRUE.std() * signs).astype(np.float32)
        return moved


def test_scores_of_another_engine_serve_if_they_agree(tmp_path: Path) -> None:
    store, said = ScoreStore(tmp_path), list[str]()
    label(Moved(engine="gpu"), PAIRS[:40], store, said.append)
    assert len(said) == 1
    label(Moved(engine="cpu", off=0.5 * TOLERANCE), PAIRS, store, said.append)
    assert "cpu gives the scores that gpu left: on 40 pairs they are 0.0" in said[1]
    kept = store.teacher("t", "abc")
    assert kept.engines == {"gpu", "cpu"}
    assert kept.lookup(pair_keys(PAIRS[:40])).tolist() == TRUE[:40].tolist()
    # What agreed once is not asked again.
    label(Moved(engine="cpu", off=9.0), PAIRS, store, said.append)
    assert len(said) == 4


def test_scores_of_another_engine_are_refused_if_they_differ(tmp_path: Path) -> None:
    store = ScoreStore(tmp_path)
    label(Moved(engine="gpu"), PAIRS[:40], store, lambda text: None)
    with pytest.raises(StoreError, match=r"cpu gives other scores .* gpu left.*0\.05\d of a"):
        label(Moved(engine="cpu", off=2 * TOLERANCE), PAIRS, store, lambda text: None)
    assert len(store.teacher("t", "abc")) == 40


def test_what_an_earlier_version_kept_is_taken_over_if_it_agrees(tmp_path: Path) -> None:
    store, said = ScoreStore(tmp_path), list[str]()
    label(Moved(identity="old"), PAIRS, store, lambda text: None)
    store.teacher("t", "abc")  # whoever looked before left an empty folder
    label(Moved(engine="cpu", former=("older", "old")), PAIRS, store, said.append)
    assert "scores of an earlier version, old, are now abc" in said[0]
    assert len(store.teacher("t", "abc")) == len(PAIRS)
    assert not (tmp_path / "old").exists()
    label(Moved(identity="other"), PAIRS[:40], store, lambda text: None)
    changed = Moved(identity="new", engine="cpu", off=1.0, former=("other",))
    with pytest.raises(StoreError, match="an engine that is not recorded"):
        label(changed, PAIRS, store, lambda text: None)


def test_what_an_earlier_version_read_otherwise_is_told_and_left(tmp_path: Path) -> None:
    store, said = ScoreStore(tmp_path), list[str]()
    label(Moved(identity="old", off=1.0), PAIRS, store, lambda text: None)
    label(Moved(outdated=("old",)), PAIRS, store, said.append)
    assert "of an earlier version, which read its pairs otherwise" in said[0]
    assert store.teacher("t", "abc").lookup(pair_keys(PAIRS)).tolist() == TRUE.tolist()
