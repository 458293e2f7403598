"""A user's own labelled pairs, divided: what is learned from, what chooses, and what measures.

Whole queries are divided, by a hash of their text, so that the same file is always divided alike
and a query that comes back next month stays where it was. Passages may stand in several parts: in
a collection that is searched, an answer to one query is a candidate of the next.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from retort.training.data.evaluation_set import EvaluationSet, write_sets
from retort.training.data.pairs import Pair, group_by_query
from retort.training.data.portions import place
from retort.training.data.readers.rows import DataError

MIXED_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Parts:
    """`train` is learned from; `choose` calibrates and chooses; `measure` is reported."""

    train: tuple[Pair, ...]
    choose: EvaluationSet
    measure: EvaluationSet


def divide(pairs: Sequence[Pair], name: str, choose: float, measure: float) -> Parts:
    """Shares `choose` and `measure` of the queries, the rest to learn from.

    Sets are rankings where most queries have right and wrong passages, else classifications.
    Raises `DataError` for a pair without a label, for shares that leave nothing to learn from, and
    for a part that lacks right or wrong passages.
    """
    unlabelled = sum(pair.label is None for pair in pairs)
    if unlabelled:
        raise DataError(
            f"{name}: {unlabelled} of {len(pairs)} pairs have no label, and only labelled pairs "
            "can measure: leave the others out, or give them to a stage without labels"
        )
    if not 0 < choose + measure < 1:
        raise DataError(f"shares {choose} and {measure} leave nothing to learn from: lower them")
    parts: tuple[list[Pair], list[Pair], list[Pair]] = ([], [], [])
    groups = group_by_query(pairs)
    for group in groups.values():
        where = place(group[0].query)
        number = 2 if where < measure else 1 if where < measure + choose else 0
        parts[number].extend(group)
    mixed = sum(
        len({(pair.label or 0.0) >= 0.5 for pair in group}) == 2 for group in groups.values()
    )
    ranked = mixed >= MIXED_SHARE * len(groups)
    made = []
    judged: dict[str, list[Pair]] = {"choose": parts[1], "measure": parts[2]}
    for kind, part in judged.items():
        if len({(pair.label or 0.0) >= 0.5 for pair in part}) < 2:
            raise DataError(
                f"{name}: the {len(part)} pairs that {kind} are all of one label: give more pairs, "
                f"or a larger share with --{kind}"
            )
        made.append(
            EvaluationSet(f"{name}-{kind}", tuple(part), "ranking" if ranked else "classification")
        )
    return Parts(tuple(parts[0]), made[0], made[1])


def write_parts(out: Path, parts: Parts) -> Path:
    """Write `out/train.jsonl`, `out/choose` and `out/measure`; the first is returned."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "train.jsonl"
    lines = (json.dumps(asdict(pair), ensure_ascii=False) + "\n" for pair in parts.train)
    path.write_text("".join(lines), encoding="utf-8")
    write_sets(out / "choose", [parts.choose])
    write_sets(out / "measure", [parts.measure])
    return path
