"""Systems: what `retort evaluate` measures, each named by its specification.

A system is a scorer (see `scorers.py`), or scores of scorers:

    scores.npz      scores computed elsewhere, one array per set, named as the set
    ensemble:a,b    the mean of systems a and b, each standardised
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retort.failures import reading
from retort.training.data.evaluation_set import EvaluationSet
from retort.training.teachers.scorers import load_scorer
from retort.training.teachers.scoring.constant import is_constant
from retort.training.teachers.scoring.scorer import UnknownScorerError, parse

Floats = NDArray[np.float64]

ENSEMBLE = "ensemble:"


def read_scores(path: Path) -> dict[str, Floats]:
    """Scores by set from an .npz. Raises `OSError`, or `Unreadable` naming the file."""
    with reading(path, "scores by set"), np.load(path) as arrays:
        return {name: np.asarray(arrays[name], dtype=np.float64) for name in arrays.files}


def write_scores(path: Path, scores: Mapping[str, ArrayLike]) -> None:
    """Keep scores by set, so that an evaluation can be repeated without the model."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: np.asarray(array) for name, array in scores.items()}
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]  # no set is named allow_pickle


def score_sets(
    systems: Mapping[str, str],
    sets: Sequence[EvaluationSet],
    progress: bool = False,
    log: Callable[[str], None] = print,
) -> tuple[dict[str, dict[str, Floats]], set[str]]:
    """Scores by system and set, and the names of the systems that give probabilities.

    `systems` maps names to specs; `log` is told of a system whose scores are all alike. Raises
    `UnknownScorerError`.
    """
    scores: dict[str, dict[str, Floats]] = {}
    calibrated: set[str] = set()
    ensembles = {name: spec for name, spec in systems.items() if spec.startswith(ENSEMBLE)}
    for name, spec in systems.items():
        if name in ensembles:
            continue
        if spec.endswith(".npz"):
            scores[name] = read_scores(Path(spec))
            _warn(name, scores[name], "", log)
            continue
        scorer = load_scorer(parse(f"{name}={spec}"))
        scores[name] = {
            item.name: np.asarray(scorer.score(item.pairs, progress), np.float64) for item in sets
        }
        _warn(name, scores[name], scorer.engine, log)
        if scorer.probabilities:
            calibrated.add(name)
    for name, spec in ensembles.items():
        members = [member for member in spec.removeprefix(ENSEMBLE).split(",") if member]
        unknown = [member for member in members if member not in scores]
        if unknown or not members:
            raise UnknownScorerError(
                f"{name}={spec}: no system {', '.join(unknown) or 'named'}: "
                f"there are {', '.join(scores)}"
            )
        names = [item.name for item in sets]
        scores[name] = members_mean([scores[member] for member in members], names)
    return scores, calibrated


def _warn(name: str, by_set: Mapping[str, Floats], engine: str, log: Callable[[str], None]) -> None:
    every = np.concatenate([np.ravel(scores) for scores in by_set.values()])
    if is_constant(every, engine):
        log(
            f"{name}: all scores are {every.mean():.4g}, up to rounding ({every.std():.1e}): its "
            "figures are those of a list in any order; check its weights and tokenizer"
        )


def members_mean(
    members: Sequence[Mapping[str, Floats]], names: Sequence[str]
) -> dict[str, Floats]:
    """The mean of standardised scores, set by set.

    Each member's mean and deviation are taken over all sets together, so that one weighs as much
    as another whatever its scale, and a set's own labels or difficulty play no part.
    """
    totals = {name: np.zeros(()) for name in names}
    for member in members:
        missing = [name for name in names if name not in member]
        if missing:
            raise UnknownScorerError(
                f"a member of the ensemble has no scores of {', '.join(missing)}"
            )
        everything = np.concatenate([member[name] for name in names])
        mean, deviation = everything.mean(), everything.std() or 1.0
        for name in names:
            totals[name] = totals[name] + (member[name] - mean) / deviation / len(members)
    return totals
