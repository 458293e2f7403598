"""Calibrating a bundle: what its scores mean, fitted on labelled sets and held against others.

The map of the mean cannot change an order. Maps per head can, so they are only made where they are
needed or asked for, and what they do to nDCG@10 is measured twice: on the calibration pairs, each
question scored by maps that never saw it, and on the held-out pairs. A bundle that would rank worse
by more than `MOST_LOST` is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retort.models.answerability import Answerability
from retort.models.scores import Calibration, combine
from retort.training.data.evaluation_set import EvaluationSet
from retort.training.data.pairs import RIGHT, Pair
from retort.training.evaluate.answerability import (
    AnswerabilityError,
    AnswerList,
    fit_answerability,
    make_lists,
    probabilities,
)
from retort.training.evaluate.calibration import CalibrationError, Fitted, fit, out_of_fold
from retort.training.evaluate.measures import (
    equal_mass_error,
    expected_calibration_error,
    noise_floor,
    query_values,
    reliability,
)
from retort.training.nn.inference import Logits

Floats = NDArray[np.float64]

# A student's heads get maps of their own where there are as many right pairs, and as many questions
# with right and wrong passages.
HEADS_POSITIVES, HEADS_QUERIES = 300, 100
# How much nDCG@10 maps per head may cost: a few swaps in a hundred questions.
MOST_LOST = 0.005


@dataclass(frozen=True, slots=True)
class ScoredSet:
    """Labelled pairs and a model's logits of them, (pairs, heads)."""

    pairs: tuple[Pair, ...]
    logits: Logits

    @property
    def labels(self) -> Floats:
        """0 to 1, (pairs,); a pair without a label is none that answers."""
        return np.array([pair.label or 0.0 for pair in self.pairs])

    @property
    def query_ids(self) -> list[str]:
        """Each pair's query, (pairs,)."""
        return [pair.query_key for pair in self.pairs]


@dataclass(frozen=True, slots=True)
class Meaning:
    """What makes logits probabilities. Without calibration pairs there is nothing that does."""

    heads: tuple[Calibration, ...] = ()
    mean: Calibration | None = None
    answerability: Answerability | None = None


def find_meaning(
    calibration: Sequence[ScoredSet],
    held_out: ScoredSet | None,
    *,
    per_head: bool = False,
    alike: bool = True,
    log: Callable[[str], None] = lambda text: None,
) -> Meaning:
    """Fit on the sets of `calibration`, each of which counts as much as another.

    What comes of it is measured on `held_out`, if there is any, and told by `log`.

    With `per_head` each head gets a map too. Heads that are not `alike` are on scales of their own:
    a ranking with maps is then compared with that of standardised logits. Raises `CalibrationError`
    for labels that are all alike, too few pairs for `per_head`, or a ranking that gets worse.
    """
    logits = np.concatenate([one.logits for one in calibration])
    labels = np.concatenate([one.labels for one in calibration])
    weights = np.concatenate([np.full(len(o.pairs), 1 / len(o.pairs)) for o in calibration])
    pairs = tuple(pair for one in calibration for pair in one.pairs)
    if per_head and alike:
        _check_enough(pairs)
    fitted = fit(logits, labels, weights, per_head=per_head)
    log(
        f"calibrated on {len(pairs)} pairs of {len(calibration)} sets: gain {fitted.mean.gain:.2f} "
        f"and shift {fitted.mean.shift:+.2f} for the log-odds of the mean"
    )
    if per_head:
        groups = [pair.query_key for pair in pairs]
        crossed = out_of_fold(logits, labels, groups, weights)
        changes = {
            "cross-validated on the calibration pairs": _change(
                pairs, _plain(logits, logits, alike), crossed
            )
        }
        if held_out is not None:
            changes["on the held-out pairs"] = _change(
                held_out.pairs,
                _plain(held_out.logits, logits, alike),
                fitted.probability(held_out.logits),
            )
        _check_order(changes, alike, log)
    if held_out is not None:
        _tell_error(held_out, fitted, log)
    known = _answerability(calibration, held_out, fitted, log)
    return Meaning(fitted.heads, fitted.mean, known)


