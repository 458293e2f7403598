"""What a checkpoint learned from, as it recorded it, and whether that is what is measured."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retort.failures import reading
from retort.training.data.evaluation_set import EvaluationSet
from retort.training.data.leaks import HeldOut
from retort.training.data.table import table_digest, table_queries
from retort.training.recipes.kinds import CHECKPOINT_FILE, is_checkpoint
from retort.training.teachers.hub_pupil import TAUGHT_FILE
from retort.training.teachers.scoring.scorer import parse


@dataclass(frozen=True, slots=True)
class Learned:
    """A table that was learned from, as it was then, or only its pairs of `sources`."""

    table: Path
    digest: str
    sources: tuple[str, ...] | None


def learned_from(checkpoint: str | Path) -> list[Learned]:
    """The tables of a checkpoint, and of the checkpoint that it began from, each once."""
    return list(dict.fromkeys(_tables(Path(checkpoint), set())))


def _tables(checkpoint: Path, seen: set[Path]) -> Iterator[Learned]:
    path = checkpoint / (CHECKPOINT_FILE if is_checkpoint(checkpoint) else TAUGHT_FILE)
    if path.resolve() in seen or not path.is_file():
        return
    seen.add(path.resolve())
    with reading(path, "a checkpoint"):
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    meta = record.get("meta", record)
    recipe = meta.get("recipe") or {}
    records = [(s.get("plan") or {}, s.get("table")) for s in meta.get("stages") or []]
    for plan, digest in records or [(recipe, meta.get("table"))]:
        if plan.get("table"):
            sources = plan.get("sources")
            yield Learned(
                Path(plan["table"]), str(digest or ""), None if sources is None else tuple(sources)
            )
    began = (recipe.get("student") or {}).get("init") or recipe.get("backbone")
    if began:
        yield from _tables(Path(began), seen)


def leak_warnings(systems: Mapping[str, str], sets: Iterable[EvaluationSet]) -> list[str]:
    """What to say of systems (by name, as `retort evaluate` names them) that learned what is asked.

    Only checkpoints record their tables. A table that is not there any more is said too.
    """
    chosen = list(sets)
    found = []
    for name, system in systems.items():
        for learned in learned_from(parse(f"{name}={system}").path):
            found += [f"warning: {name} {line}" for line in _leaks(learned, chosen)]
    return found


def _leaks(learned: Learned, sets: Iterable[EvaluationSet]) -> Iterator[str]:
    if not learned.table.is_file():
        yield (
            f"learned from {learned.table}, which is not there any more: whether it held what is "
            "measured is not known"
        )
        return
    since = "" if table_digest(learned.table) == learned.digest else ", which has changed since"
    asked = table_queries(learned.table, learned.sources)
    for items in sets:
        held = HeldOut(items.pairs)
        again = [query for query in asked if held.has_query(query)]
        if again:
            yield (
                f"learned from {learned.table}{since}: {len(again)} of the {len(held.queries)} "
                f"queries of {items.name} are in it, for instance {again[0]!r}. Its figures on "
                "them say nothing of new queries: build the table with this set under held_out"
            )
