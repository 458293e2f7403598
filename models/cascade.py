"""The cascade: which passages the teacher is asked about, and how two opinions become one order.

It is pure: arrays in, indices or an array out; no clock, no HTTP, no model.

**Which.** A client looks at the first passage, and at the first `top_n` if it asks for them.
Both are cuts through the student's ranking, halfway between the scores on either side. What is far
from a cut stays on its side whatever the teacher says, so only what is near matters, and near is
measured in the student's own doubt, the spread of its heads:

    doubt of a passage = (spread + FLOOR) / |score - nearest cut|

The most doubtful go first, and nothing goes whose distance is over `reach` times its spread. Two
other strategies are there to compare it with: `margin`, the nearest to a cut without regard to
spread, and `random`.

**One order.** A passage that the teacher scored gets the mean of both scores, the rest keep the
student's. Both are probabilities of the same event, and averaging them is what the student does
with its own heads (TMKD, equation 6). Replacing the student's score by the teacher's would be worse
for two reasons: two opinions together err less than either, and since both kinds of passages stand
in one list, a teacher that scores higher or lower than the student in general would move exactly
those that it was asked about; the mean halves that.

Example: scores 0.9, 0.6, 0.5, 0.1 with spreads 0.01, 0.1, 0.1, 0.01. The cut is at 0.75, so the
distances are 0.15, 0.15, 0.25, 0.65. The second and the third are in reach, in this order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from retort.models.arrays import FloatArray, IntArray

Strategy = Literal["spread", "margin", "random"]

# Heads that agree to the last digit by chance are not certain.
FLOOR = 0.01
# Beyond this many spreads from a cut a passage is settled.
REACH = 4.0


def allowance(passages: int, share: float) -> int:
    """The most passages that may be sent: at most `share` of `passages`.

    Example: a quarter of 10 is 2.
    """
    # 0.29 of 100 is 28.999999999999996 in floating point.
    return math.floor(passages * share + 1e-9)


def choose(
    scores: FloatArray,
    spreads: FloatArray,
    limit: int,
    *,
    top_n: int | None = None,
    strategy: Strategy = "spread",
    reach: float = REACH,
    seed: int = 0,
) -> IntArray:
    """Indices of at most `limit` passages to ask the teacher about, most doubtful first.

    `scores` and `spreads` are the student's, (passages,), in any order; ties go by index. With
    `reach` infinite "spread" sends as many as the others do; `seed` is for "random" alone.
    """
    if len(scores) < 2 or limit < 1:
        return np.zeros(0, dtype=np.int64)
    if strategy == "random":
        order = np.random.default_rng(seed).permutation(len(scores))
    elif strategy == "margin":
        order = np.argsort(_distances(scores, top_n), kind="stable")
    else:
        in_spreads = _distances(scores, top_n) / (spreads + FLOOR)
        order = np.argsort(in_spreads, kind="stable")
        order = order[in_spreads[order] <= reach]
    return order[:limit].astype(np.int64)


def merge(
    student: FloatArray, teacher: FloatArray, indices: Sequence[int] | IntArray
) -> FloatArray:
    """`student` (passages,) with the teacher's opinion on the passages at `indices`.

    `teacher` (asked,) holds their scores, in that order.
    """
    both = student.copy()
    both[indices] = (student[indices] + teacher) / 2
    return both


def _distances(scores: FloatArray, top_n: int | None) -> FloatArray:
    """How far each score is from the nearest cut, (passages,)."""
    ranked = -np.sort(-scores)
    ranks = {1, top_n} if top_n is not None and top_n < len(scores) else {1}
    cuts = np.array([(ranked[rank - 1] + ranked[rank]) / 2 for rank in sorted(ranks)])
    nearest: FloatArray = np.abs(scores[:, None] - cuts).min(axis=1)
    return nearest
