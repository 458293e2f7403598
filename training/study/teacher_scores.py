"""The teachers of a dataset on its evaluation sets: what a student of theirs is held against."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from retort.training.data.evaluation_set import EvaluationSet
from retort.training.data.pairs import Pair
from retort.training.evaluate.calibration import fit_calibration
from retort.training.labels.store import ScoreStore, pair_keys
from retort.training.recipes.recipe import TeacherRef
from retort.training.recipes.study import ENSEMBLE, TEACHERS, Dataset, StudyRecipe
from retort.training.study.files import (
    RUN_FILE,
    SCHEMA,
    SCORES_FILE,
    Record,
    code_version,
    now,
    read_json,
    write_arrays,
    write_json,
)
from retort.training.study.measure import Figures, read_folders, set_figures
from retort.training.study.run import identity, locked
from retort.training.teachers.scorers import load_teacher

Floats = NDArray[np.float64]


def score_teachers(study: StudyRecipe, dataset: Dataset, log: Callable[[str], None]) -> bool:
    """Write `<dataset>/teachers/{run.json, scores.npz}`; False if that was done before.

    Scores come from the score store and go there, so that no pair is asked twice.
    """
    started = time.monotonic()
    folder = study.out / dataset.name / TEACHERS
    identities = {teacher.name: identity(teacher) for teacher in dataset.teachers}
    sets = read_folders(dataset.measure_folders, dataset.choose_folders)
    sizes = {item.name: len(item.pairs) for item in sets.all}
    together = [teacher.name for teacher in dataset.together]
    found = read_json(folder / RUN_FILE) or {}
    made_from = {"teachers": identities, "ensemble": together, "sizes": sizes}
    if all(found.get(key) == value for key, value in made_from.items()):
        return False
    logits: dict[str, dict[str, Floats]] = {}
    for teacher in dataset.teachers:
        log(f"{dataset.name}: {teacher.name} scores {sum(sizes.values())} pairs")
        logits[teacher.name] = _score(study.store, teacher, sets.all)
    if not logits:
        return False
    probabilities = _probabilities(logits, together, sets.all)
    raw = {name: {i.name: logits[name][i.name] for i in sets.measure} for name in logits}
    raw[ENSEMBLE] = {i.name: probabilities[ENSEMBLE][i.name] for i in sets.measure}
    write_arrays(
        folder / SCORES_FILE,
        {f"{name}/{s}": values for name, by_set in raw.items() for s, values in by_set.items()},
    )
    record: Record = {
        "schema": SCHEMA,
        "study": study.name,
        "dataset": dataset.name,
        "row": TEACHERS,
        "finished": now(),
        "seconds": {"measure": time.monotonic() - started},
        "code": code_version(),
        **made_from,
        "headline": {item.name: item.headline for item in sets.all},
        "figures": {name: _figures(sets.measure, by) for name, by in probabilities.items()},
        "choose": {name: _figures(sets.choose, by) for name, by in probabilities.items()},
    }
    write_json(folder / RUN_FILE, record)
    return True


def _score(store: Path, reference: TeacherRef, sets: Sequence[EvaluationSet]) -> dict[str, Floats]:
    """A teacher's raw scores by set, (pairs,) each.

    They are kept beside its labels, but a scale is not fixed on them: that is for training data.
    """
    pairs: list[Pair] = [pair for item in sets for pair in item.pairs]
    keys = pair_keys(pairs)
    scores = ScoreStore(store).teacher(reference.name, identity(reference))
    if np.isnan(scores.lookup(keys)).any():
        with locked(store / ".labels.lock"):
            # Another run may have written since: read the store anew.
            scores = ScoreStore(store).teacher(reference.name, identity(reference))
            missing = np.flatnonzero(np.isnan(scores.lookup(keys)))
            missing = missing[np.unique(keys[missing], return_index=True)[1]]
            teacher = load_teacher(reference)
            for start in range(0, len(missing), teacher.block_pairs):
                rows = missing[start : start + teacher.block_pairs]
                scores.add(keys[rows], teacher.score([pairs[row] for row in rows], progress=True))
    found = scores.lookup(keys).astype(np.float64)
    ends = np.cumsum([len(item.pairs) for item in sets])
    parts = np.split(found, ends[:-1])
    return {item.name: part for item, part in zip(sets, parts, strict=True)}


def _probabilities(
    logits: dict[str, dict[str, Floats]], members: Sequence[str], sets: Sequence[EvaluationSet]
) -> dict[str, dict[str, Floats]]:
    """Each teacher's probabilities by set and the members' mean's, calibrated on the first set."""
    first = sets[0]
    found: dict[str, dict[str, Floats]] = {}
    for name, by_set in logits.items():
        own = fit_calibration(by_set[first.name][:, None], first.labels)
        found[name] = {s: expit(own.apply(v[:, None]))[:, 0] for s, v in by_set.items()}
    stacked = {s.name: np.stack([logits[m][s.name] for m in members], axis=1) for s in sets}
    common = fit_calibration(stacked[first.name], first.labels)
    found[ENSEMBLE] = {name: common.probability(values) for name, values in stacked.items()}
    return found


def _figures(sets: Sequence[EvaluationSet], by_set: dict[str, Floats]) -> Figures:
    return {item.name: set_figures(item, by_set[item.name]) for item in sets}
