from __future__ import annotations

from collections import Counter

import pytest

from retort.models.arrays import LogitArray
from retort.models.bundle import Bundle
from retort.models.encoding import Batch
from retort.models.runtime.base import BackendInfo
from retort.models.runtime.golden import GoldenMismatch
from retort.models.runtime.options import default_streams
from retort.service.engine.load import Loaded, load_model
from retort.service.settings import Settings
from tests.fake_bundle import FakeBackend, InferFunction, overlap


def load(settings: Settings, bundle: Bundle, infer: InferFunction) -> Loaded:
    return load_model(settings, bundle, settings.runtime, FakeBackend(infer))


def test_every_length_is_warm_and_the_golden_pairs_came_first(fake_bundle: Bundle) -> None:
    shapes: list[tuple[int, int]] = []

    def infer(batch: Batch) -> LogitArray:
        shapes.append(batch.shape)
        return overlap(batch)

    settings, backend = Settings(batch_tokens=256), FakeBackend(infer)
    # Of all backends this one writes code for each shape.
    backend.info = BackendInfo("openvino", "cpu", "fp32")
    loaded = load_model(settings, fake_bundle, settings.runtime, backend)
    assert loaded.policy.lengths == (8, 16, 24, 32, 40, 48, 56, 64)
    assert {(256 // length, length) for length in loaded.policy.lengths} <= set(shapes[4:])
    # The shapes of usual requests too, as far as a batch has room for them, while it is idle.
    usual = {(rows, n) for rows in range(1, 17) for n in loaded.policy.lengths if rows * n <= 256}
    assert not usual <= set(shapes)
    loaded.warm_usual(lambda: False, lambda: True)
    assert not usual <= set(shapes)
    loaded.warm_usual(lambda: True, lambda: False)
    assert usual <= set(shapes)
    assert loaded.chosen.golden.passed
    assert loaded.pace.token_seconds > 0
    assert loaded.slots == loaded.streams == default_streams(0)


def test_streams_and_steps_are_those_of_the_settings(fake_bundle: Bundle) -> None:
    shapes: Counter[tuple[int, int]] = Counter()

    def infer(batch: Batch) -> LogitArray:
        shapes[batch.shape] += 1
        return overlap(batch)

    settings = Settings(batch_tokens=256, streams=3, length_step=24)
    loaded = load(settings, fake_bundle, infer)
    assert loaded.policy.lengths == (24, 48, 64)
    # Every stream meets every shape.
    assert shapes[5, 48] >= 3
    assert (loaded.streams, loaded.slots) == (3, 3)
    assert load(Settings(streams=3, slots=2), fake_bundle, overlap).slots == 2


def test_a_batch_always_has_room_for_a_pair(fake_bundle: Bundle) -> None:
    loaded = load(Settings(batch_tokens=1), fake_bundle, overlap)
    assert loaded.policy.batch_tokens == 64


def test_a_backend_that_scores_otherwise_is_not_loaded(fake_bundle: Bundle) -> None:
    with pytest.raises(GoldenMismatch):
        load(Settings(), fake_bundle, lambda batch: -overlap(batch))
