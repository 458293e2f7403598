"""A study as it stands on disk, made up: real files, real sets, scores drawn from a known truth.

Each row has a skill: the share of the label in its scores, the rest is noise, in part common to all
systems (a hard pair is hard for everyone), in part the seed's own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from retort.training.data.evaluation_set import EvaluationSet, write_sets
from retort.training.data.pairs import Pair
from retort.training.evaluate.evaluation import point_values
from retort.training.evaluate.measures import correct, expected_calibration_error

Floats = NDArray[np.float64]

PUBLISHED = {"set": "QNLI", "value": 86.44, "note": "BERT-3, 40M pairs, 3 BERT-large"}
ROWS: tuple[dict[str, Any], ...] = (
    {"name": "none", "method": "none", "stages": ["labelled"]},
    {"name": "1-o-1", "method": "1-o-1", "stages": ["labelled"], "paper": "TMKD"},
    {"name": "1avg-o-1", "method": "1avg-o-1", "stages": ["labelled"], "paper": "TMKD"},
    {
        "name": "tmkd",
        "method": "tmkd",
        "stages": ["unlabelled", "labelled"],
        "paper": "TMKD",
        "published": [PUBLISHED],
    },
    {"name": "skd-uniform", "method": "skd", "stages": ["labelled"], "paper": "SKDBERT"},
    {
        "name": "tmkd-1-layer",
        "label": "TMKD, 1 layer",
        "method": "tmkd",
        "stages": ["unlabelled", "labelled"],
        "paper": "TMKD",
        "student": {"layers": [1]},
    },
)
SKILLS = {
    "none": 0.5,
    "1-o-1": 0.7,
    "1avg-o-1": 0.7,
    "tmkd": 1.0,
    "skd-uniform": 0.72,
    "tmkd-1-layer": 0.6,
}
TEACHERS = {"ce-6": 1.2, "ce-4": 1.1}


@dataclass
class Made:
    """What a study is made from; change a field, then `write`."""

    folder: Path
    datasets: Sequence[str] = ("qa",)
    rows: Sequence[Mapping[str, Any]] = ROWS
    seeds: Sequence[int] = (1, 2, 3)
    skills: Mapping[str, float] = field(default_factory=lambda: dict(SKILLS))
    seed_noise: float = 0.03
    queries: int = 60
    left_out: Sequence[tuple[str, int]] = ()  # (row, seed) of runs that have not finished
    teachers: bool = True
    speeds: bool = True
    choose_skill: Mapping[str, float] = field(default_factory=dict)

    def sets(self, dataset: str) -> list[EvaluationSet]:
        """A ranking and a classification."""
        pairs = tuple(
            Pair(f"{dataset} question {q}", f"passage {p} of {q}", float(p == q % 6), f"q{q}")
            for q in range(self.queries)
            for p in range(6)
        )
        return [
            EvaluationSet(f"{dataset}-judged", pairs, "classification"),
            EvaluationSet(f"{dataset}-ranked", pairs, headline="AP"),
        ]

    def write(self) -> Path:
        """The study's folder, as `retort study` leaves it."""
        study = self.folder / "study"
        plans = []
        for dataset in self.datasets:
            sets = self.sets(dataset)
            for name in ("measure", "choose"):
                write_sets(self.folder / "sets" / dataset / name, sets)
            plans.append(self._dataset(dataset))
            for row in self.rows:
                for seed in self.seeds:
                    if (row["name"], seed) not in self.left_out:
                        self._run(study, dataset, row, seed, sets)
            if self.teachers:
                self._teachers(study / dataset / "teachers", sets)
        plan = {
            "kind": "study",
            "name": "qa-study",
            "out": str(study),
            "store": "runs/scores",
            "seeds": list(self.seeds),
            "baseline": "none",
            "datasets": plans,
            "rows": list(self.rows),
        }
        _write(study / "plan.json", plan)
        if self.speeds:
            rows = {r["name"]: {"pairs_per_second": 600.0, "parameters": 5e6} for r in self.rows}
            if "tmkd-1-layer" in rows:
                rows["tmkd-1-layer"]["pairs_per_second"] = 1500.0
            speeds = {
                "schema": 1,
                "tokens": 128,
                "engine": "OpenVINO",
                "rows": rows,
                "teachers": {
                    "ce-6": {"pairs_per_second": 250.0},
                    "ce-4": {"pairs_per_second": 400},
                },
                "ensembles": dict.fromkeys(self.datasets, 154.0),
            }
            _write(study / "speeds.json", speeds)
        return study

    def _dataset(self, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "teachers": [
                {"name": teacher, "kind": "cross-encoder", "path": f"runs/teachers/{teacher}"}
                for teacher in TEACHERS
            ],
            "best": "ce-6",
            "measure": str(self.folder / "sets" / name / "measure"),
            "choose": str(self.folder / "sets" / name / "choose"),
            "stages": {
                "unlabelled": {"table": "runs/data/stage1.parquet", "alpha": 1.0},
                "labelled": {"table": "runs/data/labelled.parquet", "alpha": 0.9},
            },
        }

    def _logits(self, items: EvaluationSet, skill: float, key: str, heads: int) -> Floats:
        common = np.random.default_rng(len(items.name)).normal(size=len(items.pairs))
        own = np.random.default_rng(list(f"{items.name} {key}".encode()))
        shift = own.normal(scale=self.seed_noise)
        signal = (skill + shift) * (2 * items.labels - 1)
        noise = own.normal(scale=0.5, size=(len(items.pairs), heads))
        logits: Floats = (signal + common)[:, None] + noise
        return logits

    def _run(
        self,
        study: Path,
        dataset: str,
        row: Mapping[str, Any],
        seed: int,
        sets: Sequence[EvaluationSet],
    ) -> None:
        name = str(row["name"])
        heads = 3 if row["method"] == "tmkd" else 1
        arrays: dict[str, Any] = {}
        record: dict[str, Any] = {
            "schema": 1,
            "study": "qa-study",
            "dataset": dataset,
            "row": name,
            "seed": seed,
            "method": row["method"],
            "finished": f"2026-01-0{seed}T10:00:00+00:00",
            "seconds": {"train": 3000.0, "measure": 600.0},
            "pairs_trained": 10_000,
            "parameters": 17_300_000,
            "layers": 3,
            "recipe": {},
            "code": "v1-2-gabc",
            "tables": {"runs/data/labelled.parquet": "0" * 64},
            "teachers": {},
            "curve": [
                [
                    [step, 0.2 + float(np.exp(-step / 300)) / (stage + 1)]
                    for step in range(0, 1001, 50)
                ]
                for stage in range(len(row["stages"]))
            ],
            "headline": {items.name: items.headline for items in sets},
            "figures": {},
            "choose": {},
            "calibration_error": {},
            "spread_error": {},
        }
        for items in sets:
            skill = self.skills[name]
            logits = self._logits(items, skill, f"{name} {seed}", heads)
            scores = expit(2 * logits).mean(axis=1)
            arrays[items.name] = scores
            arrays[f"{items.name}/logits"] = logits.astype(np.float16)
            record["figures"][items.name] = point_values(items, scores)
            chosen = self._logits(items, self.choose_skill.get(name, skill), f"c {name} {seed}", 1)
            record["choose"][items.name] = point_values(items, expit(chosen[:, 0]))
            record["calibration_error"][items.name] = expected_calibration_error(
                items.labels, scores
            )
            spread = expit(logits).std(axis=1)
            wrong = 1.0 - correct(items.labels, scores)
            parts = np.array_split(np.argsort(spread), 10) if heads > 1 else []
            record["spread_error"][items.name] = [
                [float(spread[rows].mean()), float(wrong[rows].mean()), len(rows)] for rows in parts
            ]
        folder = study / dataset / name / f"seed-{seed}"
        _write(folder / "run.json", record)
        np.savez_compressed(folder / "scores.npz", **arrays)

    def _teachers(self, folder: Path, sets: Sequence[EvaluationSet]) -> None:
        arrays: dict[str, Any] = {}
        for items in sets:
            raw = {
                name: self._logits(items, skill, name, 1)[:, 0] for name, skill in TEACHERS.items()
            }
            arrays |= {f"{name}/{items.name}": values for name, values in raw.items()}
            probabilities = [expit(2 * values) for values in raw.values()]
            arrays[f"ensemble/{items.name}"] = np.mean(probabilities, axis=0)
        _write(folder / "run.json", {"schema": 1, "row": "teachers"})
        np.savez_compressed(folder / "scores.npz", **arrays)


def _write(path: Path, value: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
