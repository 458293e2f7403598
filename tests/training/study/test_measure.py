"""Measuring a run: calibrated on the first set, averaged over heads and students."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from retort.training.data.evaluation_set import EvaluationSet
from retort.training.evaluate.calibration import fit_calibration
from retort.training.study.measure import (
    Opinion,
    calibration_errors,
    figures,
    opinions,
    set_figures,
    spread_error,
)
from tests.training.backbones import save_backbone
from tests.training.saved_teachers import save_checkpoint
from tests.training.study.tiny_study import make_pairs

DEV = EvaluationSet("dev", make_pairs("had"), "classification")
TEST = EvaluationSet("test", make_pairs("has"), "classification")
RANKS = EvaluationSet("ranks", make_pairs("has"))


def test_each_student_is_calibrated_and_all_are_averaged(tmp_path: Path) -> None:
    backbone = save_backbone(tmp_path / "backbone")
    folders = [save_checkpoint(tmp_path / f"m{n}", backbone, heads=2, seed=n) for n in (1, 2)]
    alone = [opinions([folder], [DEV, TEST]) for folder in folders]
    both = opinions(folders, [DEV, TEST])
    assert both["test"].logits.shape == (64, 4)
    mean = (alone[0]["test"].scores + alone[1]["test"].scores) / 2
    np.testing.assert_allclose(both["test"].scores, mean, atol=1e-12)
    # The map is the one that the first set's labels ask for, whatever the second's are.
    fitted = fit_calibration(alone[0]["dev"].logits, DEV.labels)
    expected = expit(fitted.apply(alone[0]["test"].logits))
    np.testing.assert_allclose(alone[0]["test"].heads, expected, atol=1e-12)


def test_figures_are_those_of_the_kind_of_set() -> None:
    right = TEST.labels.astype(float)
    assert set_figures(TEST, right) == {"AUC": 1.0, "accuracy": 1.0}
    assert set_figures(TEST, right, probable=False) == {"AUC": 1.0}
    heads = np.stack([right, right], axis=1) * 0.8 + 0.1
    found = {"test": Opinion(heads, heads), "ranks": Opinion(heads, heads)}
    assert set(figures([TEST, RANKS], found)["ranks"]) == set(RANKS.measures)
    assert calibration_errors([TEST], found)["test"] == pytest.approx(0.1)


def test_spread_is_told_in_tenths_from_agreement_to_dispute() -> None:
    draw = np.random.default_rng(1)
    spread = np.linspace(0.0, 0.2, 64)
    middle = np.where(TEST.labels == 1, 0.7, 0.3)
    middle[-6:] = 1 - middle[-6:]  # wrong where the heads disagree most
    order = draw.permutation(64)
    heads = np.stack([middle - spread, middle + spread], axis=1)
    item = EvaluationSet("test", tuple(TEST.pairs[row] for row in order), "classification")
    parts = spread_error(item, Opinion(heads[order], heads[order]))
    assert sum(pairs for _, _, pairs in parts) == 64
    assert len(parts) == 10
    assert [error for _, error, _ in parts[:-1]] == [0.0] * 9
    assert parts[-1][1] == 1.0
    assert parts[-1][0] == pytest.approx(spread[-6:].mean())
    assert spread_error(item, Opinion(heads[:, :1], heads[:, :1])) == []
