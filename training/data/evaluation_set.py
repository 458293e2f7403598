"""Evaluation sets: labelled pairs, and what is measured on them.

A folder of them has one file of pairs per set, `<name>.jsonl` or another of the formats of
`readers/own.py`, and a `sets.json` that says the rest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from retort.failures import reading
from retort.training.data.pairs import RIGHT, Pair, group_by_query
from retort.training.data.readers.own import FORMS, SourcePairs, read_file
from retort.training.data.readers.rows import BadRows
from retort.training.recipes.files import INDEX_FILE
from retort.wording import counted

Kind = Literal["ranking", "classification"]
MIXED_SHARE = 0.5
# Grade 2 of 3 and a threshold of 2 of 3 are the same, whichever was rounded.
_ROUNDED = 1e-6


class EvaluationSetError(ValueError):
    """An evaluation set cannot be read, or cannot be measured."""


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """Labelled pairs under a name.

    A "ranking" is measured query by query (AP, RR, nDCG@10, and recall at each of `cutoffs`), a
    "classification" pair by pair (AUC, accuracy). `headline` is the measure that the set is
    known by. `missed` counts, by query id, relevant passages that are not among the pairs because
    the first stage did not find them: no ranking of the rest brings them back.

    nDCG takes labels as gains; to the other measures a passage is relevant or not, from a label of
    `relevant` on. `largest` is the grade that the labels were divided by.
    """

    name: str
    pairs: tuple[Pair, ...]
    kind: Kind = "ranking"
    cutoffs: tuple[int, ...] = (1, 10)
    headline: str = ""
    missed: Mapping[str, int] = field(default_factory=dict)
    relevant: float = RIGHT
    largest: float = 1.0

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
        if not 0.0 < self.relevant <= 1.0:
            raise EvaluationSetError(
                f"{self.name}: relevant from {self.relevant * self.largest:g}: give a label above "
                f"0 and up to {self.largest:g}"
            )
        if self.missed and self.graded:
            raise EvaluationSetError(
                f"{self.name}: passages that were missed have no grade: label the pairs 0 and 1, "
                "or leave `missed` out"
            )

    @property
    def measures(self) -> tuple[str, ...]:
        """The names of the measures, as `ir_measures` and the report write them."""
        if self.kind == "classification":
            return ("AUC", "accuracy")
        return ("AP", "RR", "nDCG@10", *(f"R@{cutoff}" for cutoff in self.cutoffs))

    @property
    def gains(self) -> NDArray[np.float64]:
        """The labels, from 0 to 1; (pairs,)."""
        return np.asarray([pair.label or 0.0 for pair in self.pairs], dtype=np.float64)

    @property
    def graded(self) -> bool:
        """Whether any label lies between 0 and 1."""
        return any(pair.label not in (0.0, 1.0) for pair in self.pairs)

    @property
    def labels(self) -> NDArray[np.int64]:
        """1 for a label of `relevant` or more, else 0; (pairs,)."""
        return (self.gains >= self.relevant - _ROUNDED).astype(np.int64)

    def check_labels(self) -> None:
        """Raise `EvaluationSetError` if no measure can tell one ranker from another by the labels.

        Nothing is right or wrong where all labels are on one side of `relevant`.
        """
        found = {int(label) for label in self.labels}
        if len(found) == 1:
            side = "at or above" if found == {1} else "below"
            raise EvaluationSetError(
                f"{self.name}: all {counted(len(self.pairs), 'label')} are {side} "
                f"{self.relevant * self.largest:g}, from which a passage is relevant: give pairs "
                "of both kinds, or another --relevant"
            )

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
            "relevant": item.relevant,
            "largest": item.largest,
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
        raise EvaluationSetError(
            f"{path}: not there: name a file of pairs, or a folder that `retort data divide` wrote"
        ) from None
    except ValueError as error:
        raise EvaluationSetError(f"{path}: not JSON ({error})") from None
    unknown = set(names) - set(index)
    if unknown:
        raise EvaluationSetError(
            f"{path}: no set {', '.join(sorted(unknown))}: there are {', '.join(index)}"
        )
    with reading(path, "an index of evaluation sets"):
        return [
            _read_set(folder, name, entry)
            for name, entry in index.items()
            if not names or name in names
        ]


def _read_set(folder: Path, name: str, entry: Mapping[str, Any]) -> EvaluationSet:
    found = read_file(_pairs_file(folder, name), BadRows())
    return EvaluationSet(
        name=name,
        pairs=tuple(found.pairs),
        kind=entry["kind"],
        cutoffs=tuple(entry["cutoffs"]),
        headline=entry["headline"],
        missed=entry["missed"],
        relevant=entry.get("relevant", RIGHT),
        # Labels that were divided when the set was made run to 1.
        largest=entry.get("largest", 1.0) if found.largest == 1.0 else found.largest,
    )


def _pairs_file(folder: Path, name: str) -> Path:
    """The file of a set's pairs. Raises `EvaluationSetError` where there is none, or several."""
    found = [
        path
        for form in FORMS
        for end in ("", ".gz")
        if (path := folder / f"{name}{form}{end}").is_file()
    ]
    if len(found) != 1:
        several = ", ".join(path.name for path in found) or "none"
        raise EvaluationSetError(
            f"{folder}: {several} of {name}{', '.join(FORMS)} or with .gz: give one file of pairs"
        )
    return found[0]


def set_of_file(path: Path, found: SourcePairs, relevant: float | None = None) -> EvaluationSet:
    """The pairs of a file as a set, by the file's name; `relevant` is in the file's own labels.

    Raises `EvaluationSetError` where a pair has no label.
    """
    threshold = RIGHT if relevant is None else relevant / found.largest
    return EvaluationSet(
        name_of(path),
        tuple(found.pairs),
        kind_of(found.pairs, threshold),
        relevant=threshold,
        largest=found.largest,
    )


def name_of(path: Path) -> str:
    """The file's name without what its format adds.

    Example: `name_of(Path("runs/clicks.v2.tsv.gz"))` is `"clicks.v2"`.
    """
    return Path(path.stem if path.suffix.lower() == ".gz" else path.name).stem


def kind_of(pairs: Sequence[Pair], relevant: float = RIGHT) -> Kind:
    """A ranking where at least half of the queries have right and wrong passages."""
    groups = group_by_query(pairs).values()
    mixed = [len({(p.label or 0.0) >= relevant - _ROUNDED for p in group}) == 2 for group in groups]
    return "ranking" if sum(mixed) >= MIXED_SHARE * len(mixed) else "classification"
