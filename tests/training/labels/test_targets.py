"""Targets: standardised logits as they are, log-odds that mean what they say, silence as NaN."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from retort.training.data.pairs import Pair
from retort.training.data.table import PairTable
from retort.training.labels.store import ScoreStore, StoreError, pair_keys
from retort.training.labels.targets import gather_targets
from retort.training.recipes.parts.teacher import TeacherRef

TEACHERS = (
    TeacherRef(name="far", path="f"),
    TeacherRef(name="near", path="n", sources=["web"]),
)
IDENTITIES = {"far": "1" * 16, "near": "2" * 16}


def fill(root: Path, count: int = 4000) -> PairTable:
    rng = np.random.default_rng(3)
    # A score whose true log-odds are 2 z - 1, told on a scale of hundreds.
    z = rng.normal(size=count)
    labels = (rng.random(count) < 1 / (1 + np.exp(-(2 * z - 1)))).astype(float)
    pairs = [Pair(f"q{i}", f"p{i}", float(label)) for i, label in enumerate(labels)]
    sources = ["web" if i % 2 else "books" for i in range(count)]
    store = ScoreStore(root)
    for name in ("far", "near"):
        scores = store.teacher(name, IDENTITIES[name])
        scores.add(pair_keys(pairs), (300 + 50 * z).astype(np.float32))
        scores.calibrate(pair_keys(pairs))
    return PairTable(pairs, sources)


def test_log_odds_are_calibrated_on_labels_and_targets_are_standardised(tmp_path: Path) -> None:
    own = fill(tmp_path)
    found = gather_targets(tmp_path, TEACHERS, IDENTITIES, own, own)
    assert found.targets.shape == found.odds.shape == (len(own), 2)
    far = found.targets[:, 0]
    assert float(far.mean()) == pytest.approx(0, abs=1e-3)
    assert float(far.std()) == pytest.approx(1, abs=1e-3)
    slope = float((found.odds[:, 0] - found.odds[0, 0])[1] / (far - far[0])[1])
    assert slope == pytest.approx(2.0, abs=0.15)
    labels = torch.tensor([pair.label or 0.0 for pair in own.pairs])
    likely = torch.sigmoid(found.odds[:, 0])
    assert float(likely.mean()) == pytest.approx(float(labels.mean()), abs=0.01)


def test_a_teacher_of_raw_scale_is_learned_as_it_is_and_calibrated_alike(tmp_path: Path) -> None:
    own = fill(tmp_path)
    raw = TEACHERS[0].model_copy(update={"scale": "raw"})
    found = gather_targets(tmp_path, [raw], IDENTITIES, own, own)
    assert float(found.targets.mean()) == pytest.approx(300, abs=3)
    assert float(found.targets.std()) == pytest.approx(50, abs=3)
    alike = gather_targets(tmp_path, TEACHERS[:1], IDENTITIES, own, own)
    assert found.odds.equal(alike.odds)


def test_a_teacher_of_one_source_is_silent_elsewhere(tmp_path: Path) -> None:
    own = fill(tmp_path, 200)
    found = gather_targets(tmp_path, TEACHERS, IDENTITIES, own, own)
    silent = torch.tensor([source != "web" for source in own.sources])
    for column in (found.targets[:, 1], found.odds[:, 1]):
        assert column.isnan().equal(silent)


def test_without_labels_odds_are_the_standardised_logits(tmp_path: Path) -> None:
    own = fill(tmp_path, 50)
    found = gather_targets(tmp_path, TEACHERS[:1], IDENTITIES, own, PairTable([], []))
    assert found.odds.equal(found.targets)


def test_a_missing_score_is_an_error(tmp_path: Path) -> None:
    own = fill(tmp_path, 50)
    more = PairTable([*own.pairs, Pair("new", "new")], [*own.sources, "web"])
    with pytest.raises(StoreError, match="1 of 51 pairs have no score"):
        gather_targets(tmp_path, TEACHERS[:1], IDENTITIES, more, PairTable([], []))
