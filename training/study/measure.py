"""Measuring a run: what its student, or students, say of evaluation sets, as calibrated scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from retort.models.encoding import Batch
from retort.training.data.evaluation_set import EvaluationSet, read_sets
from retort.training.evaluate.calibration import expected_calibration_error, fit_calibration
from retort.training.evaluate.evaluation import point_values
from retort.training.evaluate.measures import correct
from retort.training.nn.bi_lstm import is_bi_lstm
from retort.training.nn.checkpoint import LoadedStudent, load_student
from retort.training.nn.inference import Logits, Model, run, student_model
from retort.training.teachers.engine import compile_module

Floats = NDArray[np.float64]
Figures = dict[str, dict[str, float]]

DECILES = 10


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a run says of a set: raw `logits` and calibrated `heads`, both (pairs, heads).

    Of several students the heads of all stand side by side.
    """

    logits: Floats
    heads: Floats

    @property
    def scores(self) -> Floats:
        """Probabilities (pairs,): the mean over heads (TMKD equation 6) and students."""
        mean: Floats = self.heads.mean(axis=1)
        return mean

    @property
    def spread(self) -> Floats:
        """The deviation over the heads, (pairs,)."""
        deviation: Floats = self.heads.std(axis=1)
        return deviation


@dataclass(frozen=True, slots=True)
class Sets:
    """The sets of a dataset: those that are reported, and those that calibrate and choose."""

    measure: tuple[EvaluationSet, ...]
    choose: tuple[EvaluationSet, ...]

    @property
    def all(self) -> tuple[EvaluationSet, ...]:
        """The sets that choose, then those that are reported."""
        return (*self.choose, *self.measure)


def read_folders(measure: Sequence[Path], choose: Sequence[Path]) -> Sets:
    """Raises `EvaluationSetError` where there is none."""
    return Sets(
        tuple(item for folder in measure for item in read_sets(folder)),
        tuple(item for folder in choose for item in read_sets(folder)),
    )


def fast_model(loaded: LoadedStudent) -> Model:
    """The student in this machine's fast engine; a Bi-LSTM, which it cannot read, in PyTorch."""
    if is_bi_lstm(loaded.student.config):
        return student_model(loaded.student)
    function = compile_module(loaded.student, ("input_ids", "attention_mask", "token_type_ids"))

    def model(batch: Batch) -> Logits:
        return function(batch.input_ids, batch.attention_mask, batch.token_type_ids)

    return model


def opinions(folders: Sequence[Path], sets: Sequence[EvaluationSet]) -> dict[str, Opinion]:
    """What the students in `folders` say of each set, calibrated on the first of `sets`.

    Each student is calibrated by itself. Raises `CalibrationError` where the first set's labels are
    all alike.
    """
    columns: dict[str, list[tuple[Floats, Floats]]] = {item.name: [] for item in sets}
    for folder in folders:
        loaded = load_student(folder)
        model, encoder = fast_model(loaded), loaded.encoder()
        logits = {
            item.name: run(model, encoder, item.pairs, progress=item.name).astype(np.float64)
            for item in sets
        }
        calibration = fit_calibration(logits[sets[0].name], sets[0].labels)
        for name, values in logits.items():
            columns[name].append((values, expit(calibration.apply(values))))
    return {
        name: Opinion(np.hstack([raw for raw, _ in found]), np.hstack([cal for _, cal in found]))
        for name, found in columns.items()
    }


def set_figures(item: EvaluationSet, scores: ArrayLike, probable: bool = True) -> dict[str, float]:
    """All measures of one set; accuracy only where scores are probabilities."""
    values = point_values(item, scores)
    if item.kind == "classification" and probable:
        values["accuracy"] = float(correct(item.labels, scores).mean())
    return values


def figures(sets: Sequence[EvaluationSet], found: Mapping[str, Opinion]) -> Figures:
    """`set_figures` of each set."""
    return {item.name: set_figures(item, found[item.name].scores) for item in sets}


def calibration_errors(
    sets: Sequence[EvaluationSet], found: Mapping[str, Opinion]
) -> dict[str, float]:
    """The expected calibration error by set."""
    return {
        item.name: expected_calibration_error(item.labels, found[item.name].scores) for item in sets
    }


def spread_error(item: EvaluationSet, opinion: Opinion) -> list[list[float]]:
    """Pairs in ten parts by how far the heads disagree: mean spread, share of wrong, pairs.

    Empty for one head. A pair is wrong where its score is on the other side of one half.
    """
    if opinion.heads.shape[1] < 2:
        return []
    spread = opinion.spread
    wrong = 1.0 - correct(item.labels, opinion.scores)
    parts = np.array_split(np.argsort(spread, kind="stable"), DECILES)
    return [
        [float(spread[rows].mean()), float(wrong[rows].mean()), float(len(rows))]
        for rows in parts
        if len(rows)
    ]
