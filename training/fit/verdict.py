"""The verdict: whether a new bundle is better than the one that is served already.

Better means that the 95% interval of the paired difference lies above zero. The bootstrap's
interval is too short where queries are few: simulated with two rankers that are equally good, it
excluded zero in about 4 to 8% of cases from 30 queries of which at least 10 get another figure, and
in up to 11% below that. So there is no verdict below.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict

from retort.markdown import interval
from retort.training.data.evaluation_set import EvaluationSet
from retort.training.evaluate.bootstrap import Estimate
from retort.training.evaluate.evaluation import resample_set
from retort.training.evaluate.measures import query_values

Finding = Literal["better", "not shown to be better", "worse", "too few queries"]

MIN_QUERIES, MIN_CHANGED = 30, 10
# A difference that is worth the work of replacing a bundle.
WORTH = 0.02
# How many standard errors a difference has to be for its 95% interval to exclude zero in 80% of
# cases, and half of how many a 95% interval is long.
SHOWN, HALF = 2.80, 1.96


class Verdict(BaseModel):
    """What was found of `new` compared with `old`, and how much it takes to find more.

    `difference` is `new` minus `old` by `measure`; `queries` are those measured, `changed` those
    that the two rank differently, by that measure. `enough` is how many queries would show a
    difference of `WORTH`; None where no query changed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    finding: Finding
    new: str
    old: str
    measure: str
    difference: Estimate
    queries: int
    changed: int
    enough: int | None

    @property
    def text(self) -> str:
        """The verdict in plain words."""
        figures = (
            f"{self.measure} {interval(self.difference, '+.4f')} on {self.queries} {self._unit}"
        )
        keep = f"We would keep serving {self.old}."
        if self.finding == "better":
            return f"{self.new} is better than {self.old} on your queries: {figures}."
        if self.finding == "worse":
            return f"{self.new} is worse than {self.old} on your queries: {figures}. {keep}"
        if self.finding == "too few queries":
            return (
                f"Too few queries for a verdict on {self.new} and {self.old}: {self.queries} are "
                f"measured, {self.changed} of them with another {self.measure}, and it takes "
                f"{MIN_QUERIES} and {MIN_CHANGED}. {keep} {self._advice}"
            ).rstrip()
        return (
            f"{self.new} is not shown to be better than {self.old}: {figures}, and an interval "
            f"that holds zero may be chance alone. {keep} {self._advice}"
        ).rstrip()

    @property
    def _unit(self) -> str:
        return "pairs" if self.measure == "AUC" else "queries"

    @property
    def _advice(self) -> str:
        if self.enough is None:
            return ""
        return f"To show a difference of {WORTH} takes about {self.enough:,} measured {self._unit}."


def judge(
    items: EvaluationSet,
    scores: Mapping[str, ArrayLike],
    new: str,
    old: str,
    *,
    measure: str,
    resamples: int,
    seed: int,
) -> Verdict:
    """The verdict by one measure of `items`; `scores` (pairs,) hold those of `new` and `old`."""
    ranked = items.kind == "ranking"
    both = {name: np.asarray(scores[name], np.float64) for name in (new, old)}
    samples = resample_set(items, both, (), resamples, seed, measures=(measure,) if ranked else ())[
        measure
    ]
    difference = samples.difference(new, old)
    if ranked:
        values = [query_values(items, both[name], [measure]).values[measure] for name in (new, old)]
        queries, changed = len(values[0]), int((values[0] != values[1]).sum())
    else:
        queries = changed = len(items.pairs)
    return Verdict(
        finding=_finding(difference, queries, changed),
        new=new,
        old=old,
        measure=measure,
        difference=difference,
        queries=queries,
        changed=changed,
        enough=queries_for(WORTH, difference, queries),
    )


def _finding(difference: Estimate, queries: int, changed: int) -> Finding:
    if queries < MIN_QUERIES or changed < MIN_CHANGED:
        return "too few queries"
    if not difference.excludes_zero:
        return "not shown to be better"
    return "better" if difference.low > 0 else "worse"


def queries_for(wanted: float, found: Estimate, queries: int) -> int | None:
    """How many queries show a difference of `wanted`, by the interval that `queries` of them gave.

    Shown means that a 95% interval excludes zero in 80% of cases. None for an interval of no
    length, which says nothing of how much queries differ.
    """
    error = (found.high - found.low) / (2 * HALF)
    if error == 0:
        return None
    return max(MIN_QUERIES, math.ceil(queries * (SHOWN * error / wanted) ** 2))
