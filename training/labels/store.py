"""The score store: every teacher's logits on disk, computed once and looked up by content.

One folder a teacher, named by its identity, holds parquet parts of (pair key, logit) and
`teacher.json` with its calibration: mean and deviation over a fixed sample, by which students
learn standardised logits. A part is written whole or not at all, so a killed labelling run loses
at most the block it was in.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from retort.training.data.pairs import Pair

Keys = NDArray[np.uint64]
Floats = NDArray[np.float32]

SAMPLE = 20_000


class StoreError(ValueError):
    """A score that training needs is not in the store."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A teacher's mean and standard deviation, and over how many pairs they were taken."""

    mean: float
    deviation: float
    pairs: int

    def standardise(self, logits: Floats) -> Floats:
        """(logit - mean) / deviation."""
        return ((logits - self.mean) / self.deviation).astype(np.float32)


def pair_keys(pairs: Sequence[Pair]) -> Keys:
    """Content keys (pairs,)."""
    return np.fromiter((pair.key for pair in pairs), dtype=np.uint64, count=len(pairs))


class TeacherScores:
    """What one teacher said of which pairs."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        folder.mkdir(parents=True, exist_ok=True)
        tables = [pq.read_table(path) for path in sorted(folder.glob("part-*.parquet"))]
        keys = [np.asarray(table.column("key").to_numpy(), np.uint64) for table in tables]
        values = [np.asarray(table.column("logit").to_numpy(), np.float32) for table in tables]
        self._parts = len(tables)
        self._keys: Keys = np.concatenate([np.empty(0, np.uint64), *keys])
        self._values: Floats = np.concatenate([np.empty(0, np.float32), *values])
        self._sort()

    def _sort(self) -> None:
        self._keys, first = np.unique(self._keys, return_index=True)
        self._values = self._values[first]

    def __len__(self) -> int:
        return len(self._keys)

    def lookup(self, keys: Keys) -> Floats:
        """Logits (pairs,), NaN where there is none yet."""
        found = np.full(len(keys), np.nan, dtype=np.float32)
        if len(self._keys):
            places = np.searchsorted(self._keys, keys).clip(max=len(self._keys) - 1)
            hit = self._keys[places] == keys
            found[hit] = self._values[places[hit]]
        return found

    def add(self, keys: Keys, logits: Floats) -> None:
        """Keep scores; they are on disk when this returns."""
        if not np.isfinite(logits).all():
            raise StoreError(f"{self.name}: a logit that is not finite; nothing was kept")
        path = self.folder / f"part-{self._parts:05}.parquet"
        temporary = path.with_suffix(".tmp")
        pq.write_table(pa.table({"key": keys, "logit": logits}), temporary, compression="zstd")
        temporary.replace(path)
        self._parts += 1
        self._keys = np.concatenate([self._keys, keys])
        self._values = np.concatenate([self._values, logits])
        self._sort()

    def calibrate(self, keys: Keys) -> Scale:
        """Fix the scale on the first `SAMPLE` of these pairs; a scale once fixed stays."""
        path = self.folder / "teacher.json"
        if not path.is_file():
            sample = self.lookup(keys[:SAMPLE])
            sample = sample[np.isfinite(sample)]
            if len(sample) < 2 or float(sample.std()) == 0.0:
                raise StoreError(f"{self.name}: {len(sample)} scores do not make a scale")
            facts = {
                "name": self.name,
                "mean": float(sample.mean()),
                "deviation": float(sample.std()),
            }
            path.write_text(json.dumps({**facts, "pairs": len(sample)}, indent=1) + "\n")
        return self.scale()

    def scale(self) -> Scale:
        """Raises `StoreError` before the first `calibrate`."""
        path = self.folder / "teacher.json"
        if not path.is_file():
            raise StoreError(f"{self.name}: no scale yet; label a table with `retort label` first")
        facts = json.loads(path.read_text())
        return Scale(facts["mean"], facts["deviation"], facts["pairs"])

    def targets(self, pairs: Sequence[Pair]) -> Floats:
        """Standardised logits (pairs,). Raises `StoreError` if any pair has no score."""
        logits = self.lookup(pair_keys(pairs))
        missing = int(np.isnan(logits).sum())
        if missing:
            raise StoreError(
                f"{self.name}: {missing} of {len(pairs)} pairs have no score; run `retort label` "
                "with this recipe first"
            )
        return self.scale().standardise(logits)


class ScoreStore:
    """All teachers' scores under one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def teacher(self, name: str, identity: str) -> TeacherScores:
        """The scores of the teacher with this identity."""
        return TeacherScores(self.root / identity, name)
