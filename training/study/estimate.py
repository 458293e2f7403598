"""The estimate: how long a study's cells will take, before and while they run.

Before anything has run it is a rule of thumb: a 3-layer student of 384 trains on 65 pairs of 128
tokens per second on two cores, in proportion to layers and tokens. Finished cells correct it.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from retort.training.data.table import table_counts
from retort.training.recipes.files import INDEX_FILE
from retort.training.recipes.parts.stage import Stage
from retort.training.recipes.study import Cell, StudyRecipe
from retort.training.study.records import RUN_FILE, RunRecord, find_record

PAIRS_PER_SECOND = 65.0
LAYERS = 3
TOKENS = 128
FASTER = 6.0  # inference compared with training


def nominal_seconds(study: StudyRecipe, cell: Cell) -> float | None:
    """By the rule of thumb; None where a table or set is not there to be counted."""
    row = study.row(cell.row)
    recipe = study.compose(cell)
    plan = recipe.student
    layers = len(plan.layers) if plan.kind == "encoder" else plan.lstm_layers / 2
    students = len(recipe.members())
    work = 0.0
    for name in cell.datasets:
        dataset = study.dataset(name)
        for stage in study.stages(row, dataset):
            pairs = stage_pairs(stage)
            if pairs is None:
                return None
            work += pairs * stage.optimiser.epochs * stage.length.max_length
        asked = sum(_pairs_of(f) or 0 for f in (*dataset.measure_folders, *dataset.choose_folders))
        work += asked * recipe.stages[-1].length.max_length / FASTER
    return work * layers * students / (PAIRS_PER_SECOND * LAYERS * TOKENS)


class Estimator:
    """Seconds by cell, better with every cell that has run."""

    def __init__(self, study: StudyRecipe) -> None:
        self._nominal = {cell.name: nominal_seconds(study, cell) for cell in study.cells()}
        self._ratios: dict[str, float] = {}
        for cell in study.cells():
            seconds = measured_seconds(study, cell)
            if seconds is not None:
                self.learn(cell.name, seconds)

    def learn(self, name: str, seconds: float) -> None:
        """Correct the estimate by what a cell took."""
        nominal = self._nominal.get(name)
        if nominal:
            self._ratios[name] = seconds / nominal

    def seconds(self, name: str) -> float | None:
        """How long a cell will take."""
        nominal = self._nominal.get(name)
        if nominal is None:
            return None
        return nominal * (statistics.median(self._ratios.values()) if self._ratios else 1.0)

    def total(self, names: Iterable[str], jobs: int = 1) -> float:
        """How long these cells will take; those that cannot be estimated count as nothing."""
        return sum(self.seconds(name) or 0.0 for name in names) / jobs


def timetable(study: StudyRecipe) -> list[tuple[str, float | None, bool]]:
    """The cells in order: name, estimated seconds, whether it has figures."""
    estimator = Estimator(study)
    return [
        (
            cell.name,
            estimator.seconds(cell.name),
            all((folder / RUN_FILE).is_file() for folder in study.results(cell)),
        )
        for cell in study.cells()
    ]


def measured_seconds(study: StudyRecipe, cell: Cell) -> float | None:
    """How long a finished cell took; None if it is not finished or was interrupted."""
    found = [find_record(RunRecord, folder / RUN_FILE) for folder in study.results(cell)]
    records = [record for record in found if record is not None]
    if len(records) < len(found) or any(record.resumed for record in records):
        return None
    measured = sum(record.seconds.get("measure", 0.0) for record in records)
    return records[0].seconds.get("train", 0.0) + measured


_counts = cache(table_counts)


def stage_pairs(stage: Stage) -> int | None:
    """How many pairs a stage reads, without reading them; None for a table that is not there."""
    counts = _counts(stage.table)
    if counts is None:
        return None
    pairs = sum(
        count["labelled" if stage.alpha < 1.0 else "pairs"]
        for source, count in counts.items()
        if stage.sources is None or source in stage.sources
    )
    if stage.skip is not None:
        pairs = max(0, pairs - stage.skip)
    return pairs if stage.limit is None else min(pairs, stage.limit)


@cache
def _pairs_of(folder: Path) -> int | None:
    try:
        index = json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))
        total = 0
        for name in index:
            with (folder / f"{name}.jsonl").open("rb") as lines:
                total += sum(1 for _ in lines)
    except (OSError, ValueError):
        return None
    return total


def in_words(seconds: float | None) -> str:
    """As in `3 h 20 min`, `4 min` or `40 s`; `?` for None."""
    if seconds is None:
        return "?"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"
