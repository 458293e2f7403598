"""The findings: what a study's finished runs say, in as few numbers as a screen has room for.

The report has intervals and comparisons; these are means over seeds of each set's headline measure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from retort.training.recipes.study import ENSEMBLE, TEACHERS, StudyRecipe
from retort.training.study.files import RUN_FILE, SPEEDS_FILE, Record, read_json


@dataclass(frozen=True, slots=True)
class Finding:
    """A row on a dataset: the mean headline by set over its finished seeds, and what it cost.

    `retained` is the mean over sets of the share of the teachers' ensemble, None without one.
    `seconds` are those of training one seed.
    """

    dataset: str
    row: str
    seeds: int
    values: Mapping[str, float]
    retained: float | None
    seconds: float
    parameters: int
    layers: int

    @property
    def mean(self) -> float:
        """The mean over the dataset's sets."""
        return fmean(self.values.values())


def find(study: StudyRecipe, part: str = "figures") -> list[Finding]:
    """What is finished, in the study's order; `part` is `figures` or `choose`."""
    records: dict[tuple[str, str], list[Record]] = {}
    for cell in study.cells():
        for name, folder in zip(cell.datasets, study.results(cell), strict=True):
            record = read_json(folder / RUN_FILE)
            if record is not None:
                records.setdefault((name, cell.row), []).append(record)
    findings = []
    for dataset in study.datasets:
        teachers = ensemble(study, dataset.name, part)
        for row in study.rows:
            found = records.get((dataset.name, row.name))
            if found:
                findings.append(_finding(dataset.name, row.name, found, teachers, part))
    return findings


def _finding(
    dataset: str, row: str, records: list[Record], teachers: Mapping[str, float], part: str
) -> Finding:
    seeds = [headlines(record, part) for record in records]
    values = {name: fmean(seed[name] for seed in seeds) for name in seeds[0]}
    # A run that was interrupted knows only what its last sitting took.
    whole = [record for record in records if not record.get("resumed")] or records
    shares = [values[name] / teachers[name] for name in values if teachers.get(name)]
    return Finding(
        dataset, row, len(records), values, fmean(shares) if shares else None,
        fmean(record["seconds"]["train"] for record in whole),
        records[0]["parameters"], records[0]["layers"],
    )  # fmt: skip


def headlines(record: Record, part: str = "figures") -> dict[str, float]:
    """The headline measure of each set of a run."""
    return {
        name: float(measures[record["headline"][name]]) for name, measures in record[part].items()
    }


def ensemble(study: StudyRecipe, dataset: str, part: str = "figures") -> dict[str, float]:
    """The teachers' ensemble by set; empty while it has not been measured."""
    record = read_json(study.out / dataset / TEACHERS / RUN_FILE)
    if record is None:
        return {}
    return {
        name: float(measures[record["headline"][name]])
        for name, measures in record[part][ENSEMBLE].items()
    }


def speeds(study: StudyRecipe) -> Record:
    """`speeds.json`, empty while it has not been measured."""
    return read_json(study.out / SPEEDS_FILE) or {}
