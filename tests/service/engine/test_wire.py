from __future__ import annotations

from random import Random

import numpy as np
import pytest

from retort.service.engine.tokenization import Tokenization
from retort.service.engine.wire import (
    CODES,
    BadFrame,
    Cancel,
    Chunk,
    Failure,
    More,
    Open,
    Result,
    read_reply,
    read_request,
)
from retort.service.errors import InferenceFailed, Overloaded
from tests.fake_bundle import make_encoder
from tests.tiny_texts import PASSAGES, QUERIES

ENCODER = make_encoder()


def make_chunk() -> Chunk:
    tokenization = Tokenization(ENCODER)
    return tokenization.chunk(
        [tokenization.query(QUERIES[0])], tokenization.passages(PASSAGES), [None] * 4
    )


def make_open(chunk: Chunk) -> Open:
    return Open(2**63 + 5, 2**64 - 1, 700, 90_000, 123.456, True, False, chunk)


@pytest.mark.parametrize("message", [make_open(make_chunk()), More(7, make_chunk()), Cancel(9)])
def test_requests_arrive_as_they_were_sent(message: Open | More | Cancel) -> None:
    assert read_request(message.pack()) == message


def test_a_large_vocabulary_takes_wide_ids() -> None:
    ids = np.array([1, 70_000, 2], np.uint32)
    lengths, boundaries = np.array([3], np.uint16), np.array([2], np.uint16)
    chunk = Chunk(lengths.tobytes(), boundaries.tobytes(), ids.tobytes(), last=False, wide=True)
    found = read_request(More(1, chunk).pack())
    assert isinstance(found, More)
    pairs = found.chunk.pairs()
    assert pairs.ids.tolist() == [1, 70_000, 2]
    assert (pairs.lengths.tolist(), pairs.boundaries.tolist()) == ([3], [2])


def test_results_arrive_to_the_bit() -> None:
    chance = np.random.default_rng(1)
    score, spread = chance.random((2, 50))
    sent = Result(5, score, spread, (3, 49), 0.25, 1.5)
    found = read_reply(sent.pack())
    assert isinstance(found, Result)
    for name in ("score", "spread"):
        assert getattr(found, name).tolist() == getattr(sent, name).tolist()
    assert (found.key, found.missing) == (5, (3, 49))
    assert (found.queue_seconds, found.infer_seconds) == (0.25, 1.5)


@pytest.mark.parametrize("kind", CODES.values())
@pytest.mark.parametrize("after", [None, 0, 17])
def test_failures_arrive_as_what_they_are(
    kind: type[Overloaded] | type[InferenceFailed], after: int | None
) -> None:
    found = read_reply(Failure(1, kind("thís is why", retry_after=after)).pack())
    assert isinstance(found, Failure)
    assert type(found.error) is kind
    assert (found.error.message, found.error.retry_after) == ("thís is why", after)


def test_a_frame_that_is_damaged_is_refused_or_read_never_worse() -> None:
    chance = Random(1)
    frames = [make_open(make_chunk()).pack(), More(7, make_chunk()).pack(), Cancel(9).pack()]
    refused = 0
    for _ in range(2_000):
        frame = bytearray(chance.choice(frames))
        for _ in range(chance.randrange(1, 4)):
            frame[chance.randrange(len(frame))] = chance.randrange(256)
        cut = bytes(frame[: chance.randrange(len(frame) + 1)])
        for damaged in (bytes(frame), cut):
            try:
                read_request(damaged)
            except BadFrame:
                refused += 1
    assert refused > 1_000


@pytest.mark.parametrize("hopeless", [True, False])
def test_a_refusal_keeps_whether_there_is_hope(hopeless: bool) -> None:
    error = Overloaded("full", retry_after=1)
    error.hopeless = hopeless
    found = read_reply(Failure(1, error).pack())
    assert isinstance(found, Failure)
    assert isinstance(found.error, Overloaded)
    assert found.error.hopeless is hopeless
