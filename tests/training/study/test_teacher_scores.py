"""The teachers on their evaluation sets: asked once, calibrated, and their mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retort.training.data.evaluation_set import read_sets
from retort.training.evaluate.calibration import fit_calibration
from retort.training.labels.store import ScoreStore, StoreError
from retort.training.study.files import read_json
from retort.training.study.teacher_scores import score_teachers
from tests.training.study.tiny_study import dataset, load_study, save_study


def quiet(text: str) -> None:
    return None


def test_the_ensemble_is_of_those_that_are_named(tmp_path: Path) -> None:
    path = save_study(tmp_path)
    study = load_study(path)
    assert score_teachers(study, study.datasets[0], quiet)
    assert not score_teachers(study, study.datasets[0], quiet)
    folder = tmp_path / "out/one/teachers"
    record = read_json(folder / "run.json")
    assert record is not None
    assert record["ensemble"] == ["ce", "bi"]
    (dev,) = read_sets(tmp_path / "choose")
    with np.load(folder / "scores.npz") as arrays:
        both = arrays["ensemble/words"]
        stacked = np.stack([arrays["ce/words"], arrays["bi/words"]], axis=1)
    # What the teachers said is in the store, but no scale was fixed on it.
    scores = ScoreStore(study.store).teacher("ce", record["teachers"]["ce"])
    assert len(scores) == 128
    with pytest.raises(StoreError, match="no scale yet"):
        scores.scale()
    raw = scores.lookup(np.array([pair.key for pair in dev.pairs], dtype=np.uint64))
    own = fit_calibration(raw[:, None], dev.labels)
    alone = load_study(path, "datasets.0.ensemble=[ce]")
    assert score_teachers(alone, alone.datasets[0], quiet)
    with np.load(folder / "scores.npz") as arrays:
        np.testing.assert_allclose(
            arrays["ensemble/words"], own.probability(stacked[:, :1]), atol=1e-9
        )
        assert not np.allclose(arrays["ensemble/words"], both)
    assert len(ScoreStore(study.store).teacher("ce", record["teachers"]["ce"])) == 128


def test_a_dataset_without_teachers_has_none_to_ask(tmp_path: Path) -> None:
    item = {**dataset(tmp_path, "one"), "teachers": [], "best": None}
    rows = [{"name": "none", "method": "none", "stages": ["labelled"]}]
    study = load_study(save_study(tmp_path, datasets=[item], rows=rows))
    assert not score_teachers(study, study.datasets[0], quiet)
    assert not (tmp_path / "out/one/teachers").exists()
