"""The array types that pass between the rooms, each with one name."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]  # scores
IntArray = NDArray[np.int64]  # token ids, row numbers
LogitArray = NDArray[np.float32]  # what a graph gives, (batch, heads)
