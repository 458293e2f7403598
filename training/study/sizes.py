"""Sizes: parameters and pairs a second of every row and teacher, as far as they were measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from retort.training.study.figures import TEACHERS, THE_BEST, THE_ENSEMBLE, StudyFigures
from retort.training.study.files import SPEEDS_FILE
from retort.training.study.reading import parse_file


@dataclass(frozen=True, slots=True)
class Sizes:
    """By row, and by teacher as `figures` names them. `tokens` is the length of the timed pairs."""

    parameters_of: Mapping[str, int]
    pairs_per_second: Mapping[str, float]
    tokens: int | None = None
    engine: str = ""

    def parameters(self, name: str) -> str:
        """In millions; empty where unknown."""
        found = self.parameters_of.get(name)
        return "" if found is None else f"{found / 1e6:.1f} M"

    def speed(self, name: str) -> str:
        """Pairs a second; empty where not measured."""
        found = self.pairs_per_second.get(name)
        return "" if found is None else f"{found:,.0f}"


class _Speed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    pairs_per_second: float
    parameters: float | None = None


class _Speeds(BaseModel):
    """`speeds.json`, as much of it as is shown."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    tokens: int | None = None
    engine: str = ""
    rows: dict[str, _Speed] = {}
    teachers: dict[str, _Speed] = {}
    ensembles: dict[str, float] = {}


def read_sizes(figures: StudyFigures) -> Sizes:
    """Parameters from the runs, speeds from `speeds.json` where the study has measured them.

    Raises `StudyFileError` if that file cannot be read.
    """
    path = figures.study.folder / SPEEDS_FILE
    speeds = parse_file(_Speeds, path, "delete it") if path.is_file() else _Speeds()
    parameters: dict[str, int] = {}
    for row in figures.plan.rows:
        found = [run.record.parameters for run in figures.runs(row.name)]
        if found and found[0] is not None:
            parameters[row.name] = found[0]
    rates = {name: speed.pairs_per_second for name, speed in speeds.rows.items()}
    for name, speed in speeds.teachers.items():
        rates[TEACHERS + name] = speed.pairs_per_second
        if speed.parameters is not None:
            parameters[TEACHERS + name] = int(speed.parameters)
    if speeds.ensembles:
        rates[THE_ENSEMBLE] = sum(speeds.ensembles.values()) / len(speeds.ensembles)
    best = {dataset.plan.best for dataset in figures.study.datasets}
    if len(best) == 1:
        only = f"{TEACHERS}{next(iter(best))}"
        if only in rates:
            rates[THE_BEST] = rates[only]
    return Sizes(parameters, rates, speeds.tokens, speeds.engine)
