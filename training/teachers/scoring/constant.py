"""Constant scores: a collapsed ranker, or one that does not read its pairs."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

# A sum of some hundred products in float32 is off by about this many times its rounding.
FLOAT32_NOISE = 32 * 2.0**-23
# bf16 keeps eight bits of a number.
BF16_NOISE = 2.0**-8


def noise(scores: ArrayLike, engine: str = "") -> float:
    """How far equal scores may lie apart where `engine` computes them, in their own unit."""
    values = np.asarray(scores, dtype=np.float64)
    largest = float(np.abs(values).max()) if values.size else 0.0
    # Scores near zero are differences of numbers of about one.
    return (BF16_NOISE if "bf16" in engine else FLOAT32_NOISE) * max(1.0, largest)


def is_constant(scores: ArrayLike, engine: str = "") -> bool:
    """Whether scores differ by no more than the rounding of their computation."""
    values = np.asarray(scores, dtype=np.float64)
    return values.size > 1 and float(values.std()) <= noise(values, engine)
