"""Measuring: the calibrated scores of a run's students, and of the teachers, on evaluation sets.

What a dataset's teachers reach is the standard for their students.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retort.models.encoding import Batch
from retort.models.scores import Scores, combine
from retort.training.data.evaluation_set import EvaluationSet, read_sets
from retort.training.data.pairs import Pair
from retort.training.evaluate.calibration import fit
from retort.training.evaluate.evaluation import point_values
from retort.training.evaluate.measures import correct
from retort.training.labels.label import score_missing
from retort.training.labels.store import ScoreStore, pair_keys
from retort.training.nn.encoders import is_bi_lstm
from retort.training.nn.inference import Logits, Model, compile_module, run, student_model
from retort.training.nn.student import LoadedStudent, load_student
from retort.training.recipes.parts.dataset import Dataset
from retort.training.recipes.parts.teacher import TeacherRef
from retort.training.recipes.study import ENSEMBLE, TEACHERS, StudyRecipe
from retort.training.study.records import (
    LOCK_FILE,
    RUN_FILE,
    SCORES_FILE,
    Figures,
    TeachersRecord,
    code_version,
    find_record,
    locked,
    now,
    write_arrays,
    write_record,
)
from retort.training.teachers.scorers import load_scorer

Floats = NDArray[np.float64]

DECILES = 10


@dataclass(frozen=True, slots=True)
class Opinion:
    """A run's raw `logits` (pairs, heads) on a set, and the scores that they make, calibrated.

    The heads of several students stand side by side.
    """

    logits: Floats
    scores: Scores


@dataclass(frozen=True, slots=True)
class Sets:
    """The sets of a dataset: those that are reported, and those that calibrate and choose."""

    measure: tuple[EvaluationSet, ...]
    choose: tuple[EvaluationSet, ...]

    @property
    def all(self) -> tuple[EvaluationSet, ...]:
        """The sets that choose, then those that are reported."""
        return (*self.choose, *self.measure)


def sets_of(dataset: Dataset) -> Sets:
    """Raises `EvaluationSetError` where there is none."""
    return Sets(
        tuple(item for folder in dataset.measure_folders for item in read_sets(folder)),
        tuple(item for folder in dataset.choose_folders for item in read_sets(folder)),
    )


def fast_model(loaded: LoadedStudent) -> Model:
    """The student in this machine's fastest backend; a Bi-LSTM, which it cannot run, in PyTorch."""
    if is_bi_lstm(loaded.student.config):
        return student_model(loaded.student)
    function = compile_module(loaded.student, ("input_ids", "attention_mask", "token_type_ids"))

    def model(batch: Batch) -> Logits:
        return function(batch.input_ids, batch.attention_mask, batch.token_type_ids)

    return model


def opinions(folders: Sequence[Path], sets: Sequence[EvaluationSet]) -> dict[str, Opinion]:
    """The scores on each set of the students in `folders`, calibrated on the first of `sets`.

    The heads of all students are averaged as they are, and their mean is calibrated, as in a
    bundle: that changes no order, and a method with many heads is measured as one with few. Raises
    `CalibrationError` where the first set's labels are all alike.
    """
    columns: dict[str, list[Floats]] = {item.name: [] for item in sets}
    for folder in folders:
        loaded = load_student(folder)
        model, encoder = fast_model(loaded), loaded.encoder()
        for item in sets:
            logits = run(model, encoder, item.pairs, progress=item.name)
            columns[item.name].append(logits.astype(np.float64))
    heads = {name: np.hstack(found) for name, found in columns.items()}
    mean = fit(heads[sets[0].name], sets[0].labels, per_head=False).mean
    return {name: Opinion(logits, combine(logits, mean)) for name, logits in heads.items()}


def figures(sets: Sequence[EvaluationSet], scores: Mapping[str, ArrayLike]) -> Figures:
    """All measures of each set, accuracy among them; `scores` are probabilities (pairs,) by set."""
    found = {}
    for item in sets:
        found[item.name] = point_values(item, scores[item.name])
        if item.kind == "classification":
            found[item.name]["accuracy"] = float(correct(item.labels, scores[item.name]).mean())
    return found


def spread_error(item: EvaluationSet, opinion: Opinion) -> tuple[tuple[float, float, float], ...]:
    """Pairs in ten parts by how far the heads disagree: mean spread, share of wrong, pairs.

    Empty for one head. A pair is wrong where its score is on the other side of one half.
    """
    if opinion.logits.shape[1] < 2:
        return ()
    spread = opinion.scores.spread
    wrong = 1.0 - correct(item.labels, opinion.scores.score)
    parts = np.array_split(np.argsort(spread, kind="stable"), DECILES)
    return tuple(
        (float(spread[rows].mean()), float(wrong[rows].mean()), float(len(rows)))
        for rows in parts
        if len(rows)
    )


