"""Inference: order, batching and encoding leave each pair's logits as they are."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from retort.models.encoding import Batch, PairEncoder
from retort.training.data.pairs import Pair
from retort.training.nn.batch_size import BatchSize
from retort.training.nn.inference import encode_pairs, run, student_model
from retort.training.nn.student import Student


def test_each_pair_gets_its_own_logits(
    tiny_student: Student, encoder: PairEncoder, labelled_pairs: tuple[Pair, ...]
) -> None:
    pairs = labelled_pairs[:20]
    model = student_model(tiny_student)
    together = run(model, encoder, pairs, size=BatchSize(7))
    alone = np.concatenate([run(model, encoder, [pair]) for pair in pairs])
    assert together == pytest.approx(alone, abs=2e-5)
    assert together.shape == (20, 3)


def test_pairs_are_encoded_as_the_service_encodes_them(
    encoder: PairEncoder, labelled_pairs: tuple[Pair, ...]
) -> None:
    for pair, encoded in zip(labelled_pairs, encode_pairs(encoder, labelled_pairs), strict=True):
        served = encoder.encode(pair.query, [pair.passage])[0]
        assert np.array_equal(encoded.ids, served.ids)
        assert encoded.boundary == served.boundary


def test_a_batch_holds_pairs_of_like_length(
    encoder: PairEncoder, labelled_pairs: tuple[Pair, ...]
) -> None:
    padded = []

    def model(batch: Batch) -> NDArray[np.float32]:
        padded.append(1 - batch.attention_mask.mean())
        return np.zeros((batch.shape[0], 1), np.float32)

    run(model, encoder, labelled_pairs, size=BatchSize(16))
    assert np.mean(padded) < 0.15


def test_a_batch_holds_as_many_tokens_as_it_may(
    encoder: PairEncoder, labelled_pairs: tuple[Pair, ...]
) -> None:
    shapes = []

    def model(batch: Batch) -> NDArray[np.float32]:
        shapes.append(batch.shape)
        lengths: NDArray[np.int64] = batch.attention_mask.sum(1, keepdims=True)
        return lengths.astype(np.float32)

    found = run(model, encoder, labelled_pairs, size=BatchSize(1, tokens=500))
    assert [len(pair) for pair in encode_pairs(encoder, labelled_pairs)] == found[:, 0].tolist()
    tokens = [rows * columns for rows, columns in shapes]
    assert max(tokens) <= 500
    assert np.median(tokens) > 450
    # A pair that is longer than a batch may be is a batch of its own.
    assert run(model, encoder, labelled_pairs, size=BatchSize(1, tokens=1)).shape == found.shape


def test_logits_that_are_not_finite_are_named(encoder: PairEncoder) -> None:
    def model(batch: Batch) -> NDArray[np.float32]:
        logits = np.zeros((batch.shape[0], 2), np.float32)
        logits[batch.attention_mask.sum(1) == 5] = np.inf
        return logits

    pairs = [Pair("w1", "w1 w2 w3"), Pair("w1", "w2")]
    with pytest.raises(ValueError, match=r"1 of 2 pairs have logits that are not finite.*pair 1"):
        run(model, encoder, pairs)


def test_no_pairs_are_refused(encoder: PairEncoder) -> None:
    with pytest.raises(ValueError, match="give at least one"):
        run(lambda batch: np.zeros((1, 1), np.float32), encoder, [])
