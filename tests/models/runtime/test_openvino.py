"""Streams that are graphs of their own score as one: as streams of one graph they did not."""

from __future__ import annotations

from pathlib import Path

import pytest

from retort.models.bundle import find_bundle, read_bundle
from retort.models.runtime.base import BackendInfo, each_stream, infer_pairs
from retort.models.runtime.choose import load_backend
from retort.models.runtime.options import RuntimeOptions
from retort.models.scores import combine

# One in three was wrong.
COMPILATIONS = 6


@pytest.mark.slow
def test_every_stream_of_every_compilation_scores_alike(tmp_path: Path) -> None:
    bundle = read_bundle(find_bundle("retort-small"))
    encoder = bundle.encoder()
    pairs = [encoder.encode(pair.query, [pair.passage])[0] for pair in bundle.golden[:8]]
    expected = [pair.score for pair in bundle.golden[:8]]
    info = BackendInfo("openvino", "cpu", "fp32")
    for _ in range(COMPILATIONS):
        for stream in each_stream(
            load_backend(info, bundle, RuntimeOptions(threads=2, streams=2), tmp_path)
        ):
            logits = infer_pairs(stream, encoder, pairs)
            found = combine(logits, bundle.manifest.calibration).score
            assert found == pytest.approx(expected, abs=0.05)
