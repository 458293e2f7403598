"""Measuring: averaged over heads, students and teachers, calibrated on the first set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from retort.models.scores import combine
from retort.training.data.evaluation_set import EvaluationSet, read_sets
from retort.training.evaluate.calibration import fit
from retort.training.labels.store import ScoreStore, StoreError
from retort.training.study.measure import (
    Opinion,
    figures,
    opinions,
    score_teachers,
    spread_error,
)
from retort.training.study.records import TeachersRecord, find_record
from tests.training.backbones import save_backbone
from tests.training.saved_teachers import save_checkpoint
from tests.training.study.tiny_study import dataset, load_study, make_pairs, save_study

pytestmark = pytest.mark.slow

Floats = NDArray[np.float64]

DEV = EvaluationSet("dev", make_pairs("had"), "classification")
TEST = EvaluationSet("test", make_pairs("has"), "classification")
RANKS = EvaluationSet("ranks", make_pairs("has"))


def test_all_heads_of_all_students_are_averaged_and_their_mean_is_calibrated(
    tmp_path: Path,
) -> None:
    backbone = save_backbone(tmp_path / "backbone")
    folders = [save_checkpoint(tmp_path / f"m{n}", backbone, heads=2, seed=n) for n in (1, 2)]
    both = opinions(folders, [DEV, TEST])
    assert both["test"].logits.shape == (64, 4)
    # No head weighs more than another, whatever the labels of the first set would have it.
    plain = combine(both["test"].logits).score
    order = np.argsort(plain, kind="stable")
    assert (np.diff(both["test"].scores.score[order]) >= 0).all()
    # The map is the one that the first set's labels ask for, whatever the second's are.
    fitted = fit(both["dev"].logits, DEV.labels, per_head=False)
    assert fitted.mean.gain != pytest.approx(1.0, abs=1e-3)
    expected = fitted.probability(both["test"].logits)
    np.testing.assert_allclose(both["test"].scores.score, expected, atol=1e-12)


def test_figures_are_those_of_the_kind_of_set() -> None:
    right = TEST.labels.astype(float)
    found = figures([TEST, RANKS], {"test": right, "ranks": right})
    assert found["test"] == {"AUC": 1.0, "accuracy": 1.0}
    assert set(found["ranks"]) == set(RANKS.measures)


def opinion(heads: Floats) -> Opinion:
    logits = np.log(heads / (1 - heads))
    return Opinion(logits, combine(logits))


def test_spread_is_given_in_tenths_from_agreement_to_dispute() -> None:
    draw = np.random.default_rng(1)
    spread = np.linspace(0.0, 0.2, 64)
    middle = np.where(TEST.labels == 1, 0.7, 0.3)
    middle[-6:] = 1 - middle[-6:]  # wrong where the heads disagree most
    order = draw.permutation(64)
    heads = np.stack([middle - spread, middle + spread], axis=1)
    item = EvaluationSet("test", tuple(TEST.pairs[row] for row in order), "classification")
    parts = spread_error(item, opinion(heads[order]))
    assert sum(pairs for _, _, pairs in parts) == 64
    assert len(parts) == 10
    assert [error for _, error, _ in parts[:-1]] == [0.0] * 9
    assert parts[-1][1] == 1.0
    assert parts[-1][0] == pytest.approx(spread[-6:].mean())
    assert spread_error(item, opinion(heads[:, :1])) == ()


def test_the_ensemble_is_of_those_that_are_named(tmp_path: Path) -> None:
    path = save_study(tmp_path)
    study = load_study(path)
    assert score_teachers(study, study.datasets[0], print)
    assert not score_teachers(study, study.datasets[0], print)
    folder = tmp_path / "out/one/teachers"
    record = find_record(TeachersRecord, folder / "run.json")
    assert record is not None
    assert record.ensemble == ["ce", "bi"]
    (dev,) = read_sets(tmp_path / "choose")
    with np.load(folder / "scores.npz") as arrays:
        both = arrays["ensemble/words"]
        stacked = np.stack([arrays["ce/words"], arrays["bi/words"]], axis=1)
    # What the teachers said is in the store, but no scale was fixed on it.
    scores = ScoreStore(study.store).teacher("ce", record.teachers["ce"])
    assert len(scores) == 128
    with pytest.raises(StoreError, match="no scale yet"):
        scores.scale()
    raw = scores.lookup(np.array([pair.key for pair in dev.pairs], dtype=np.uint64))
    own = fit(raw[:, None], dev.labels, per_head=True)
    alone = load_study(path, "datasets.0.ensemble=[ce]")
    assert score_teachers(alone, alone.datasets[0], print)
    with np.load(folder / "scores.npz") as arrays:
        np.testing.assert_allclose(
            arrays["ensemble/words"], own.probability(stacked[:, :1]), atol=1e-9
        )
        assert not np.allclose(arrays["ensemble/words"], both)
    assert len(ScoreStore(study.store).teacher("ce", record.teachers["ce"])) == 128


def test_a_dataset_without_teachers_has_none_to_ask(tmp_path: Path) -> None:
    item = {**dataset(tmp_path, "one"), "teachers": [], "best": None}
    rows = [{"name": "none", "method": "none", "stages": ["labelled"]}]
    study = load_study(save_study(tmp_path, datasets=[item], rows=rows))
    assert not score_teachers(study, study.datasets[0], print)
    assert not (tmp_path / "out/one/teachers").exists()
