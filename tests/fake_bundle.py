"""A bundle without a model: its golden scores come from a function, which a `FakeBackend` calls.

Real tokenizer, real manifest, no graph: for tests of everything that is around the model.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from retort.models.arrays import LogitArray
from retort.models.bundle import Bundle, write_bundle
from retort.models.encoding import Batch, PairEncoder, Truncation
from retort.models.golden import GoldenPair
from retort.models.manifest import Architecture, HeadInfo, Manifest, WeightPrecision
from retort.models.runtime.base import BackendInfo
from retort.models.scores import combine
from tests.tiny_texts import golden_texts, make_tokenizer

InferFunction = Callable[[Batch], LogitArray]
TRUNCATION = Truncation(max_length=64, max_query_tokens=16)


class FakeBackend:
    """Calls `function` for every batch: a backend without a graph."""

    info = BackendInfo("fake", "none", "fp32")

    def __init__(self, function: InferFunction) -> None:
        self._function = function

    def infer(self, batch: Batch) -> LogitArray:
        """Logits (batch, heads), as the function gives them."""
        return self._function(batch)


def overlap(batch: Batch) -> LogitArray:
    """Logits (batch, 2): the larger, the more tokens of the passage the query has too."""
    rows = []
    for ids, mask, types in zip(
        batch.input_ids, batch.attention_mask, batch.token_type_ids, strict=True
    ):
        query = set(ids[(mask == 1) & (types == 0)].tolist())
        passage = ids[(mask == 1) & (types == 1)].tolist()
        shared = sum(token in query for token in passage) / max(1, len(passage))
        rows.append((8 * shared - 4, 4 * shared - 3))
    return np.array(rows, dtype=np.float32)


def make_encoder(truncation: Truncation = TRUNCATION) -> PairEncoder:
    """An encoder with the tests' tokenizer."""
    return PairEncoder(make_tokenizer(), truncation)


def make_manifest(name: str = "fake") -> Manifest:
    """A manifest without hashes."""
    return Manifest(
        name=name,
        version="0.0.1",
        created="2026-01-01T00:00:00+00:00",
        architecture=Architecture(layers=1, width=8, attention_heads=1, vocabulary=166),
        truncation=TRUNCATION,
        heads=(
            HeadInfo(name="golden", kind="golden"),
            HeadInfo(name="soft-ce", kind="soft", teacher="ce"),
        ),
        precision=WeightPrecision(storage="fp32"),
    )


def golden_pairs(encoder: PairEncoder) -> list[GoldenPair]:
    """Golden pairs as `overlap` scores them."""
    pairs = []
    for query, passage in golden_texts():
        logits = overlap(encoder.collate(encoder.encode(query, [passage])))
        score = float(combine(logits).score[0])
        pairs.append(GoldenPair(query, passage, tuple(logits[0].tolist()), score))
    return pairs


def make_fake_bundle(folder: Path, name: str = "fake") -> Bundle:
    """Write the bundle to `folder`."""
    source = folder.parent / f"{folder.name}-source"
    source.mkdir(parents=True, exist_ok=True)
    tokenizer, graph = source / "tokenizer.json", source / "model.onnx"
    make_tokenizer().save(str(tokenizer))
    graph.write_bytes(b"no graph")
    return write_bundle(
        folder,
        manifest=make_manifest(name),
        graph=graph,
        tokenizer=tokenizer,
        golden=golden_pairs(make_encoder()),
    )
