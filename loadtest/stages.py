"""Stages: how many users a load shape has at which moment, as shares of a peak and of a run.

    ramp    /‾    warm-up, a slow rise, a while at the peak: where does it begin to bend?
    spike   _|‾|_ a burst five times the usual load: what is refused, how soon is it over?
    soak    /‾‾‾  the peak for the whole run: does anything leak or slow down?

Plain arithmetic: it is tested without Locust.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stage:
    """From the stage before it until `until` of the run, the load goes evenly to `level`."""

    until: float  # share of the run
    level: float  # share of the peak, at the stage's end


RAMP = (Stage(0.1, 0.1), Stage(0.7, 1.0), Stage(1.0, 1.0))
SPIKE = (Stage(0.0, 0.2), Stage(0.4, 0.2), Stage(0.4, 1.0), Stage(0.6, 1.0), Stage(0.6, 0.2),
         Stage(1.0, 0.2))  # fmt: skip
SOAK = (Stage(0.05, 1.0), Stage(1.0, 1.0))


def users_at(stages: Sequence[Stage], share: float, peak: int) -> int | None:
    """Users when `share` of the run is over, at least one; None once all of it is over.

    >>> [users_at(RAMP, share, 100) for share in (0.05, 0.4, 0.9, 1.0)]
    [5, 55, 100, None]
    """
    begin, before = 0.0, 0.0
    for stage in stages:
        if share < stage.until:
            passed = (share - begin) / (stage.until - begin)
            level = before + (stage.level - before) * passed
            return max(1, round(level * peak))
        begin, before = stage.until, stage.level
    return None
