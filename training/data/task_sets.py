"""The evaluation sets of the sentence tasks: for each task what is measured and what chooses.

All are classifications: AUC is the headline, as it needs no threshold, and accuracy stands beside
it, as the papers report it. A pair of a `choose` set that shares its query or passage with the
`measure` set of its task is left out, and corpora for training leave out both (`held_out`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from retort.training.data.catalog import read_pairs
from retort.training.data.evaluation_set import EvaluationSet
from retort.training.data.leaks import HeldOut
from retort.training.data.pairs import Pair, group_by_query
from retort.training.data.portions import place
from retort.training.data.readers.reviews import AMAZON_DOMAINS

CAP = 3000


@dataclass(frozen=True, slots=True)
class Task:
    """Where a task's pairs come from; `train` is what a corpus may learn from."""

    name: str
    train: str
    choose: str
    measure: str


# QNLI's and SNLI's own training splits are not among the data: their dev splits are cut up.
TASKS = (
    Task("rte", "rte/train-90", "rte/train-10", "rte/dev"),
    Task("qnli", "qnli/dev-60", "qnli/dev-10", "qnli/dev-30"),
    Task("snli", "snli/dev-90", "snli/dev-10", "snli/test"),
    Task("mrpc", "mrpc/train", "mrpc/dev", "mrpc/test"),
    Task("sst2", "sst2/train-90", "sst2/train-10", "sst2/dev"),
    *(
        Task(f"amazon-{name}", *(f"amazon/{name}-{part}" for part in ("train", "dev", "test")))
        for name in AMAZON_DOMAINS
    ),
)


def task_sets(root: Path, task: Task, cap: int = CAP) -> tuple[EvaluationSet, EvaluationSet]:
    """A task's `measure` and `choose` set, of about `cap` pairs at most.

    Raises `DataError` where its data is missing.
    """
    measure = capped(read_pairs(root, task.measure), cap)
    choose, _ = HeldOut(measure).drop(read_pairs(root, task.choose))
    return (
        classification(task.measure, measure),
        classification(task.choose, capped(choose, cap)),
    )


def capped(pairs: Sequence[Pair], cap: int) -> list[Pair]:
    """At most `cap` pairs: whole queries, drawn by a hash of their text, in their old order."""
    groups = group_by_query(pairs)
    chosen: set[str] = set()
    count = 0
    for query_id in sorted(groups, key=lambda name: (place(name), name)):
        if count + len(groups[query_id]) <= cap:
            chosen.add(query_id)
            count += len(groups[query_id])
    return [pair for pair in pairs if pair.query_key in chosen]


def classification(source: str, pairs: Sequence[Pair]) -> EvaluationSet:
    """A set named as its source, `rte-dev` for `rte/dev`, and known by accuracy, as in GLUE."""
    name = source.replace("/", "-")
    return EvaluationSet(name, tuple(pairs), "classification", headline="accuracy")
