"""Shape bundles: of the size asked, servable, and used again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retort.models.bundle import Bundle
from retort.models.errors import BundleError
from retort.training.export.shape_bundle import SHAPES, Shape, shape_bundle
from retort.training.nn.inference import graph_model

SMALL = Shape("small-untaught", layers=3, width=16, attention_heads=2)


def test_a_bundle_is_of_the_size_asked_and_like_the_student(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    bundle = shape_bundle(SMALL, tiny_bundle, tmp_path / "made")
    size = bundle.manifest.architecture
    assert (size.layers, size.width, size.vocabulary) == (
        3, 16, tiny_bundle.manifest.architecture.vocabulary,
    )  # fmt: skip
    assert bundle.manifest.truncation == tiny_bundle.manifest.truncation
    assert bundle.manifest.precision == tiny_bundle.manifest.precision
    assert "the scores mean nothing" in bundle.manifest.methods[0]


def test_its_golden_scores_are_those_of_its_graph(tiny_bundle: Bundle, tmp_path: Path) -> None:
    bundle = shape_bundle(SMALL, tiny_bundle, tmp_path / "made")
    encoder, model = bundle.encoder(), graph_model(bundle.graph_path)
    for pair in bundle.golden:
        logits = model(encoder.collate(encoder.encode(pair.query, [pair.passage])))
        assert np.allclose(logits[0], pair.logits, atol=1e-4)


def test_it_is_made_once(tiny_bundle: Bundle, tmp_path: Path) -> None:
    said: list[str] = []
    first = shape_bundle(SMALL, tiny_bundle, tmp_path / "made", said.append)
    again = shape_bundle(SMALL, tiny_bundle, tmp_path / "made", said.append)
    assert (first.digest, len(said)) == (again.digest, 1)
    other = Shape("small-untaught", layers=2, width=16, attention_heads=2)
    changed = shape_bundle(other, tiny_bundle, tmp_path / "made", said.append)
    assert changed.manifest.architecture.layers == 2
    assert said[1] == "building small-untaught, 2 layers of 16, random weights"


def test_a_folder_that_holds_something_else_is_left_alone(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("my own words")
    with pytest.raises(BundleError, match="holds files but no bundle"):
        shape_bundle(SMALL, tiny_bundle, tmp_path)


def test_the_shapes_are_those_they_are_named_after() -> None:
    sizes = {name: (s.layers, s.width, s.attention_heads) for name, s in SHAPES.items()}
    assert sizes == {"bert-large": (24, 1024, 16), "minilm-l6": (6, 384, 12)}
