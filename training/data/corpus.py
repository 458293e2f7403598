"""Corpus building: from named sources to a pair table, with BM25 negatives and candidates.

Three kinds of pairs come together: those that carry a label of their own; positives, to which
BM25 finds hard negatives in the pool of their source; and questions, to which BM25 finds stage-1
candidates in a pool of passages. All of it follows from the recipe and its seed.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import bm25s
import numpy as np
from numpy.typing import NDArray

from retort.training.data.catalog import read_any, read_questions
from retort.training.data.contradictions import settle_sources
from retort.training.data.leaks import HeldOut, check_sources
from retort.training.data.pairs import Pair, group_by_query, normalise
from retort.training.data.readers.rows import BadRows, DataError
from retort.training.data.table import PairTable
from retort.training.recipes.recipe import (
    CorpusRecipe,
    LabelledSource,
    PositiveSource,
    QuestionPlan,
)


def bm25(
    passages: Sequence[str], queries: Sequence[str], k: int, *, progress: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Positions of the best `passages` and their scores, each (queries, k), best first.

    BM25 in Lucene's variant, k1 1.5, b 0.75, English stop words left out. A query that shares no
    word with the passages gets positions of score 0: leave those out. Raises `ValueError` for no
    passages.
    """
    if not passages:
        raise ValueError("an index over no passages: give at least one")
    index, tokens = _index(passages), _words(queries)
    found, scores = index.retrieve(tokens, k=min(k, len(passages)), show_progress=progress)
    return np.asarray(found, dtype=np.int64), np.asarray(scores, dtype=np.float32)


def bm25_scores(
    passages: Sequence[str], queries: Sequence[str], rows: Sequence[Sequence[int]]
) -> list[NDArray[np.float32]]:
    """BM25 of those `passages` that `rows` (queries,) name, one array for each of `queries`.

    Words weigh what they weigh in all passages together.
    """
    index = _index(passages)
    return [
        np.asarray(index.get_scores(words)[list(own)], dtype=np.float32)
        for words, own in zip(_words(queries), rows, strict=True)
    ]


def _index(passages: Sequence[str]) -> bm25s.BM25:
    index = bm25s.BM25(backend="numba")
    index.index(
        bm25s.tokenize(list(passages), stopwords="en", show_progress=False), show_progress=False
    )
    return index


def _words(queries: Sequence[str]) -> list[list[str]]:
    tokens = bm25s.tokenize(list(queries), stopwords="en", return_ids=False, show_progress=False)
    # bm25s refuses a query without tokens; a token outside the vocabulary scores 0 instead.
    return [words or ["\x00"] for words in tokens]


