"""Corpus building: from named sources to a pair table, with BM25 negatives and candidates.

Three kinds of pairs come together: those that carry a label of their own; positives, to which
BM25 finds hard negatives in the pool of their source; and questions, which get candidates from a
pool of passages for a stage 1. All of it follows from the recipe and its seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from retort.training.data.catalog import read_any, read_held_out
from retort.training.data.contradictions import settle_sources
from retort.training.data.leaks import HeldOut, check_sources
from retort.training.data.mining.bm25 import bm25
from retort.training.data.mining.candidates import mine_candidates
from retort.training.data.mining.dense import Embedder
from retort.training.data.mining.negatives import known_answers, mine_negatives
from retort.training.data.pairs import Pair, group_by_query, normalise
from retort.training.data.readers.rows import BadRows, DataError
from retort.training.data.table import PairTable
from retort.training.recipes.corpus import CorpusRecipe, LabelledSource


def build_corpus(
    recipe: CorpusRecipe,
    root: Path | None,
    bad: BadRows,
    log: Callable[[str], None] = print,
    embedder: Embedder | None = None,
) -> PairTable:
    """Build the table a recipe describes; `root` None asks RETORT_DATA where it is needed.

    `embedder` is the recipe's `dense_teacher`. Raises `DataError`, also where nothing is found, and
    `LeakError`.
    """
    trained = [s.source for s in recipe.labelled] + [s.source for s in recipe.positives]
    plan = recipe.questions
    sources = [*trained, *((*plan.passages, *plan.queries_of) if plan else ())]
    check_sources(sources, recipe.held_out, plan.lists if plan else [])

    @cache
    def read(source: str) -> list[Pair]:
        found = read_any(source, root, bad, recipe.files.get(source))
        if found.graded:
            log(f"{source}: {found.graded}")
        return found.pairs

    held = HeldOut(
        (p for source in recipe.held_out for p in read_held_out(source, read)),
        passages=recipe.held_out_passages,
    )
    # What any source says of a query counts, whatever part of the source is learned from.
    answers = known_answers(pair for source in dict.fromkeys(trained) for pair in read(source))
    given: dict[str, list[Pair]] = {}
    dropped = 0
    for source in dict.fromkeys(trained):
        given[source], lost = held.drop(read(source))
        dropped += lost
    given, several = settle_sources(given, recipe.contradictions, str(recipe.out))
    if several:
        log(f"{several} pairs have contradictory labels: settled by {recipe.contradictions}")
    rows: list[tuple[Pair, str]] = []
    for labelled in recipe.labelled:
        chosen = _thin(given[labelled.source], labelled, recipe.seed)
        rows += [(pair, labelled.source) for pair in chosen]
        count = sum(pair.label is not None for pair in chosen)
        log(f"{labelled.source}: {len(chosen)} pairs, {count} of them labelled")
    for positive in recipe.positives:
        mined = mine_negatives(
            given[positive.source], positive, recipe.seed, answers, log, embedder
        )
        rows += [(pair, positive.source) for pair in mined]
    if plan:
        candidates = mine_candidates(plan, read, root, held, recipe.seed, bad, log, embedder)
        rows += [(pair, "candidates") for pair in candidates]
    distinct: dict[int, tuple[Pair, str]] = {}
    for row in rows:
        distinct.setdefault(row[0].key, row)
    if not distinct:
        raise DataError(
            f"{recipe.out}: no pairs, {dropped} dropped because they are held out: name sources "
            "under labelled, positives or questions that hold other pairs"
        )
    table = PairTable(
        tuple(pair for pair, _ in distinct.values()),
        tuple(source for _, source in distinct.values()),
        {"recipe": recipe.model_dump(mode="json"), "dropped": dropped, "bad": bad.count},
    )
    # Check all rows again: mined rows did not pass the check of what was read.
    held.check(table.pairs, str(recipe.out))
    log(
        f"{len(table)} pairs; {len(rows) - len(table)} duplicates merged, {dropped} dropped "
        "because they are held out"
    )
    return table


def _thin(pairs: Sequence[Pair], plan: LabelledSource, seed: int) -> list[Pair]:
    """All positives and at most `negatives` negatives per query, of at most `queries` queries."""
    rng = random.Random(f"{seed} {plan.source}")
    groups = list(group_by_query(pairs).values())
    if plan.queries is not None:
        rng.shuffle(groups)
        groups = groups[: plan.queries]
    chosen = []
    for group in groups:
        if plan.negatives is None:
            chosen += group
            continue
        negatives = [pair for pair in group if not pair.right]
        rng.shuffle(negatives)
        chosen += [pair for pair in group if pair.right] + negatives[: plan.negatives]
    return chosen


def reranking_pairs(
    positives: Sequence[Pair], candidates: Sequence[str], depth: int, queries: int, seed: int
) -> list[Pair]:
    """A topical re-ranking set: BM25's best `depth` passages of the pool for each question.

    An answer that BM25 does not find is not added, as it would not be in production. Questions with
    no right passage among their candidates are left out, as every order of them scores alike.
    """
    rng = random.Random(seed)
    truth: dict[str, set[str]] = {}
    texts: dict[str, str] = {}
    for pair in positives:
        truth.setdefault(pair.query_id, set()).add(normalise(pair.passage))
        texts[pair.query_id] = pair.query
    ids = sorted(texts)
    rng.shuffle(ids)
    pool = list(dict.fromkeys(candidates))
    found, _ = bm25(pool, [texts[i] for i in ids[: queries * 2]], depth)
    made: list[Pair] = []
    kept = 0
    for query_id, positions in zip(ids, found, strict=False):
        labels = [float(normalise(pool[i]) in truth[query_id]) for i in positions]
        if not any(labels) or kept == queries:
            continue
        kept += 1
        made += [
            Pair(texts[query_id], pool[i], label, query_id, f"pool-{i}")
            for i, label in zip(positions, labels, strict=True)
        ]
    return made
