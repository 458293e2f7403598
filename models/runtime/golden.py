"""The golden check: does this backend give the scores that the PyTorch original gave?

A student that scores wrongly looks, from outside, like one that works. So every backend has to
reproduce the bundle's golden pairs before it may answer a request: each score within a tolerance,
and pairs with clearly different scores in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from retort.models.arrays import FloatArray
from retort.models.bundle import Bundle
from retort.models.encoding import EncodedPair, PairEncoder, TokenizerPanic
from retort.models.errors import DamagedFile, StartError
from retort.models.manifest import Manifest
from retort.models.runtime.base import (
    DIRECT_PAIRS,
    Backend,
    Precision,
    each_stream,
    infer_pairs,
)

# How far rounding in the arithmetic may move a score.
COMPUTE_TOLERANCE: dict[Precision, float] = {"fp32": 1e-3, "fp16": 5e-3, "bf16": 3e-2, "int8": 3e-2}
# The same for rounding of the stored weights, where the manifest has no bound of its own.
STORAGE_TOLERANCE = {"fp32": 0.0, "fp16": 5e-3, "int8": 5e-2}


class GoldenMismatch(StartError):
    """The backend does not reproduce the golden pairs."""


@dataclass(frozen=True, slots=True)
class GoldenReport:
    """How far a backend is from the PyTorch original, in scores."""

    pairs: int
    tolerance: float
    max_difference: float
    mean_difference: float
    swapped: int  # pairs of golden pairs with clearly different scores, in the wrong order

    @property
    def passed(self) -> bool:
        """Whether the backend may answer."""
        return self.max_difference <= self.tolerance and not self.swapped

    def describe(self) -> str:
        """What it found, as part of a sentence."""
        return (
            f"the largest difference is {self.max_difference:.4f}, allowed is "
            f"{self.tolerance:.4f}, and {self.swapped} pairs changed their order"
        )


def tolerance(manifest: Manifest, precision: Precision) -> float:
    """How far a score may be from the golden one."""
    if manifest.parity is not None:
        storage = manifest.parity.bounds.max_score_difference
    else:
        storage = STORAGE_TOLERANCE[manifest.precision.storage]
    return storage + COMPUTE_TOLERANCE[precision]


def compare_golden(
    backend: Backend,
    encoder: PairEncoder,
    bundle: Bundle,
    at_once: int = DIRECT_PAIRS,
    padded: Callable[[int], int] = lambda length: length,
) -> GoldenReport:
    """Score the golden pairs with every stream of `backend`; the report of the one farthest off.

    A batch has `at_once` of them, and `padded` says to what length one is padded. Raises
    `BundleError` if the pairs are bad or cannot be encoded.
    """
    try:
        pairs = [encoder.encode(pair.query, [pair.passage])[0] for pair in bundle.golden]
    except TokenizerPanic as error:
        raise DamagedFile(bundle.tokenizer_path, f"cannot encode golden pairs ({error})") from None
    streams = each_stream(backend)
    with ThreadPoolExecutor(len(streams)) as pool:
        reports = pool.map(
            lambda stream: _compare(stream, encoder, pairs, bundle, at_once, padded), streams
        )
        return max(reports, key=lambda report: (report.swapped, report.max_difference))


def _compare(
    backend: Backend,
    encoder: PairEncoder,
    pairs: Sequence[EncodedPair],
    bundle: Bundle,
    at_once: int,
    padded: Callable[[int], int],
) -> GoldenReport:
    golden = bundle.golden
    expected = np.array([pair.score for pair in golden])
    logits = infer_pairs(backend, encoder, pairs, at_once, padded)
    scores = bundle.manifest.scores(logits)
    found = np.where(scores.finite, scores.score, np.inf)
    allowed = tolerance(bundle.manifest, backend.info.precision)
    difference = np.abs(found - expected)
    return GoldenReport(
        pairs=len(golden),
        tolerance=allowed,
        max_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        swapped=_swapped(expected, found, allowed),
    )


def require(report: GoldenReport, backend: Backend, bundle: Bundle) -> None:
    """Raise `GoldenMismatch` unless `report` lets the backend answer."""
    if not report.passed:
        raise GoldenMismatch(
            f"{bundle.folder}: {backend.info} does not reproduce the golden scores: "
            f"{report.describe()}; ask for another backend or precision, or export the bundle again"
        )


def _swapped(expected: FloatArray, found: FloatArray, margin: float) -> int:
    clearly_above = expected[:, None] - expected[None, :] > margin
    not_above = found[:, None] <= found[None, :]
    return int((clearly_above & not_above).sum())