def ndcg(pairs: Sequence[Pair], scores: Floats) -> float | None:
    """Mean nDCG@10 of scores (pairs,) over the questions with right and wrong passages, if any."""
    mixed = _mixed(pairs)
    rows = [row for row, pair in enumerate(pairs) if pair.query_key in mixed]
    if not rows:
        return None
    items = EvaluationSet("pairs", tuple(pairs[row] for row in rows))
    return float(query_values(items, scores[rows], ["nDCG@10"]).values["nDCG@10"].mean())


def _change(pairs: Sequence[Pair], before: Floats, after: Floats) -> float | None:
    one, other = ndcg(pairs, before), ndcg(pairs, after)
    return None if one is None or other is None else other - one


def _plain(logits: Logits, sample: Logits, alike: bool) -> Floats:
    """Scores (pairs,) without maps; of heads that are not alike the mean of standardised logits."""
    if alike:
        return combine(logits).score
    wide = np.asarray(sample, dtype=np.float64)
    deviation = wide.std(axis=0)
    scaled: Floats = (logits - wide.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    return np.asarray(scaled.mean(axis=1), dtype=np.float64)


def _mixed(pairs: Sequence[Pair]) -> set[str]:
    """Questions with right and wrong passages."""
    right = {pair.query_key for pair in pairs if pair.right}
    return right & {pair.query_key for pair in pairs if not pair.right}


def _check_enough(pairs: Sequence[Pair]) -> None:
    positives = sum(pair.right for pair in pairs)
    queries = len(_mixed(pairs))
    if positives < HEADS_POSITIVES or queries < HEADS_QUERIES:
        raise CalibrationError(
            f"the calibration pairs have {positives} right ones and {queries} questions with right "
            f"and wrong passages; to calibrate each head takes {HEADS_POSITIVES} and "
            f"{HEADS_QUERIES}: give more, or leave out --calibrate-heads and calibrate their mean"
        )


def _check_order(changes: dict[str, float | None], alike: bool, log: Callable[[str], None]) -> None:
    told = ", ".join(
        f"not measured {where}" if change is None else f"{change:+.4f} {where}"
        for where, change in changes.items()
    )
    plain = "heads as they are" if alike else "standardised scores"
    log(f"nDCG@10 with a map for each head, compared with {plain}: {told}")
    if min((change for change in changes.values() if change is not None), default=0) < -MOST_LOST:
        advice = (
            "leave out --calibrate-heads: the mean alone is calibrated then, and keeps every order"
            if alike
            else "give more or other calibration pairs, or leave out the weakest teacher"
        )
        raise CalibrationError(
            f"with a map for each head nDCG@10 changes by {told}; at most {MOST_LOST} may be lost: "
            f"{advice}"
        )


def _tell_error(held_out: ScoredSet, fitted: Fitted, log: Callable[[str], None]) -> None:
    labels = held_out.labels >= RIGHT
    before = expected_calibration_error(labels, combine(held_out.logits).score)
    after = expected_calibration_error(labels, fitted.probability(held_out.logits))
    log(f"calibration error on the held-out pairs: {before:.4f} before, {after:.4f} after")


def _answerability(
    calibration: Sequence[ScoredSet],
    held_out: ScoredSet | None,
    fitted: Fitted,
    log: Callable[[str], None],
) -> Answerability | None:
    def lists(one: ScoredSet, seed: int) -> tuple[list[AnswerList], Floats]:
        found = make_lists(one.query_ids, one.labels, fitted.probability(one.logits), seed)
        return found, np.array([item.answered for item in found])

    try:
        known = fit_answerability([lists(one, seed)[0] for seed, one in enumerate(calibration)])
    except AnswerabilityError as error:
        log(f"no answerability in this bundle: {error}")
        return None
    if held_out is None:
        return known
    found, answered = lists(held_out, len(calibration))
    chances = probabilities(known, found)
    curve = ", ".join(
        f"{one.score:.2f}: {one.relevant:.2f}" for one in reliability(answered, chances)
    )
    log(
        f"answerability: calibration error {equal_mass_error(answered, chances):.4f} on "
        f"{len(found)} held-out lists, of which {noise_floor(chances):.4f} would be chance; "
        f"probability: share that has an answer: {curve}"
    )
    return known
