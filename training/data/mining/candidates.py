"""Candidates: for each question passages without a label, near and far, for a stage 1."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retort.training.data.catalog import read_questions
from retort.training.data.leaks import HeldOut
from retort.training.data.mining.bm25 import bm25, word_count
from retort.training.data.mining.dense import Embedder, nearest, spread
from retort.training.data.pairs import Pair, normalise
from retort.training.data.readers.rows import BadRows, DataError
from retort.training.recipes.corpus import QuestionPlan

_BETWEEN_SENTENCES = re.compile(r"((?<=[.!?]) +|(?<=[。！？])(?=.) *)", re.DOTALL)

Read = Callable[[str], Sequence[Pair]]  # the pairs of a source
Found = tuple[NDArray[np.int64], NDArray[np.float32]]  # positions and scores, best first


def mine_candidates(
    plan: QuestionPlan,
    read: Read,
    root: Path | None,
    held: HeldOut,
    seed: int,
    bad: BadRows,
    log: Callable[[str], None],
    embedder: Embedder | None = None,
) -> list[Pair]:
    """Unlabelled pairs: every question with its candidates, as `plan` draws them.

    A question's candidates are distinct. `embedder` is asked for `plan.dense` and `plan.quantiles`.
    Raises `DataError` where there are no questions or no passages, or where no question shares a
    word with a passage.
    """
    asked, passages = _texts(plan, read, root, held, bad, log)
    rng = random.Random(f"{seed} candidates")
    rng.shuffle(asked)
    log(f"stage 1: {len(asked)} questions over {len(passages)} passages")
    by_words = _by_words(plan, asked, passages, log)
    by_vectors = _by_vectors(plan, asked, passages, embedder)
    mined: list[Pair] = []
    short = 0
    for number, query in enumerate(asked):
        chosen = _choose(plan, rng, len(passages), next(by_words), next(by_vectors))
        short += len(chosen) < plan.wanted
        mined += [
            Pair(query, passages[place], None, f"stage1-{number}", str(place)) for place in chosen
        ]
    if short:
        log(f"stage 1: {short} of {len(asked)} questions got fewer than {plan.wanted} candidates")
    return mined[: plan.limit]


def _texts(
    plan: QuestionPlan,
    read: Read,
    root: Path | None,
    held: HeldOut,
    bad: BadRows,
    log: Callable[[str], None],
) -> tuple[list[str], list[str]]:
    """Questions and passages, each text once, without those held out."""
    questions: dict[str, str] = {}
    pool: dict[str, str] = {}
    for name in plan.lists:
        for query in read_questions(root, name, bad):
            questions.setdefault(normalise(query), query)
    for source in plan.queries_of:
        for pair in read(source):
            questions.setdefault(normalise(pair.query), pair.query)
    for source in plan.passages:
        for pair in read(source):
            for text in windows(pair.passage, plan.window_words, plan.windows):
                pool.setdefault(normalise(text), text)
    for texts, what, where in (
        (questions, "questions", "lists or queries_of"),
        (pool, "passages", "passages"),
    ):
        texts.pop("", None)  # without a word
        known = held.queries if texts is questions else held.passages
        dropped = texts.keys() & known
        if dropped:
            log(f"stage 1: {len(dropped)} {what} left out because they are held out")
        if len(dropped) == len(texts):
            raise DataError(
                f"questions: no {what} are left, of {len(texts)} read: name more under {where}, or "
                "take away from held_out"
            )
        for key in dropped:
            del texts[key]
    return list(questions.values()), list(pool.values())


def _by_words(
    plan: QuestionPlan, asked: Sequence[str], passages: Sequence[str], log: Callable[[str], None]
) -> Iterator[list[int]]:
    """For each question the passages that BM25 finds, best first."""
    if not plan.near + plan.deep:
        return iter([[]] * len(asked))
    found, scores = bm25(passages, asked, plan.depth, progress=True)
    deaf = int((scores[:, 0] <= 0).sum())
    if deaf == len(asked):
        raise DataError(
            f"questions: none of {deaf} questions, for instance {asked[0]!r}, shares a word with "
            f"any of {len(passages)} passages: give passages in the questions' language, or set "
            "near and deep to 0 and draw by vectors (dense, quantiles)"
        )
    if deaf:
        log(
            f"stage 1: {deaf} of {len(asked)} questions share no word with any passage: BM25 finds "
            "nothing for them"
        )
    return (
        [int(place) for place in places[values > 0]]
        for places, values in zip(found, scores, strict=True)
    )


def _by_vectors(
    plan: QuestionPlan, asked: Sequence[str], passages: Sequence[str], embedder: Embedder | None
) -> Iterator[Found]:
    """For each question the passages nearest to it by vectors."""
    if not plan.dense + plan.quantiles:
        nothing = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
        return iter([nothing] * len(asked))
    if embedder is None:
        raise ValueError("questions: dense and quantiles take a bi-encoder, and none was given")
    return nearest(embedder, asked, passages, plan.dense_depth)


def _choose(
    plan: QuestionPlan, rng: random.Random, passages: int, hits: Sequence[int], found: Found
) -> list[int]:
    """The places of one question's candidates among so many passages, each once."""
    chosen = dict.fromkeys([*hits[: plan.near], *_over_ranks(hits[plan.near :], plan.deep, rng)])
    places, cosines = found
    new = [int(place) for place in places if int(place) not in chosen]
    chosen.update(dict.fromkeys(new[: plan.dense]))
    if plan.quantiles:
        free = ~np.isin(places, list(chosen))
        more = places[spread(cosines, plan.quantiles, free)]
        chosen.update(dict.fromkeys(int(place) for place in more))
    # A large pool is drawn from without listing it.
    for _ in range(min(plan.random, passages - len(chosen))):
        place = rng.randrange(passages)
        while place in chosen:
            place = rng.randrange(passages)
        chosen[place] = None
    return list(chosen)


def _over_ranks(hits: Sequence[int], count: int, rng: random.Random) -> list[int]:
    """`count` of `hits`, one drawn from each of so many parts of equal length."""
    count = min(count, len(hits))
    bounds = [part * len(hits) // count for part in range(count + 1)] if count else []
    return [hits[rng.randrange(low, high)] for low, high in pairwise(bounds)]


def windows(text: str, words: int, count: int) -> list[str]:
    """Up to `count` runs of whole sentences, each about `words` words long.

    Example: `windows("A b. C d. E f.", 4, 2)` is `["A b. C d.", "E f."]`.
    """
    parts: list[str] = []
    current, length = "", 0
    # Every second piece is what stands between two sentences: spaces, or nothing.
    pieces = ["", *_BETWEEN_SENTENCES.split(text.strip())]
    for gap, sentence in zip(pieces[::2], pieces[1::2], strict=True):
        own = word_count(sentence)
        if current and length + own > words:
            parts.append(current)
            if len(parts) == count:
                return parts
            current, length = "", 0
        current += (" " if gap and current else "") + sentence
        length += own
    return [*parts, current] if current else parts
