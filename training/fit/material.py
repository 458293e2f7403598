"""The material of a fit: one's own pairs, read and put apart, on disk for every later step.

Queries are put apart by their text (`data/sets.py`): what is measured is never learned from, nor
asked of a teacher in training. Passages are shared, as in a collection that is searched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from retort.failures import reading
from retort.training.data.catalog import read_questions
from retort.training.data.evaluation_set import name_of, write_pairs
from retort.training.data.leaks import HeldOut
from retort.training.data.mining.negatives import known_answers, mine_negatives
from retort.training.data.pairs import RIGHT, Pair
from retort.training.data.readers.own import SourcePairs
from retort.training.data.readers.rows import DataError
from retort.training.data.sets import Parts, divide, write_parts
from retort.training.export.parity import HeldOutError, check_held_out
from retort.training.fit.plan import FitPlan
from retort.training.recipes.corpus import PositiveSource

# Shares of the queries. Many are measured: a verdict on few says nothing.
CHOOSE, MEASURE = 0.1, 0.3
NO_QUERY = "passage"  # of a passage that comes without one
# Wrong passages per right one, where a file has right ones alone.
NEGATIVES = 9

UNLABELLED, QUESTIONS, PASSAGES = "unlabelled.jsonl", "questions.txt", "passages.jsonl"

Read = Callable[[str], SourcePairs]


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


def read_material(plan: FitPlan, read: Read, log: Callable[[str], None]) -> Material:
    """Read what the plan names with `read`, and put it apart.

    Raises `DataError` for too few labelled pairs, and for pairs without a label where no teacher
    could use them.
    """
    found = read(plan.source)
    labelled = [pair for pair in found.pairs if pair.label is not None]
    measured: list[Pair] = []
    if plan.measure is not None:
        measured = [pair for pair in read(plan.measure).pairs if pair.label is not None]
        if not measured:
            raise DataError(f"{plan.measure}: no pair has a label, so there is nothing to measure")
        asked = HeldOut(measured)
        kept = [pair for pair in labelled if not asked.has_query(pair.query)]
        if len(kept) < len(labelled):
            log(f"{len(labelled) - len(kept)} pairs left out: their queries are measured")
        labelled = kept
    parts = _divide(plan, labelled, found.largest, measured, log)
    held = HeldOut([*parts.choose.pairs, *parts.measure.pairs])
    questions = [q for source in plan.questions for q in read_questions(None, source)]
    material = Material(
        parts,
        tuple(p for p in found.pairs if p.label is None and not held.has_query(p.query)),
        tuple(q for q in dict.fromkeys(questions) if not held.has_query(q)),
        tuple(pair for source in plan.passages for pair in _passages(source, read)),
    )
    if material.unlabelled and not plan.teachers:
        raise DataError(
            f"{plan.source}: {len(material.unlabelled)} pairs have no label, and without a "
            "--teacher nothing can be learned from them: name a teacher, or leave them out"
        )
    try:
        check_held_out(material.held_out)
    except HeldOutError as error:
        raise DataError(
            f"{plan.source}: too little is left to choose and measure by: {error}, or a file to "
            "--measure"
        ) from error
    return material


def _passages(source: str, read: Read) -> Sequence[Pair]:
    """A file's passages, as pairs of any query; those of a .txt are one per line."""
    if Path(source).suffix != ".txt":
        return read(source).pairs
    with reading(source, "passages, one per line"):
        text = Path(source).read_text(encoding="utf-8")
    return [Pair(NO_QUERY, line) for line in map(str.strip, text.split("\n")) if line]


def _divide(
    plan: FitPlan,
    pairs: Sequence[Pair],
    largest: float,
    measured: Sequence[Pair],
    log: Callable[[str], None],
) -> Parts:
    if not pairs:
        raise DataError(
            f"{plan.source}: no pair has a label. To choose and to judge takes labels of a few "
            "dozen queries: add a column `label`, 1 for a right passage and 0 for a wrong one"
        )
    relevant = RIGHT if plan.relevant is None else plan.relevant / largest
    if all((pair.label or 0.0) >= relevant for pair in pairs):
        log(
            f"no passage is labelled wrong: for each right one, up to {NEGATIVES} that BM25 finds "
            "for its query among your passages are taken for wrong"
        )
        mining = PositiveSource(source=plan.source, negatives=NEGATIVES, threshold=relevant)
        mined = mine_negatives(pairs, mining, plan.seed, known_answers(pairs), log)
        pairs = list({pair.key: pair for pair in mined}.values())
    return divide(
        pairs,
        name_of(Path(plan.source)),
        CHOOSE,
        0.0 if measured else MEASURE,
        relevant=relevant,
        largest=largest,
        measured=measured,
    )
