"""Systems: each way of naming one finds it, and a wrong one is told what there is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retort.failures import Unreadable
from retort.models.encoding import PairEncoder, Truncation
from retort.models.scores import combine
from retort.training.data.evaluation_set import EvaluationSet
from retort.training.data.pairs import Pair
from retort.training.nn.inference import run, student_model
from retort.training.nn.student import Student, save_student
from retort.training.teachers.scoring.scorer import UnknownScorerError
from retort.training.teachers.systems import (
    members_mean,
    read_scores,
    score_sets,
    write_scores,
)


@pytest.fixture
def items(labelled_pairs: tuple[Pair, ...]) -> EvaluationSet:
    return EvaluationSet("far", labelled_pairs[:18])


@pytest.fixture
def checkpoint(
    tiny_student: Student, tokenizer_path: Path, truncation: Truncation, tmp_path: Path
) -> Path:
    folder = tmp_path / "student"
    save_student(folder, tiny_student, tokenizer_path, truncation, {})
    return folder


def test_a_checkpoint_gives_probabilities(
    checkpoint: Path, items: EvaluationSet, tiny_student: Student, encoder: PairEncoder
) -> None:
    scores, calibrated = score_sets({"student": str(checkpoint)}, [items])
    expected = combine(run(student_model(tiny_student), encoder, items.pairs)).score
    assert scores["student"]["far"] == pytest.approx(expected, abs=1e-6)
    assert calibrated == {"student"}


@pytest.mark.slow
def test_a_checkpoint_asked_as_a_teacher_gives_logits(
    checkpoint: Path, items: EvaluationSet
) -> None:
    scores, calibrated = score_sets({"ce": f"cross-encoder:{checkpoint}"}, [items])
    assert scores["ce"]["far"].shape == (18,)
    assert scores["ce"]["far"].min() < 0
    assert calibrated == set()


def test_scores_come_back_from_disk(tmp_path: Path, items: EvaluationSet) -> None:
    path = tmp_path / "new" / "bm25.npz"
    write_scores(path, {"far": np.arange(18)})
    assert read_scores(path)["far"].tolist() == list(range(18))
    scores, calibrated = score_sets({"bm25": str(path)}, [items])
    assert scores["bm25"]["far"][3] == 3
    assert calibrated == set()


def test_a_broken_file_of_scores_is_named(tmp_path: Path) -> None:
    path = tmp_path / "scores.npz"
    path.write_text("no zip")
    with pytest.raises(Unreadable, match=r"scores\.npz: not readable as scores"):
        read_scores(path)


def test_members_of_an_ensemble_weigh_the_same_whatever_their_scale() -> None:
    first = {"x": np.asarray([0.0, 1.0]), "y": np.asarray([2.0, 3.0])}
    scaled = {name: 1000 * array - 7 for name, array in first.items()}
    alone = members_mean([first], ["x", "y"])
    together = members_mean([first, scaled], ["x", "y"])
    assert together["y"] == pytest.approx(alone["y"])
    everything = np.concatenate([together["x"], together["y"]])
    assert everything.mean() == pytest.approx(0.0)
    assert everything.std() == pytest.approx(1.0)


def test_an_ensemble_is_made_of_systems_named_anywhere(
    tmp_path: Path, items: EvaluationSet
) -> None:
    for name in ("a", "b"):
        write_scores(tmp_path / f"{name}.npz", {"far": np.arange(18)})
    specs = {
        "both": "ensemble:a,b",
        "a": str(tmp_path / "a.npz"),
        "b": str(tmp_path / "b.npz"),
    }
    scores, _ = score_sets(specs, [items])
    assert (np.diff(scores["both"]["far"]) > 0).all()


def test_an_ensemble_of_unknown_systems_is_refused(items: EvaluationSet) -> None:
    with pytest.raises(UnknownScorerError, match="both=ensemble:a: no system a"):
        score_sets({"both": "ensemble:a"}, [items])


def test_a_system_that_is_nothing_is_named(items: EvaluationSet) -> None:
    with pytest.raises(UnknownScorerError, match="student=nowhere: no checkpoint"):
        score_sets({"student": "nowhere"}, [items])
