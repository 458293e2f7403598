"""The backend protocol: a batch of token ids in, logits out. Everything else is a backend's own.

A backend is also the seam for tests: `fake.py` turns a function into one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from retort.models.encoding import Batch

LogitArray = NDArray[np.float32]
Precision = Literal["fp32", "fp16", "bf16", "int8"]

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUT = "logits"


class BackendUnavailable(Exception):
    """This backend, provider or precision cannot run here; the message says why."""


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """What runs: for instance `openvino`, `CPU`, `bf16`."""

    backend: str
    provider: str
    precision: Precision

    def __str__(self) -> str:
        return f"{self.backend}/{self.provider}/{self.precision}"

    @property
    def on_gpu(self) -> bool:
        """Whether batches are worth filling up further."""
        return self.provider in ("cuda", "tensorrt")


class Backend(Protocol):
    """Runs a student. `infer` may be called from several threads at once."""

    @property
    def info(self) -> BackendInfo:
        """What runs, for `/info` and the metrics."""
        ...

    def infer(self, batch: Batch) -> LogitArray:
        """Inputs (batch, sequence) int64 to logits (batch, heads) float32.

        Raises whatever the runtime raises; the engine halves the batch and tries again.
        """
        ...
