"""A tiny study that can be run: two teachers, a table, evaluation sets, a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from retort.training.data.evaluation_set import EvaluationSet, write_sets
from retort.training.data.pairs import Pair
from retort.training.data.table import PairTable, write_table
from retort.training.recipes.load import load_recipe
from retort.training.recipes.study import StudyRecipe
from tests.training.backbones import save_backbone
from tests.training.saved_teachers import save_checkpoint

WORDS = ("tower", "hamlet", "paris", "france", "river", "city", "play", "old")
OPTIMISER: dict[str, Any] = {
    "lr": 3e-3, "epochs": 3, "batch_pairs": 8, "precision": "no", "freeze_words": False,
}  # fmt: skip
LENGTH = {"max_length": 48, "max_query_tokens": 16}


def make_pairs(verb: str) -> tuple[Pair, ...]:
    """A passage is right when it names one of the first four words, whatever is asked."""
    return tuple(
        Pair(f"what {verb} {a}", f"the {b} is by the {b}", float(b in WORDS[:4]), f"q-{a}", b)
        for a in WORDS
        for b in WORDS
    )


def save_study(folder: Path, **changes: Any) -> Path:
    """All files of a study in `folder`; returns its recipe's path."""
    backbone = save_backbone(folder / "backbone")
    save_checkpoint(folder / "ce", backbone)
    for name in ("one", "two"):
        pairs = make_pairs("is" if name == "one" else "was")
        write_table(folder / f"{name}.parquet", PairTable(pairs, (name,) * len(pairs), {}))
    test, dev = make_pairs("has"), make_pairs("had")
    measured = [EvaluationSet("words", test, "classification"), EvaluationSet("ranks", test)]
    write_sets(folder / "measure", measured)
    write_sets(folder / "choose", [EvaluationSet("words-dev", dev, "classification")])
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({**recipe_values(folder), **changes}, sort_keys=False))
    return path


def recipe_values(folder: Path) -> dict[str, Any]:
    """The recipe as plain values: two datasets, three rows, two seeds."""
    return {
        "kind": "study",
        "name": "tiny",
        "out": str(folder / "out"),
        "store": str(folder / "scores"),
        "seeds": [1, 2],
        "baseline": "none",
        "checkpoint_steps": 2,
        "student": {"init": str(folder / "backbone"), "layers": [1]},
        "datasets": [dataset(folder, "one")],
        "rows": [
            {"name": "none", "method": "none", "stages": ["labelled"]},
            {"name": "tmkd", "method": "tmkd", "stages": ["unlabelled", "labelled"]},
        ],
    }


def dataset(folder: Path, name: str) -> dict[str, Any]:
    """A dataset of its own table and of common teachers and sets."""
    stage = {
        "table": str(folder / f"{name}.parquet"), "optimiser": OPTIMISER, "length": LENGTH,
    }  # fmt: skip
    return {
        "name": name,
        "teachers": [
            {"name": "ce", "path": str(folder / "ce")},
            {"name": "bi", "path": str(folder / "backbone"), "kind": "bi-encoder"},
        ],
        "best": "ce",
        "measure": str(folder / "measure"),
        "choose": str(folder / "choose"),
        "stages": {"unlabelled": {**stage, "limit": 32}, "labelled": {**stage, "alpha": 0.9}},
    }


def load_study(path: Path, *overrides: str) -> StudyRecipe:
    """The recipe as the command reads it."""
    study = load_recipe(path, overrides)
    assert isinstance(study, StudyRecipe)
    return study