def build_corpus(
    recipe: CorpusRecipe, root: Path | None, bad: BadRows, log: Callable[[str], None] = print
) -> PairTable:
    """Build the table a recipe describes; `root` None asks RETORT_DATA where it is needed.

    Raises `DataError` and `LeakError`.
    """
    trained = [s.source for s in recipe.labelled] + [s.source for s in recipe.positives]
    plan = recipe.questions
    lists = plan.lists if plan else []
    check_sources([*trained, *(plan.passages if plan else [])], recipe.held_out, lists)

    @cache
    def read(source: str) -> list[Pair]:
        found = read_any(source, root, bad, recipe.files.get(source))
        if found.graded:
            log(f"{source}: {found.graded}")
        return found.pairs

    held = HeldOut(p for source in recipe.held_out for p in read(source))
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
        log(f"{labelled.source}: {len(chosen)} labelled pairs")
    for positive in recipe.positives:
        mined = mine_negatives(given[positive.source], positive, recipe.seed)
        rows += [(pair, positive.source) for pair in mined]
        log(f"{positive.source}: {len(mined)} pairs with BM25 negatives")
    if plan:
        candidates = mine_candidates(plan, read, root, held, recipe.seed, bad, log)
        rows += [(pair, "candidates") for pair in candidates]
    # A mined negative that a source has labelled is what that source says.
    known = {p.key: p.label for pairs in given.values() for p in pairs if p.label is not None}
    distinct: dict[int, tuple[Pair, str]] = {}
    for pair, source in rows:
        if pair.label is not None:
            pair = replace(pair, label=known.get(pair.key, pair.label))
        distinct.setdefault(pair.key, (pair, source))
    table = PairTable(
        tuple(pair for pair, _ in distinct.values()),
        tuple(source for _, source in distinct.values()),
        {"recipe": recipe.model_dump(mode="json"), "dropped": dropped, "bad": len(bad.places)},
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


def mine_negatives(pairs: Sequence[Pair], plan: PositiveSource, seed: int) -> list[Pair]:
    """Each positive with `plan.negatives` passages drawn from BM25's best `plan.depth`.

    A positive is a pair labelled `plan.threshold` or more. The pool is every passage of the
    source; no passage that is positive for the query, in any spelling, is drawn.
    """
    rng = random.Random(f"{seed} {plan.source}")
    pool = list(dict.fromkeys(pair.passage for pair in pairs))
    positives = [pair for pair in pairs if (pair.label or 0.0) >= plan.threshold]
    if not positives:
        labels = [pair.label for pair in pairs if pair.label is not None]
        highest = f"the highest is {max(labels):g}" if labels else "none has a label"
        raise DataError(
            f"{plan.source}: no pair of {len(pairs)} is labelled {plan.threshold:g} or more "
            f"({highest}): lower the source's threshold, or take it out of positives"
        )
    rng.shuffle(positives)
    positives = positives[: plan.queries]
    right: dict[str, set[str]] = {}
    for pair in positives:
        right.setdefault(normalise(pair.query), set()).add(normalise(pair.passage))
    found, scores = bm25(pool, [pair.query for pair in positives], plan.depth)
    mined = []
    for pair, positions, values in zip(positives, found, scores, strict=True):
        answers = right[normalise(pair.query)]
        near = [pool[i] for i, score in zip(positions, values, strict=True) if score > 0]
        near = [passage for passage in near if normalise(passage) not in answers]
        if plan.positive:
            mined.append(pair)
        for passage in rng.sample(near, min(plan.negatives, len(near))):
            mined.append(Pair(pair.query, passage, 0.0, pair.query_id, f"bm25-{passage[:40]}"))
    return mined


def mine_candidates(
    plan: QuestionPlan,
    read: Callable[[str], Sequence[Pair]],
    root: Path | None,
    held: HeldOut,
    seed: int,
    bad: BadRows,
    log: Callable[[str], None],
) -> list[Pair]:
    """Unlabelled pairs for stage 1: questions times BM25 candidates, near and deep.

    `read` gives the pairs of a source.
    """
    rng = random.Random(f"{seed} candidates")
    questions: dict[str, str] = {}
    for name in plan.lists:
        for query in read_questions(root, name, bad):
            questions.setdefault(normalise(query), query)
    pool: dict[str, str] = {}
    for source in plan.passages:
        for pair in read(source):
            for text in windows(pair.passage, plan.window_words, plan.windows):
                pool.setdefault(normalise(text), text)
            if source in plan.queries_of:
                questions.setdefault(normalise(pair.query), pair.query)
    asked = [query for key, query in questions.items() if key and key not in held.queries]
    passages = [text for key, text in pool.items() if key and key not in held.passages]
    rng.shuffle(asked)
    log(f"stage 1: {len(asked)} questions over {len(passages)} passages")
    found, scores = bm25(passages, asked, plan.depth, progress=True)
    mined = []
    for number, (query, positions, values) in enumerate(zip(asked, found, scores, strict=True)):
        hits = [int(i) for i, score in zip(positions, values, strict=True) if score > 0]
        deep = hits[plan.near :]
        chosen = hits[: plan.near] + rng.sample(deep, min(plan.deep, len(deep)))
        chosen += [rng.randrange(len(passages)) for _ in range(plan.random)]
        for position in chosen:
            mined.append(Pair(query, passages[position], None, f"stage1-{number}", str(position)))
    return mined[: plan.limit]


def windows(text: str, words: int, count: int) -> list[str]:
    """Up to `count` runs of whole sentences, each about `words` words long.

    Example: `windows("A b. C d. E f.", 4, 2)` is `["A b. C d.", "E f."]`.
    """
    parts: list[str] = []
    current: list[str] = []
    for sentence in re.split(r"(?<=[.!?]) +", text.strip()):
        length = len(sentence.split())
        if current and sum(len(s.split()) for s in current) + length > words:
            parts.append(" ".join(current))
            current = []
            if len(parts) == count:
                return parts
        current.append(sentence)
    return [*parts, " ".join(current)][:count]


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
