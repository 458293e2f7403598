"""Students of 256 and 512 tokens: taught, exported and read as those of 128 are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import retort
from retort.training.data.pairs import Pair
from retort.training.data.table import PairTable, write_table
from retort.training.export.bundling import BundleSpec, build_bundle
from retort.training.methods.distill import distill
from retort.training.nn.student import load_student
from retort.training.recipes.distill import DistillRecipe
from retort.training.recipes.load import parse_recipe
from tests.tiny_texts import WORDS
from tests.training.backbones import save_backbone
from tests.training.export.test_bundling import LOOSE

OPTIMISER = {"lr": 3e-3, "epochs": 1, "batch_pairs": 16, "precision": "no", "freeze_words": False}


def make_pairs(words: int) -> tuple[Pair, ...]:
    """24 questions of 3 passages, of 5 to `words` words each."""
    draw = np.random.default_rng(0)
    return tuple(
        Pair(
            f"what is {WORDS[query % len(WORDS)]} {query}",
            " ".join(draw.choice(WORDS, int(draw.integers(5, words)))),
            float(passage == 0),
            f"q{query}",
        )
        for query in range(24)
        for passage in range(3)
    )


def recipe(folder: Path, max_length: int, positions: int) -> DistillRecipe:
    """A student of labels alone, on passages that fill `max_length` tokens."""
    pairs = make_pairs(max_length)
    write_table(folder / "table.parquet", PairTable(pairs, ("made",) * len(pairs), {}))
    backbone = str(save_backbone(folder / "backbone", positions))
    stage = {
        "table": str(folder / "table.parquet"), "alpha": 0.0, "optimiser": OPTIMISER,
        "length": {"max_length": max_length, "max_query_tokens": 16},
    }  # fmt: skip
    made = parse_recipe(
        {
            "kind": "distill", "name": "long", "method": "none", "teachers": [],
            "student": {"init": backbone, "layers": [0, 1]}, "stages": [stage],
            "out": str(folder / "out"), "store": str(folder / "scores"),
        }
    )  # fmt: skip
    assert isinstance(made, DistillRecipe)
    return made


def windows(folder: Path, max_length: int) -> int:
    """In how many windows a student of that length reads a passage of 400 words."""
    loaded = load_student(distill(recipe(folder, max_length, 512), lambda text: None))
    assert loaded.truncation.max_length == max_length
    bundle = build_bundle(
        folder / "bundle", loaded.student, loaded.tokenizer_path, loaded.truncation,
        make_pairs(max_length), BundleSpec("long", "1", storage="fp16", bounds=LOOSE),
    )  # fmt: skip
    assert max(profile.sequence.max for profile in bundle.manifest.shape_profiles) == max_length
    ranker = retort.load(bundle.folder, backend="onnxruntime", precision="fp32")
    long = " ".join(WORDS[step % len(WORDS)] for step in range(400))
    whole, short = sorted(ranker.rank("what is old", [long, "old"]), key=lambda one: one.index)
    assert 0 < whole.score < 1
    assert "truncated" not in whole.flags
    assert short.windows == 1
    return whole.windows


@pytest.mark.slow
def test_a_longer_student_reads_a_passage_in_fewer_windows(tmp_path: Path) -> None:
    counts = {length: windows(tmp_path / str(length), length) for length in (128, 256, 512)}
    assert counts[128] > counts[256] > counts[512] == 1


def test_a_length_that_the_backbone_has_no_positions_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="max_length is 256, and the encoder has positions for 64"):
        distill(recipe(tmp_path, 256, 64), lambda text: None)
