"""The material of a fit: one's own pairs, read and put apart, on disk for every later step.

Queries are put apart by their text (`data/sets.py`): what is measured is never learned from, nor
asked of a teacher in training. Passages are shared, as in a collection that is searched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from retort.models.golden import MIN_GOLDEN_PAIRS
from retort.training.data.catalog import read_any, read_questions
from retort.training.data.corpus import mine_negatives
from retort.training.data.evaluation_set import write_pairs
from retort.training.data.leaks import HeldOut
from retort.training.data.pairs import Pair
from retort.training.data.readers.rows import BadRows, DataError
from retort.training.data.sets import Parts, divide, write_parts
from retort.training.fit.plan import FitPlan
from retort.training.recipes.recipe import PositiveSource

# Shares of the queries. Many are measured: a verdict on few says nothing.
CHOOSE, MEASURE = 0.1, 0.3
# Wrong passages per right one, where a file has right ones alone.
NEGATIVES = 9

TRAIN, UNLABELLED, QUESTIONS, PASSAGES = (
    "train.jsonl", "unlabelled.jsonl", "questions.txt", "passages.jsonl",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Material:
    """What a fit learns from, chooses by and measures."""

    parts: Parts
    unlabelled: tuple[Pair, ...]
    questions: tuple[str, ...]
    passages: tuple[Pair, ...]

    @property
    def held_out(self) -> tuple[Pair, ...]:
        """The pairs that the student never learns from."""
        return (*self.parts.choose.pairs, *self.parts.measure.pairs)

    def write(self, work: Path) -> None:
        """Write all of it to the work folder."""
        write_parts(work, self.parts)
        write_pairs(work / UNLABELLED, self.unlabelled)
        write_pairs(work / PASSAGES, self.passages)
        (work / QUESTIONS).write_text("".join(f"{q}\n" for q in self.questions), encoding="utf-8")


def read_material(plan: FitPlan, log: Callable[[str], None]) -> Material:
    """Read what the plan names and put it apart.

    Raises `DataError` for too few labelled pairs, and for pairs without a label where no teacher
    could use them.
    """
    bad = BadRows()
    pairs = read_any(plan.source, None, bad)
    labelled = [pair for pair in pairs if pair.label is not None]
    name = Path(plan.source).name.partition(".")[0]
    if plan.measure is not None:
        measured = _labelled(read_any(plan.measure, None, bad), plan.measure)
        asked = HeldOut(measured)
        kept = [pair for pair in labelled if not asked.has_query(pair.query)]
        if len(kept) < len(labelled):
            log(f"{len(labelled) - len(kept)} pairs left out: their queries are measured")
        parts = _divide(kept, name, CHOOSE, 0.0, log, tuple(measured))
    else:
        parts = _divide(labelled, name, CHOOSE, MEASURE, log)
    held = HeldOut([*parts.choose.pairs, *parts.measure.pairs])
    questions = [q for source in plan.questions for q in read_questions(None, source, bad)]
    material = Material(
        parts,
        tuple(p for p in pairs if p.label is None and not held.has_query(p.query)),
        tuple(q for q in dict.fromkeys(questions) if not held.has_query(q)),
        tuple(pair for source in plan.passages for pair in read_any(source, None, bad)),
    )
    if material.unlabelled and not plan.teachers:
        raise DataError(
            f"{plan.source}: {len(material.unlabelled)} pairs have no label, and without a "
            "--teacher nothing can be learned from them: name a teacher, or leave them out"
        )
    distinct = len({pair.key for pair in material.held_out})
    if distinct < MIN_GOLDEN_PAIRS:
        raise DataError(
            f"{plan.source}: {distinct} pairs are left to choose and measure by, and a bundle "
            f"carries {MIN_GOLDEN_PAIRS} that its student never saw: give more queries, more "
            "passages for each, or a file to --measure"
        )
    return material


def _labelled(pairs: Sequence[Pair], source: str) -> list[Pair]:
    labelled = [pair for pair in pairs if pair.label is not None]
    if not labelled:
        raise DataError(f"{source}: no pair has a label, so there is nothing to measure by")
    return labelled


def _divide(
    pairs: Sequence[Pair],
    name: str,
    choose: float,
    measure: float,
    log: Callable[[str], None],
    measured: Sequence[Pair] = (),
) -> Parts:
    if not pairs:
        raise DataError(
            f"{name}: no pair has a label. To choose and to judge takes labels of a few dozen "
            "queries: add a third column, 1 for a right passage and 0 for a wrong one"
        )
    if all((pair.label or 0.0) >= 0.5 for pair in pairs):
        log(
            f"no passage is labelled wrong: for each right one, up to {NEGATIVES} that BM25 finds "
            "for its query among your passages are taken for wrong"
        )
        plan = PositiveSource(source=name, negatives=NEGATIVES, threshold=0.5)
        mined = mine_negatives(pairs, plan, seed=1)
        pairs = list({pair.key: pair for pair in mined}.values())
    return divide(pairs, name, choose, measure, measured=measured)
