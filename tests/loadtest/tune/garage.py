"""A garage whose backends are functions, one for each number of streams."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from retort.loadtest.tune.candidate import Candidate
from retort.loadtest.tune.lane import BackendKey, Garage
from retort.models.encoding import Batch
from retort.models.runtime.base import Backend, BackendInfo, LogitArray
from retort.models.runtime.fake import FakeBackend, InferFunction
from tests.fake_bundle import make_fake_bundle, overlap

ENGINE = BackendInfo("onnxruntime", "cpu", "fp32")
SLOW_S = 0.02


def slow(batch: Batch) -> LogitArray:
    """Right, and late."""
    time.sleep(SLOW_S)
    return overlap(batch)


def candidate(streams: int) -> Candidate:
    """The candidate of that backend."""
    return Candidate(ENGINE, streams=streams)


def make_garage(folder: Path, functions: Mapping[int, InferFunction]) -> Garage:
    """A garage over these functions, by the number of streams that asks for each."""
    backends: dict[BackendKey, Backend] = {
        (ENGINE, None, streams): FakeBackend(function) for streams, function in functions.items()
    }
    return Garage(make_fake_bundle(folder / "fake"), backends)
