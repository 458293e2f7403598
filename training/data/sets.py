"""The evaluation sets: near misses and topical re-ranking, for measuring and for choosing.

`measure` sets are test splits; `choose` sets are for choosing between students while training.
One kind of test hides half of the truth: a ranker that knows details may have forgotten topics.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from retort.training.data.catalog import CATALOG, read_pairs
from retort.training.data.corpus import reranking_pairs
from retort.training.data.evaluation_set import EvaluationSet, EvaluationSetError
from retort.training.data.leaks import HeldOut
from retort.training.data.pairs import Pair
from retort.training.data.readers.official import squad_reqa_candidates
from retort.training.data.readers.rows import BadRows

DEPTH = 100
SEED = 2020


def measure_sets(root: Path, queries: int = 150, depth: int = DEPTH) -> list[EvaluationSet]:
    """NeuronBlocks test, WikiQA test, TREC-QA test and two re-ranking sets of `queries` each."""
    reqa = read_pairs(root, "squad-reqa/test")
    qed = read_pairs(root, "qed/dev")
    folder = root / CATALOG["squad-reqa"].folder
    pool = [
        *squad_reqa_candidates(folder, "test", BadRows()),
        *(pair.passage for pair in qed),
    ]
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


def choose_sets(root: Path, depth: int = DEPTH) -> list[EvaluationSet]:
    """NeuronBlocks valid (BERT-large's verdicts for labels), WikiQA dev, TREC-QA dev, and topics.

    The topical set asks questions of SQuAD train, less those that recipes train on.
    """
    trained = HeldOut(read_pairs(root, "squad-reqa/train"))
    asked = read_pairs(root, "squad-nqg/test")
    pool = [
        *(pair.passage for pair in asked),
        *(pair.passage for pair in read_pairs(root, "qed/train")),
    ]
    unseen = [pair for pair in asked if not trained.has_query(pair.query)]
    topical = reranking_pairs(unseen, pool, depth // 2, 100, SEED)
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


def answered(pairs: Sequence[Pair]) -> list[Pair]:
    """Leave out the queries without a right answer, as the literature reports MAP and MRR."""
    labels: dict[str, set[float]] = {}
    for pair in pairs:
        labels.setdefault(pair.query_id, set()).add(pair.label or 0.0)
    return [pair for pair in pairs if 1.0 in labels[pair.query_id]]


def ranking(name: str, pairs: Sequence[Pair], headline: str) -> EvaluationSet:
    """A set measured query by query."""
    return EvaluationSet(name, tuple(pairs), "ranking", headline=headline)


def classification(name: str, pairs: Sequence[Pair]) -> EvaluationSet:
    """A set measured pair by pair."""
    return EvaluationSet(name, tuple(pairs), "classification")
