"""Negatives: for each right answer, passages that are near it and that nobody labelled right."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence

from retort.training.data.mining.bm25 import bm25
from retort.training.data.mining.dense import Embedder, unit
from retort.training.data.pairs import Pair, normalise
from retort.training.data.readers.rows import DataError
from retort.training.recipes.corpus import PositiveSource

Answers = Mapping[str, frozenset[str]]  # by query, both as `_key` spells them


def known_answers(pairs: Iterable[Pair]) -> Answers:
    """By query the passages with a label above 0: what is a little right is not wrong.

    A spelling of case, spacing and punctuation makes no difference.
    """
    found: dict[str, set[str]] = {}
    for pair in pairs:
        if pair.label:
            found.setdefault(_key(pair.query), set()).add(_key(pair.passage))
    return {query: frozenset(passages) for query, passages in found.items()}


def mine_negatives(
    pairs: Sequence[Pair],
    plan: PositiveSource,
    seed: int,
    answers: Answers,
    log: Callable[[str], None],
    embedder: Embedder | None = None,
) -> list[Pair]:
    """Each positive with `plan.negatives` passages drawn from BM25's best `plan.depth`.

    A positive is a pair labelled `plan.threshold` or more. The pool is every passage of the
    source; no passage that `answers` knows for the query is drawn, and with `plan.skip_above` none
    that `embedder` puts nearer to the query than the positive. Raises `DataError` where there are
    no positives, and where no negative is found.
    """
    rng = random.Random(f"{seed} {plan.source}")
    pool = list({_key(pair.passage): pair.passage for pair in reversed(pairs)}.values())[::-1]
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
    found, scores = bm25(pool, [pair.query for pair in positives], plan.depth)
    near = [
        [pool[place] for place in places[values > 0]]
        for places, values in zip(found, scores, strict=True)
    ]
    deaf = sum(not passages for passages in near)
    near = [
        [p for p in passages if _key(p) not in answers.get(_key(pair.query), ())]
        for pair, passages in zip(positives, near, strict=True)
    ]
    if plan.skip_above:
        if embedder is None:
            raise ValueError(f"{plan.source}: skip_above takes a bi-encoder, and none was given")
        near, skipped = _below_the_positive(positives, near, embedder)
        log(f"{plan.source}: {skipped} passages left out that are nearer than the positive")
    mined, short, none = [], 0, 0
    for pair, passages in zip(positives, near, strict=True):
        if plan.positive:
            mined.append(pair)
        short += len(passages) < plan.negatives
        none += not passages
        for passage in rng.sample(passages, min(plan.negatives, len(passages))):
            mined.append(Pair(pair.query, passage, 0.0, pair.query_id, f"bm25-{passage[:40]}"))
    why = f"{deaf} of {len(positives)} queries share no word with any passage"
    if none == len(positives):
        raise DataError(
            f"{plan.source}: no negative found for any of {len(positives)} positives among "
            f"{len(pool)} passages ({why}; what is labelled above 0 is no negative): give a source "
            "with more passages, or take it out of positives"
        )
    log(f"{plan.source}: {len(mined)} pairs with BM25 negatives")
    if short:
        log(
            f"{plan.source}: {short} of {len(positives)} positives got fewer than "
            f"{plan.negatives} negatives, {none} of them none; {why}"
        )
    return mined


def _below_the_positive(
    positives: Sequence[Pair], near: Sequence[Sequence[str]], embedder: Embedder
) -> tuple[list[list[str]], int]:
    """What of `near` is no nearer to the query than its positive, and how many were left out."""
    queries = _rows(pair.query for pair in positives)
    passages = _rows(
        text for pair, own in zip(positives, near, strict=True) for text in (pair.passage, *own)
    )
    asked = unit(embedder.query_vectors(list(queries)))
    pool = unit(embedder.passage_vectors(list(passages)))
    kept = []
    for pair, own in zip(positives, near, strict=True):
        rows = pool[[passages[text] for text in (pair.passage, *own)]]
        cosines = rows @ asked[queries[pair.query]]
        kept.append([p for p, cosine in zip(own, cosines[1:], strict=True) if cosine <= cosines[0]])
    return kept, sum(map(len, near)) - sum(map(len, kept))


def _rows(texts: Iterable[str]) -> dict[str, int]:
    """Each distinct text with its row."""
    return {text: row for row, text in enumerate(dict.fromkeys(texts))}


def _key(text: str) -> str:
    """A text as its copies are recognised; one without a word is its own."""
    return normalise(text) or text
