from __future__ import annotations

import numpy as np
import pytest

from retort.models.arrays import LogitArray
from retort.models.bundle import Bundle
from retort.models.encoding import Batch
from retort.models.manifest import Parity, ParityBounds
from retort.models.runtime.base import Streams
from retort.models.runtime.golden import GoldenMismatch, compare_golden, require, tolerance
from tests.fake_bundle import FakeBackend, InferFunction, make_manifest, overlap


def without_segments(batch: Batch) -> LogitArray:
    """A server that forgets the token types, as one of our peers does."""
    return overlap(Batch(batch.input_ids, batch.attention_mask, batch.token_type_ids * 0))


def without_mask(batch: Batch) -> LogitArray:
    """A server that lets padding count: wrong only in a batch."""
    ones = np.ones_like(batch.attention_mask)
    width = batch.shape[1] - batch.attention_mask.sum(axis=1, keepdims=True)
    padding = np.arange(batch.shape[1]) >= batch.shape[1] - width
    return overlap(Batch(batch.input_ids, ones, np.where(padding, 1, batch.token_type_ids)))


def no_numbers(batch: Batch) -> LogitArray:
    return np.full_like(overlap(batch), np.nan)


def test_the_original_passes(fake_bundle: Bundle) -> None:
    backend = FakeBackend(overlap)
    report = compare_golden(backend, fake_bundle.encoder(), fake_bundle)
    require(report, backend, fake_bundle)
    assert report.passed
    assert report.max_difference < 1e-6
    assert report.pairs == 64


@pytest.mark.parametrize("infer", [without_segments, without_mask, no_numbers])
def test_wrong_scores_are_refused(fake_bundle: Bundle, infer: InferFunction) -> None:
    backend = FakeBackend(infer)
    report = compare_golden(backend, fake_bundle.encoder(), fake_bundle)
    with pytest.raises(GoldenMismatch, match="does not reproduce the golden scores"):
        require(report, backend, fake_bundle)


def test_one_wrong_stream_is_enough(fake_bundle: Bundle) -> None:
    right, wrong = FakeBackend(overlap), FakeBackend(without_segments)
    for streams in ([right, right, wrong], [wrong, right, right], [right, right, right]):
        report = compare_golden(Streams(streams), fake_bundle.encoder(), fake_bundle)
        assert report.passed == (wrong not in streams)


def test_a_changed_order_counts(fake_bundle: Bundle) -> None:
    report = compare_golden(
        FakeBackend(lambda batch: -overlap(batch)), fake_bundle.encoder(), fake_bundle
    )
    assert report.swapped > 0


def test_tolerance_goes_by_precision_and_by_what_the_export_measured() -> None:
    manifest = make_manifest()
    assert tolerance(manifest, "fp32") < tolerance(manifest, "fp16") < tolerance(manifest, "bf16")
    bounds = ParityBounds(top1_agreement=1, kendall_tau=1, max_score_difference=0.02, ndcg_change=0)
    parity = Parity(
        pairs=1,
        queries=1,
        top1_agreement=1,
        kendall_tau=1,
        max_score_difference=0,
        ndcg_change=0,
        bounds=bounds,
    )
    measured = manifest.model_copy(update={"parity": parity})
    assert tolerance(measured, "fp32") == pytest.approx(0.021)
