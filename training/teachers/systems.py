"""Systems: whatever can score pairs, found by what the command line says of it.

a folder with student.json     a checkpoint, scored by PyTorch: probabilities
a bundle, by path or name      its graph, scored by ONNX Runtime: probabilities
scores.npz                     scores computed elsewhere, one array a set, named like the set
ensemble:a,b                   the mean of systems a and b, each standardised
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retort.models.encoding import PairEncoder
from retort.models.scores import combine
from retort.training.data.evaluation_set import EvaluationSet
from retort.training.data.pairs import Pair
from retort.training.nn.inference import Model, run

Floats = NDArray[np.float64]

ENSEMBLE = "ensemble:"
TEACHERS = ("cross-encoder", "bi-encoder", "hub-cross-encoder")


class UnknownSystemError(ValueError):
    """There is no such system, or it cannot score a set."""


class Scorer(Protocol):
    """A system that scores pairs."""

    @property
    def name(self) -> str:
        """What the report calls it."""

    def score(self, pairs: Sequence[Pair], progress: bool = False) -> ArrayLike:
        """One score a pair, (pairs,), higher is better."""


@dataclass(frozen=True, slots=True)
class ModelScorer:
    """A student as a scorer: its probabilities (TMKD equation 6)."""

    name: str
    model: Model
    encoder: PairEncoder

    def score(self, pairs: Sequence[Pair], progress: bool = False) -> Floats:
        """Probabilities (pairs,)."""
        logits = run(self.model, self.encoder, pairs, progress=self.name if progress else "")
        return combine(logits).score


def load_scorer(name: str, spec: str) -> tuple[Scorer, bool]:
    """The system that `spec` names, and whether its scores are probabilities.

    Raises `UnknownSystemError` if there is none, `BackboneError` or `CheckpointError` for a
    teacher that cannot be loaded.
    """
    from retort.models.errors import BundleError
    from retort.training.nn.inference import graph_model, student_model

    kind, colon, place = spec.partition(":")
    if colon and kind in TEACHERS:
        from retort.training.recipes.recipe import TeacherRef
        from retort.training.teachers.scorers import load_teacher

        reference = {"name": name, "path": place, "kind": kind}
        return load_teacher(TeacherRef.model_validate(reference)), False
    folder = Path(spec)
    if (folder / "student.json").is_file():
        from retort.training.nn.checkpoint import load_student

        loaded = load_student(folder)
        return ModelScorer(name, student_model(loaded.student), loaded.encoder()), True
    from retort.models.bundle import read_bundle
    from retort.models.find import find_bundle

    try:
        bundle = read_bundle(find_bundle(spec))
    except BundleError as error:
        raise UnknownSystemError(
            f"{name}={spec}: no checkpoint (student.json), no .npz of scores, "
            f"and no bundle ({error})"
        ) from error
    return ModelScorer(name, graph_model(bundle.graph_path), bundle.encoder()), True


def read_scores(path: Path) -> dict[str, Floats]:
    """Scores by set from an .npz. Raises `UnknownSystemError` naming the file."""
    try:
        with np.load(path) as arrays:
            return {name: np.asarray(arrays[name], dtype=np.float64) for name in arrays.files}
    except (OSError, ValueError) as error:
        raise UnknownSystemError(f"{path}: cannot be read as .npz of scores ({error})") from error


def write_scores(path: Path, scores: Mapping[str, ArrayLike]) -> None:
    """Keep scores by set, so that an evaluation can be repeated without the model."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: np.asarray(array) for name, array in scores.items()}
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]  # no set is named allow_pickle


def score_sets(
    systems: Mapping[str, str], sets: Sequence[EvaluationSet], progress: bool = False
) -> tuple[dict[str, dict[str, Floats]], set[str]]:
    """Scores by system and set, and the names of the systems that give probabilities.

    `systems` maps names to specs. Raises `UnknownSystemError`.
    """
    scores: dict[str, dict[str, Floats]] = {}
    calibrated: set[str] = set()
    ensembles = {name: spec for name, spec in systems.items() if spec.startswith(ENSEMBLE)}
    for name, spec in systems.items():
        if name in ensembles:
            continue
        if spec.endswith(".npz"):
            scores[name] = read_scores(Path(spec))
            continue
        scorer, probable = load_scorer(name, spec)
        scores[name] = {
            item.name: np.asarray(scorer.score(item.pairs, progress), np.float64) for item in sets
        }
        if probable:
            calibrated.add(name)
    for name, spec in ensembles.items():
        members = [member for member in spec.removeprefix(ENSEMBLE).split(",") if member]
        unknown = [member for member in members if member not in scores]
        if unknown or not members:
            raise UnknownSystemError(
                f"{name}={spec}: no system {', '.join(unknown) or 'named'}: "
                f"there are {', '.join(scores)}"
            )
        names = [item.name for item in sets]
        scores[name] = members_mean([scores[member] for member in members], names)
    return scores, calibrated


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
            raise UnknownSystemError(
                f"a member of the ensemble has no scores of {', '.join(missing)}"
            )
        everything = np.concatenate([member[name] for name in names])
        mean, deviation = everything.mean(), everything.std() or 1.0
        for name in names:
            totals[name] = totals[name] + (member[name] - mean) / deviation / len(members)
    return totals
