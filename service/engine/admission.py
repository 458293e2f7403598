"""Admission: whether a request is accepted, counted in time.

A request that would be late is refused when it comes, because starting it would cost others theirs.
How long what waits will take is an estimate, and estimates are off, on a busy machine by a lot. So
it is multiplied by a margin that learns from how late the accepted ones were: nearly all of them
are to be in time, and the machine is still to be full.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

# The share of the accepted that may be later than the margin says.
LATE_SHARE = 0.01
# One late request costs as much margin as this many that were in time give back.
STEP = 0.1
FIRST_MARGIN, LEAST_MARGIN, LARGEST_MARGIN = 1.33, 1.05, 6.0
# What the estimate of a short wait may be off by, whatever the margin.
SLACK_SECONDS = 0.005
# Shorter waits say little about the margin: most of them is a batch that happens to run.
TELLING_SECONDS = 0.1
# A request larger than the queue is accepted at some time: at the latest when half of it is free.
LARGEST_SHARE = 0.5
# Clients that were refused together should not all come back together.
JITTER = 0.25


class Margin:
    """How many times longer than estimated the accepted take, but for `LATE_SHARE` of them.

    A quantile by stochastic approximation (Robbins and Monro, 1951): each request that took longer
    moves it up by `STEP`, each that did not moves it down, so much less that both balance where
    `LATE_SHARE` take longer.
    """

    def __init__(self) -> None:
        self.value = FIRST_MARGIN

    def observed(self, estimated: float, taken: float) -> None:
        """Learn from a request that was estimated and took so many seconds, or never ended."""
        if estimated < TELLING_SECONDS:
            return
        over = taken > estimated * self.value + SLACK_SECONDS
        step = STEP * (1 - LATE_SHARE) if over else -STEP * LATE_SHARE
        self.value = min(LARGEST_MARGIN, max(LEAST_MARGIN, self.value * (1 + step)))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is refused, and after how many seconds it may be worth asking again."""

    reason: Literal["full", "late"]
    seconds: float


def refusal(
    tokens: int,
    time_left: float,
    *,
    held: int,
    limit: int,
    share: int,
    held_seconds: float,
    before_seconds: float,
    own_seconds: float,
    margin: float,
) -> Refusal | None:
    """Whether to refuse a request of `tokens` that has `time_left` seconds; None accepts it.

    `held` tokens wait, which takes `held_seconds`, and `limit` may; `share` is what its client may
    still have even where the queue is full of others' requests, up to twice the limit. What is due
    no later than the request takes `before_seconds`, and the request `own_seconds`. It needs room,
    and time; but not time if nothing is before it, since then asking again would not help.

    >>> wait = dict(held=40, limit=1000, share=0, held_seconds=8, before_seconds=8)
    >>> refusal(40, 10.0, **wait, own_seconds=4, margin=1.0)
    Refusal(reason='late', seconds=2.005)
    """
    needed = min(tokens, int(limit * LARGEST_SHARE))
    room = 2 * limit if needed <= share else limit
    if held + needed > room:
        return Refusal("full", held_seconds)
    late = (before_seconds + own_seconds) * margin + SLACK_SECONDS - time_left
    return Refusal("late", late) if before_seconds > 0 and late > 0 else None


def retry_after(seconds: float, key: int) -> int:
    """Whole seconds after which to come back, spread by the request's `key`.

    >>> retry_after(8.0, 0), retry_after(8.0, 1) <= 10, retry_after(0.01, 5)
    (8, True, 1)
    """
    # The golden ratio spreads neighbouring keys evenly over the interval.
    spread = (key * 0.6180339887) % 1.0
    return max(1, math.ceil(seconds * (1 + JITTER * spread)))
