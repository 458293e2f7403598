"""The fake backend: a function for a model, so that tests need no graph and no patching."""

from __future__ import annotations

from collections.abc import Callable

from retort.models.encoding import Batch
from retort.models.runtime.base import BackendInfo, LogitArray

InferFunction = Callable[[Batch], LogitArray]


class FakeBackend:
    """Calls `function` for every batch."""

    def __init__(self, function: InferFunction) -> None:
        self._function = function

    @property
    def info(self) -> BackendInfo:
        """What runs."""
        return BackendInfo("fake", "none", "fp32")

    def infer(self, batch: Batch) -> LogitArray:
        """Logits (batch, heads), as the function gives them."""
        return self._function(batch)
