"""Evaluation sets: labelled pairs, and what is measured on them.

A folder of them has one `<name>.jsonl` of pairs per set, and a `sets.json` that says the rest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from retort.failures import reading
from retort.training.data.pairs import Pair
from retort.training.recipes.files import INDEX_FILE

Kind = Literal["ranking", "classification"]


class EvaluationSetError(ValueError):
    """An evaluation set cannot be read, or cannot be measured."""


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """Labelled pairs under a name.

    A "ranking" is measured query by query (AP, RR, nDCG@10, and recall at each of `cutoffs`), a
    "classification" pair by pair (AUC, accuracy). `headline` is the measure that the set is
    known by. `missed` counts, by query id, relevant passages that are not among the pairs because
    the first stage did not find them: no ranking of the rest brings them back.
    """

    name: str
    pairs: tuple[Pair, ...]
    kind: Kind = "ranking"
    cutoffs: tuple[int, ...] = (1, 10)
    headline: str = ""
    missed: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.headline:
            headline = "AUC" if self.kind == "classification" else "nDCG@10"
            object.__setattr__(self, "headline", headline)
        if self.headline not in self.measures:
            raise EvaluationSetError(
                f"{self.name}: headline is {self.headline!r}: use one of {', '.join(self.measures)}"
            )
        unlabelled = sum(pair.label is None for pair in self.pairs)
        if unlabelled or not self.pairs:
            raise EvaluationSetError(
                f"{self.name}: {unlabelled} of {len(self.pairs)} pairs have no label: "
                "give labelled pairs, and at least one"
            )

    @property
    def measures(self) -> tuple[str, ...]:
        """The names of the measures, as `ir_measures` and the report write them."""
        if self.kind == "classification":
            return ("AUC", "accuracy")
        return ("AP", "RR", "nDCG@10", *(f"R@{cutoff}" for cutoff in self.cutoffs))

    @property
    def labels(self) -> NDArray[np.int64]:
        """1 for a label of at least 0.5, else 0; (pairs,)."""
        return np.asarray([int((pair.label or 0.0) >= 0.5) for pair in self.pairs], dtype=np.int64)

    @property
    def query_ids(self) -> list[str]:
        """Each pair's query id, or its query's text where it has none; (pairs,)."""
        return [pair.query_key for pair in self.pairs]


def write_pairs(path: Path, pairs: Iterable[Pair]) -> None:
    """Write pairs as JSON lines, with all of `Pair`'s fields."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(p), ensure_ascii=False) + "\n" for p in pairs)


def write_sets(folder: Path, sets: Sequence[EvaluationSet]) -> None:
    """Write `sets` to `folder`, replacing what it held of that name."""
    folder.mkdir(parents=True, exist_ok=True)
    index = {}
    for item in sets:
        write_pairs(folder / f"{item.name}.jsonl", item.pairs)
        index[item.name] = {
            "kind": item.kind,
            "cutoffs": item.cutoffs,
            "headline": item.headline,
            "missed": dict(item.missed),
        }
    (folder / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def read_sets(folder: Path, names: Sequence[str] = ()) -> list[EvaluationSet]:
    """Read the sets in `folder`, or those of them in `names`.

    Raises `EvaluationSetError` with the file and, where it has one, the line at fault.
    """
    path = folder / INDEX_FILE
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EvaluationSetError(f"{path}: not there: write evaluation sets first") from None
    except ValueError as error:
        raise EvaluationSetError(f"{path}: not JSON ({error})") from None
    unknown = set(names) - set(index)
    if unknown:
        raise EvaluationSetError(
            f"{path}: no set {', '.join(sorted(unknown))}: there are {', '.join(index)}"
        )
    with reading(path, "an index of evaluation sets"):
        return [
            EvaluationSet(
                name=name,
                pairs=read_pairs(folder / f"{name}.jsonl"),
                kind=entry["kind"],
                cutoffs=tuple(entry["cutoffs"]),
                headline=entry["headline"],
                missed=entry["missed"],
            )
            for name, entry in index.items()
            if not names or name in names
        ]


def read_pairs(path: Path) -> tuple[Pair, ...]:
    """Read pairs, one JSON object with `Pair`'s fields per line.

    Raises `EvaluationSetError` with file and line.
    """
    pairs = []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise EvaluationSetError(f"{path}: not there") from None
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            pairs.append(Pair(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise EvaluationSetError(
                f'{path}, line {number}: expected {{"query", "passage", "label", …}} ({error})'
            ) from None
    return tuple(pairs)
