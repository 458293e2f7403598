"""A constant score is told from a narrow one, in each precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retort.training.data.evaluation_set import EvaluationSet
from retort.training.data.pairs import Pair
from retort.training.labels.store import ScoreStore, StoreError, pair_keys
from retort.training.teachers.scoring.constant import is_constant
from retort.training.teachers.systems import score_sets, write_scores

NOISE = np.random.default_rng(2).normal(0.0, 1.0, 500)


@pytest.mark.parametrize(
    ("scores", "engine", "constant"),
    [
        (np.full(9, 0.3), "", True),
        (0.012 + 5.9e-8 * NOISE, "", True),
        (-7.0 + 1e-6 * NOISE, "torch-cpu-f32", True),
        (0.97 + 1e-3 * NOISE, "torch-cpu-f32", False),
        (0.97 + 1e-3 * NOISE, "torch-cuda-bf16", True),
        (0.8 + 0.02 * NOISE, "openvino-bf16", False),
        (-11.0 + 2.0 * NOISE, "torch-cuda-bf16", False),
        (np.array([0.5]), "", False),
    ],
)
def test_constant_up_to_rounding(scores: np.ndarray, engine: str, constant: bool) -> None:
    assert is_constant(scores, engine) == constant


def test_a_collapsed_teacher_makes_no_labels_and_is_told_in_an_evaluation(tmp_path: Path) -> None:
    pairs = [Pair(f"q{n // 5}", f"p{n}", float(n % 5 == 0), f"q{n // 5}") for n in range(500)]
    flat = (0.012 + 5.9e-8 * NOISE).astype(np.float32)
    kept = ScoreStore(tmp_path).teacher("flat", "abc")
    kept.add(pair_keys(pairs), flat, "torch-cpu-f32")
    with pytest.raises(StoreError, match=r"up to rounding .*check its weights and tokenizer"):
        kept.calibrate(pair_keys(pairs))
    items = EvaluationSet("s", tuple(pairs), "ranking")
    write_scores(tmp_path / "flat.npz", {"s": flat})
    write_scores(tmp_path / "fine.npz", {"s": NOISE})
    said: list[str] = []
    systems = {name: str(tmp_path / f"{name}.npz") for name in ("flat", "fine")}
    score_sets(systems, [items], log=said.append)
    assert [line.partition(":")[0] for line in said] == ["flat"]
