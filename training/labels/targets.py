"""Targets: what each teacher of a method says of each pair, on the scales that losses need.

The words, from the pair to the loss:

    label     what people, or a published teacher, say of a pair: 1 for an answer, 0 for none
    logit     what a teacher's network gives, in any unit (a cosine too); kept in the score store
    target    the logit standardised by the teacher's own scale, or raw where its recipe says so;
              regression and orderings learn it
    odds      calibrated log-odds, of which `sigmoid` is a probability, for losses on probabilities:
              a cosine is none, and neither is a logit of a ranking loss
    score     what a student's head gives for a pair, held against target or odds

The map from targets to odds is a logistic regression on the recipe's own labelled pairs
(`evaluate/calibration.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retort.training.data.pairs import Pair
from retort.training.data.table import PairTable
from retort.training.evaluate.calibration import fit_map
from retort.training.labels.store import ScoreStore, pair_keys
from retort.training.recipes.parts.teacher import TeacherRef

Floats = NDArray[np.float32]

FIT_PAIRS = 20_000


@dataclass(frozen=True, slots=True)
class Targets:
    """(pairs, teachers) each; NaN where a teacher does not score a pair's source."""

    targets: Tensor
    odds: Tensor


def scored_by(teacher: TeacherRef, sources: Sequence[str]) -> NDArray[np.bool_]:
    """Which pairs a teacher scores, (pairs,)."""
    return np.array([teacher.sources is None or s in teacher.sources for s in sources], dtype=bool)


def gather_targets(
    store: Path,
    teachers: Sequence[TeacherRef],
    identities: dict[str, str],
    chosen: PairTable,
    labelled: PairTable,
) -> Targets:
    """Both scales for the `chosen` pairs; the map to log-odds is fitted on the `labelled` ones.

    Raises `StoreError` if a score is missing.
    """
    scores = ScoreStore(store)
    targets = np.full((len(chosen), len(teachers)), np.nan, dtype=np.float32)
    odds = targets.copy()
    for column, teacher in enumerate(teachers):
        known = scored_by(teacher, chosen.sources)
        own = scores.teacher(teacher.name, identities[teacher.name])
        partial = teacher.kind == "given"
        logits = own.logits(
            [pair for pair, hit in zip(chosen.pairs, known, strict=True) if hit], partial=partial
        )
        values = own.scale().standardise(logits)
        targets[known, column] = logits if teacher.scale == "raw" else values
        fitted = scored_by(teacher, labelled.sources)
        fit_on = [p for p, hit in zip(labelled.pairs, fitted, strict=True) if hit]
        if partial:
            hits = np.isfinite(own.lookup(pair_keys(fit_on)))
            fit_on = [pair for pair, hit in zip(fit_on, hits, strict=True) if hit]
        fit_on = fit_on[:FIT_PAIRS]
        gain, shift = _map(own.standardised(fit_on), fit_on) if fit_on else (1.0, 0.0)
        odds[known, column] = gain * values + shift
    return Targets(torch.from_numpy(targets), torch.from_numpy(odds))


def _map(values: Floats, pairs: Sequence[Pair]) -> tuple[float, float]:
    """From standardised logits (pairs,) to log-odds; as they are where labels are all alike."""
    labels = np.array([float(pair.right) for pair in pairs])
    if labels.min() == labels.max():
        return 1.0, 0.0
    fitted = fit_map(values, labels)
    return fitted.gain, fitted.shift
