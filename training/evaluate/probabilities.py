"""Probabilities: scores of pairs and of whole lists, against the share that is relevant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retort.models.bundle import Bundle
from retort.models.rankings import kendall_tau, rows_by_query
from retort.models.scores import combine
from retort.training.data.evaluation_set import EvaluationSet
from retort.training.evaluate.answerability import draw_lists, probabilities
from retort.training.evaluate.bootstrap import resample_means
from retort.training.evaluate.logits import logits_of
from retort.training.evaluate.measures import (
    equal_mass_error,
    expected_calibration_error,
    noise_floor,
    reliability,
)
from retort.training.evaluate.trust import Curve, Heads
from retort.training.teachers.scoring.bundle import BundleScorer

Floats = NDArray[np.float64]

SEED = 7


def score_curves(
    scorer: BundleScorer, sets: Sequence[EvaluationSet], keep: Path | None
) -> list[Curve]:
    """The reliability of the scores of each set's pairs; `keep` is for logits of pairs as cut."""
    curves = []
    for items in sets:
        logits = logits_of(scorer.ranker.bundle, [items], keep)[items.name]
        plain = expected_calibration_error(items.labels, combine(logits).score)
        scores = scorer.score(items.pairs, progress=True)
        curves.append(_curve(items.name, items.labels, scores, plain))
    return curves


def answerable_curves(scorer: BundleScorer, sets: Sequence[EvaluationSet]) -> list[Curve]:
    """The reliability of `answerable` on lists drawn from each set, with and without an answer.

    Raises `ValueError` for a bundle without answerability.
    """
    known = scorer.ranker.bundle.manifest.answerability
    if known is None:
        raise ValueError(
            f"{scorer.name}: its manifest has no answerability: export or calibrate it with lists"
        )
    curves = []
    for items in sets:
        drawn = draw_lists(items.query_ids, items.labels, SEED)
        rows = sorted({int(row) for one in drawn for row in one.rows})
        scores = np.zeros(len(items.pairs))
        scores[rows] = scorer.score([items.pairs[row] for row in rows], progress=True)
        lists = [one.scored(scores) for one in drawn]
        answered = np.array([one.answered for one in lists])
        curves.append(_curve(items.name, answered, probabilities(known, lists)))
    return curves


def head_agreement(bundle: Bundle, sets: Sequence[EvaluationSet], keep: Path | None) -> list[Heads]:
    """How like other orders are to that of the mean of the heads' probabilities, by ranking."""
    golden = next(i for i, head in enumerate(bundle.manifest.heads) if head.kind == "golden")
    found = []
    for items in sets:
        if items.kind != "ranking":
            continue
        logits = logits_of(bundle, [items], keep)[items.name]
        mean = combine(logits).score
        others = {"golden": logits[:, golden], "logits": logits.mean(axis=1)}
        rows = rows_by_query(items.query_ids, at_least=2)
        taus: dict[str, list[float]] = {name: [] for name in others}
        for own in rows:
            found_taus = {name: kendall_tau(o[own], mean[own]) for name, o in others.items()}
            if None not in found_taus.values():  # a ranking of ties is none
                for name, tau in found_taus.items():
                    taus[name].append(tau or 0.0)
        samples = resample_means(taus)
        found.append(
            Heads(
                name=items.name,
                golden=samples.of("golden"),
                logits=samples.of("logits"),
                queries=len(taus["golden"]),
            )
        )
    return found


def _curve(name: str, labels: ArrayLike, scores: Floats, plain: float | None = None) -> Curve:
    truth = np.asarray(labels, dtype=np.float64)
    return Curve(
        name=name,
        count=len(truth),
        relevant=float(truth.mean()),
        error=equal_mass_error(truth, scores),
        floor=noise_floor(scores),
        wide_error=expected_calibration_error(truth, scores),
        plain_error=plain,
        bins=tuple(reliability(truth, scores)),
    )
