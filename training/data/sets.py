"""Making evaluation sets: for question answering, for sentence tasks, and of one's own pairs.

`measure` sets are reported, `choose` sets calibrate and choose between students while training.

Question answering is measured by near misses and by topical re-ranking: one kind of test hides half
of the truth, as a ranker that knows details may have forgotten topics. Sentence tasks are
classifications known by accuracy, as in GLUE; a pair of a `choose` set that shares its query or
passage with the `measure` set of its task is left out, and corpora for training leave out both
(`held_out`).

A user's own pairs are divided by whole queries, by a hash of their text, so that the same file is
always divided alike and a query that comes back next month stays where it was. Passages may be in
several parts: in a collection that is searched, an answer to one query is a candidate of the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from retort.training.data.catalog import CATALOG, read_pairs
from retort.training.data.corpus import reranking_pairs
from retort.training.data.evaluation_set import (
    EvaluationSet,
    EvaluationSetError,
    kind_of,
    write_pairs,
    write_sets,
)
from retort.training.data.leaks import HeldOut
from retort.training.data.pairs import RIGHT, Pair, answered, group_by_query, place
from retort.training.data.readers.official import squad_reqa_candidates
from retort.training.data.readers.rows import DataError
from retort.training.data.readers.sentence_tasks import AMAZON_DOMAINS

TRAIN_FILE = "train.jsonl"  # what is neither chosen by nor measured
DEPTH = 100
SEED = 2020
CAP = 3000


def measure_sets(root: Path, queries: int = 150, depth: int = DEPTH) -> list[EvaluationSet]:
    """NeuronBlocks test, WikiQA test, TREC-QA test and two re-ranking sets of `queries` each."""
    reqa = read_pairs(root, "squad-reqa/test")
    qed = read_pairs(root, "qed/dev")
    folder = root / CATALOG["squad-reqa"].folder
    pool = [*squad_reqa_candidates(folder, "test"), *(pair.passage for pair in qed)]
    return [
        classification("neuronblocks-test", read_pairs(root, "neuronblocks/test")),
        ranking("wikiqa-test", answered(read_pairs(root, "wikiqa/test")), "AP"),
        ranking("trecqa-test", answered(read_pairs(root, "trecqa/test")), "AP"),
        ranking("rerank-squad", reranking_pairs(reqa, pool, depth, queries, SEED), "nDCG@10"),
        ranking("rerank-qed", reranking_pairs(qed, pool, depth, queries, SEED), "nDCG@10"),
    ]


def parity_pairs(measured: Sequence[EvaluationSet], queries: int = 50) -> tuple[Pair, ...]:
    """The first queries of each re-ranking set: what an exported graph is held to.

    Their texts may be given away with a bundle, as golden pairs; those of WikiQA may not.
    """
    chosen: list[Pair] = []
    for item in measured:
        if item.name.startswith("rerank-"):
            wanted = list(dict.fromkeys(pair.query_id for pair in item.pairs))[:queries]
            chosen += [pair for pair in item.pairs if pair.query_id in wanted]
    return tuple(chosen)


def choose_sets(root: Path, depth: int = DEPTH, queries: int = 100) -> list[EvaluationSet]:
    """NeuronBlocks valid (BERT-large's verdicts for labels), WikiQA dev, TREC-QA dev, and topics.

    The topical set asks `queries` questions of SQuAD train, less those that recipes train on.
    """
    trained = HeldOut(read_pairs(root, "squad-reqa/train"))
    asked = read_pairs(root, "squad-nqg/test")
    pool = [pair.passage for pair in (*asked, *read_pairs(root, "qed/train"))]
    unseen = [pair for pair in asked if not trained.has_query(pair.query)]
    topical = reranking_pairs(unseen, pool, depth // 2, queries, SEED)
    return [
        classification("neuronblocks-valid", read_pairs(root, "neuronblocks/valid")),
        ranking("wikiqa-dev", answered(read_pairs(root, "wikiqa/dev")), "AP"),
        ranking("trecqa-dev", answered(read_pairs(root, "trecqa/dev")), "AP"),
        ranking("rerank-nqg", topical, "nDCG@10"),
    ]


def named(sets: Sequence[EvaluationSet], names: Sequence[str]) -> list[EvaluationSet]:
    """Those of `sets` that are named. Raises `EvaluationSetError` for a name that is not there."""
    found = {item.name: item for item in sets}
    unknown = [name for name in names if name not in found]
    if unknown:
        raise EvaluationSetError(f"no set {', '.join(unknown)}: there are {', '.join(found)}")
    return [found[name] for name in names]


def ranking(name: str, pairs: Sequence[Pair], headline: str) -> EvaluationSet:
    """A set measured query by query."""
    return EvaluationSet(name, tuple(pairs), "ranking", headline=headline)


def classification(name: str, pairs: Sequence[Pair], headline: str = "AUC") -> EvaluationSet:
    """A set measured pair by pair."""
    return EvaluationSet(name, tuple(pairs), "classification", headline=headline)


@dataclass(frozen=True, slots=True)
class SentenceTask:
    """Where a task's pairs come from; `train` is what a corpus may learn from."""

    name: str
    train: str
    choose: str
    measure: str


# QNLI's and SNLI's own training splits are not among the data: their dev splits are cut up.
TASKS = (
    SentenceTask("rte", "rte/train-90", "rte/train-10", "rte/dev"),
    SentenceTask("qnli", "qnli/dev-60", "qnli/dev-10", "qnli/dev-30"),
    SentenceTask("snli", "snli/dev-90", "snli/dev-10", "snli/test"),
    SentenceTask("mrpc", "mrpc/train", "mrpc/dev", "mrpc/test"),
    SentenceTask("sst2", "sst2/train-90", "sst2/train-10", "sst2/dev"),
    *(
        SentenceTask(
            f"amazon-{name}", *(f"amazon/{name}-{part}" for part in ("train", "dev", "test"))
        )
        for name in AMAZON_DOMAINS
    ),
)


def task_sets(
    root: Path, task: SentenceTask, cap: int = CAP
) -> tuple[EvaluationSet, EvaluationSet]:
    """A task's `measure` and `choose` set, of about `cap` pairs at most.

    Raises `DataError` where its data is missing.
    """
    measure = capped(read_pairs(root, task.measure), cap)
    choose, _ = HeldOut(measure).drop(read_pairs(root, task.choose))
    return (
        classification(task.measure.replace("/", "-"), measure, "accuracy"),
        classification(task.choose.replace("/", "-"), capped(choose, cap), "accuracy"),
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


@dataclass(frozen=True, slots=True)
class Parts:
    """`train` is learned from; `choose` calibrates and chooses; `measure` is reported."""

    train: tuple[Pair, ...]
    choose: EvaluationSet
    measure: EvaluationSet


def divide(
    pairs: Sequence[Pair],
    name: str,
    choose: float,
    measure: float,
    *,
    relevant: float = RIGHT,
    largest: float = 1.0,
    measured: Sequence[Pair] = (),
) -> Parts:
    """Shares `choose` and `measure` of the queries, the rest to learn from.

    `measured` are pairs to measure by that are there already, with a `measure` of 0.

    Sets are rankings where most queries have right and wrong passages, else classifications.
    `relevant` and `largest` are those of the sets. Raises `DataError` for a pair without a label,
    for a single query, for labels that are all right or all wrong, for shares that leave nothing to
    learn from, and for a part that lacks right or wrong passages.
    """
    unlabelled = sum(pair.label is None for pair in pairs)
    if unlabelled:
        raise DataError(
            f"{name}: {unlabelled} of {len(pairs)} pairs have no label, and only labelled pairs "
            "can measure: leave the others out, or give them to a stage without labels"
        )
    if not 0 < choose + measure < 1:
        raise DataError(f"shares {choose} and {measure} leave nothing to learn from: lower them")
    groups = group_by_query(pairs)
    if len(groups) < 2:
        raise DataError(
            f"{name}: {len(pairs)} pairs of one query: pairs are divided by query, so "
            "give several, each with its own text or query_id"
        )
    _check_both(pairs, relevant, name, largest)
    parts: tuple[list[Pair], list[Pair], list[Pair]] = ([], [], list(measured))
    for group in groups.values():
        where = place(group[0].query)
        number = 2 if where < measure else 1 if where < measure + choose else 0
        parts[number].extend(group)
    kind = kind_of(pairs, relevant)
    made = []
    for use, part in (("choose", parts[1]), ("measure", parts[2])):
        if not part:
            raise DataError(
                f"{name}: none of the {len(groups)} queries falls into the share that {use}s: give "
                f"more queries, or a larger share with --{use}"
            )
        items = EvaluationSet(
            f"{name}-{use}", tuple(part), kind, relevant=relevant, largest=largest
        )
        if items.labels.min() == items.labels.max():
            raise DataError(
                f"{name}: the {len(part)} pairs that {use} are all "
                f"{'right' if items.labels[0] else 'wrong'}: give more pairs, or a larger share "
                f"with --{use}"
            )
        made.append(items)
    return Parts(tuple(parts[0]), made[0], made[1])


def _check_both(pairs: Sequence[Pair], relevant: float, name: str, largest: float) -> None:
    items = EvaluationSet(name, tuple(pairs), relevant=relevant, largest=largest)
    if items.labels.max() == 0:
        raise DataError(
            f"{name}: no label is {relevant * largest:g} or more (the largest is "
            f"{items.gains.max() * largest:g}), so there is nothing right to find"
        )
    if items.labels.min() == 1:
        raise DataError(
            f"{name}: every label is {relevant * largest:g} or more, so there is nothing wrong to "
            "tell from it: add wrong passages with label 0, or let a corpus recipe find some "
            "(`positives`)"
        )


def write_parts(out: Path, parts: Parts) -> Path:
    """Write `out/train.jsonl`, `out/choose` and `out/measure`; the first is returned."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / TRAIN_FILE
    write_pairs(path, parts.train)
    write_sets(out / "choose", [parts.choose])
    write_sets(out / "measure", [parts.measure])
    return path
