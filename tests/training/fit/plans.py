"""Plans of fits, as the command makes them where nothing else is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from retort.training.fit.plan import FitPlan


def make_plan(tmp_path: Path, **fields: Any) -> FitPlan:
    """A plan to make `tmp_path/mine` of mine.tsv, but for what `fields` say."""
    usual = {
        "source": "mine.tsv", "out": tmp_path / "mine", "work": tmp_path / "work",
        "init": "retort-small", "seed": 1, "epochs": 2.0, "contradictions": "mean",
        "labels_alone": True,
    }  # fmt: skip
    return FitPlan.model_validate({**usual, **fields})