def score_teachers(study: StudyRecipe, dataset: Dataset, log: Callable[[str], None]) -> bool:
    """Write `<dataset>/teachers/{run.json, scores.npz}`; False if that was done before.

    Scores come from the score store and go there, so that no pair is scored twice.
    """
    if has_scores(study, dataset):
        return False
    started = time.monotonic()
    sets, (identities, together, sizes) = sets_of(dataset), _rests_on(dataset)
    logits: dict[str, dict[str, Floats]] = {}
    for teacher in dataset.teachers:
        log(f"{dataset.name}: {teacher.name} scores {sum(sizes.values())} pairs")
        logits[teacher.name] = _score(study.store, teacher, sets.all)
    probabilities = _probabilities(logits, together, sets.all)
    raw = {name: {i.name: logits[name][i.name] for i in sets.measure} for name in logits}
    raw[ENSEMBLE] = {i.name: probabilities[ENSEMBLE][i.name] for i in sets.measure}
    folder = study.out / dataset.name / TEACHERS
    write_arrays(
        folder / SCORES_FILE,
        {f"{name}/{s}": values for name, by_set in raw.items() for s, values in by_set.items()},
    )
    record = TeachersRecord(
        study=study.name,
        dataset=dataset.name,
        finished=now(),
        seconds={"measure": time.monotonic() - started},
        code=code_version(),
        teachers=identities,
        ensemble=together,
        sizes=sizes,
        headline={item.name: item.headline for item in sets.all},
        figures={name: figures(sets.measure, by) for name, by in probabilities.items()},
        choose={name: figures(sets.choose, by) for name, by in probabilities.items()},
    )
    write_record(folder / RUN_FILE, record)
    return True


def has_scores(study: StudyRecipe, dataset: Dataset) -> bool:
    """Whether these teachers have scored these sets, or there are none to ask."""
    if not dataset.teachers:
        return True
    found = find_record(TeachersRecord, study.out / dataset.name / TEACHERS / RUN_FILE)
    return found is not None and (
        (found.teachers, found.ensemble, found.sizes) == _rests_on(dataset)
    )


def _rests_on(dataset: Dataset) -> tuple[dict[str, str], list[str], dict[str, int]]:
    """Identities, members of the ensemble, pairs by set."""
    return (
        {teacher.name: identity(teacher) for teacher in dataset.teachers},
        [teacher.name for teacher in dataset.together],
        {item.name: len(item.pairs) for item in sets_of(dataset).all},
    )


def identity(teacher: TeacherRef) -> str:
    """A teacher's identity, found once per process: loading a teacher takes seconds."""
    return _identity(teacher.model_copy(update={"sources": None}).model_dump_json())


@cache
def _identity(text: str) -> str:
    return load_scorer(TeacherRef.model_validate_json(text)).identity


def _score(store: Path, reference: TeacherRef, sets: Sequence[EvaluationSet]) -> dict[str, Floats]:
    """A teacher's raw scores by set, (pairs,) each.

    They are kept in the store of its labels, but they do not fix its scale: that comes from
    training data.
    """
    pairs: list[Pair] = [pair for item in sets for pair in item.pairs]
    keys = pair_keys(pairs)
    scores = ScoreStore(store).teacher(reference.name, identity(reference))
    if np.isnan(scores.lookup(keys)).any():
        with locked(store / LOCK_FILE):
            scores, _ = score_missing(load_scorer(reference), pairs, ScoreStore(store))
    found = scores.lookup(keys).astype(np.float64)
    ends = np.cumsum([len(item.pairs) for item in sets])
    parts = np.split(found, ends[:-1])
    return {item.name: part for item, part in zip(sets, parts, strict=True)}


def _probabilities(
    logits: Mapping[str, Mapping[str, Floats]],
    members: Sequence[str],
    sets: Sequence[EvaluationSet],
) -> dict[str, dict[str, Floats]]:
    """By set, of each teacher and of the members' mean; calibrated on the first set.

    Teachers are of different kinds, so each has a map of its own before they are averaged.
    """

    def calibrated(names: Sequence[str]) -> dict[str, Floats]:
        stacked = {s.name: np.stack([logits[n][s.name] for n in names], axis=1) for s in sets}
        fitted = fit(stacked[sets[0].name], sets[0].labels, per_head=True)
        return {name: fitted.probability(values) for name, values in stacked.items()}

    return {**{name: calibrated([name]) for name in logits}, ENSEMBLE: calibrated(members)}
