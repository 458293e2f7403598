"""Long sets: an answer at every depth, among the same other sentences."""

from __future__ import annotations

import pytest

from retort.models.reading.sentences import sentences
from retort.training.data.long_sets import CHUNK_SENTENCES, CHUNKS, DEPTHS, depth_of, long_set
from retort.training.data.pairs import Pair, group_by_query

POSITIVES = [Pair(f"what is thing {n}", f"Thing {n} is a toy.", 1.0, f"p{n}") for n in range(12)]


def filler(number: int, words: int = 30) -> str:
    return " ".join(["Sentence", str(number), *("of" for _ in range(words - 3)), "words."])


POOL = [f"{filler(n)} {filler(n + 500)}" for n in range(200)]


def test_a_question_is_asked_at_every_depth_among_the_same_chunks() -> None:
    items = long_set("long", POSITIVES, POOL, 5, seed=1)
    groups = group_by_query(items.pairs)
    assert len(groups) == 5 * len(DEPTHS)
    assert items.headline == "R@1"
    others: dict[str, set[str]] = {}
    for query_id, group in groups.items():
        assert len(group) == CHUNKS
        (right,) = [pair for pair in group if pair.label == 1.0]
        found = [right.passage[a:b] for a, b in sentences(right.passage)]
        assert len(found) == CHUNK_SENTENCES
        answer = next(p.passage for p in POSITIVES if p.query == right.query)
        assert found.index(answer) + 1 == depth_of(query_id)
        wrong = {pair.passage for pair in group if pair.label == 0.0}
        assert others.setdefault(right.query, wrong) == wrong
        assert all(answer not in passage for passage in wrong)


def test_the_same_seed_gives_the_same_set_and_another_a_different_one() -> None:
    assert long_set("a", POSITIVES, POOL, 5, 1) == long_set("a", POSITIVES, POOL[::-1], 5, 1)
    assert long_set("a", POSITIVES, POOL, 5, 1) != long_set("a", POSITIVES, POOL, 5, 2)


def test_long_answers_are_not_asked_for() -> None:
    long = Pair("what is long", " ".join(["word"] * 130), 1.0, "long")
    items = long_set("long", [long, *POSITIVES], POOL, 50, seed=1)
    assert {pair.query for pair in items.pairs} == {pair.query for pair in POSITIVES}


def test_too_few_sentences_are_refused() -> None:
    with pytest.raises(ValueError, match="long: 20 sentences of 28 to 46 words, 160 are needed"):
        long_set("long", POSITIVES, [filler(n) for n in range(20)] + [filler(1, 60)], 5, 1)
