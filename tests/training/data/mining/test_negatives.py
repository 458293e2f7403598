"""Negatives are near, never known to be right, and never silently missing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from retort.training.data.mining.dense import Vectors
from retort.training.data.mining.negatives import known_answers, mine_negatives
from retort.training.data.pairs import Pair, normalise
from retort.training.data.readers.rows import DataError
from retort.training.recipes.corpus import PositiveSource

CITIES = ["Paris", "Rome", "Oslo", "Lima", "Cairo", "Delhi", "Tokyo", "Quito"]
POSITIVES = [
    Pair(f"what river flows through {city}", f"{city} lies on a river of its own.", 1.0, city)
    for city in CITIES
]
PLAN = PositiveSource(source="squad-reqa/train", negatives=2, depth=5)


def mined(
    pairs: list[Pair], plan: PositiveSource = PLAN, seed: int = 1
) -> tuple[list[Pair], list[str]]:
    said: list[str] = []
    return mine_negatives(pairs, plan, seed, known_answers(pairs), said.append), said


def test_negatives_are_near_but_never_right() -> None:
    twice = [*POSITIVES, Pair(POSITIVES[0].query, "PARIS lies on a river, of its own", 1.0, "b")]
    found, _ = mined(twice)
    right = {normalise(pair.passage) for pair in twice if pair.query == POSITIVES[0].query}
    wrong = [p for p in found if p.query == POSITIVES[0].query and p.label == 0.0]
    assert wrong
    assert not right & {normalise(pair.passage) for pair in wrong}
    assert all("river" in pair.passage for pair in found)
    assert found == mined(twice)[0]
    assert found != mined(twice, seed=2)[0]


def test_a_passage_labelled_between_0_and_the_threshold_is_neither() -> None:
    query = POSITIVES[0].query
    doubtful = [Pair(query, f"A river of doubt {n} flows there", n / 10, "Paris") for n in (1, 5)]
    other = Pair("else", "A river of no label flows there", 0.0, "x")
    found, _ = mined([*POSITIVES, *doubtful, other], PLAN.model_copy(update={"negatives": 9}))
    own = {pair.passage for pair in found if pair.query == query}
    assert other.passage in own
    assert not own & {pair.passage for pair in doubtful}


def test_copies_of_a_passage_in_another_spelling_are_drawn_once() -> None:
    copies = [Pair("else", text, 0.0) for text in ("A river, there!", "a river there", "A RIVER")]
    found, _ = mined([POSITIVES[0], *copies], PLAN.model_copy(update={"negatives": 9}))
    assert [p.passage for p in found if p.label == 0.0] == ["A river, there!", "A RIVER"]


def test_positives_that_get_too_few_negatives_are_counted() -> None:
    pairs = [*POSITIVES[:2], Pair("qwerty", "asdfgh", 1.0), Pair("zzz river", "Nil", 1.0)]
    found, said = mined(pairs)
    assert len(found) == 4 + 1 + 1 + 2
    assert said[-1].endswith(
        "3 of 4 positives got fewer than 2 negatives, 1 of them none; "
        "1 of 4 queries share no word with any passage"
    )


def test_no_negative_at_all_is_refused() -> None:
    with pytest.raises(DataError, match="no negative found for any of 1 positives"):
        mined([Pair("长城在哪里", "长城在北方", 1.0)])
    with pytest.raises(DataError, match="2 of 2 queries share no word"):
        mined([Pair("qwerty", "asdfgh", 1.0), Pair("poiuy", "lkjhg", 1.0)])


def test_no_positive_is_refused_with_the_highest_label() -> None:
    with pytest.raises(DataError, match=r"labelled 1 or more \(the highest is 0.9\)"):
        mined([Pair("a river", "the river", 0.9)])


def test_chinese_and_thai_get_negatives() -> None:
    chinese = [Pair(f"第{n}座城市在哪里", f"第{n}座城市在北方。", 1.0) for n in "一二三四"]
    thai = [Pair(f"ช้าง{n}กินอะไร", f"อาหารของช้าง{n}คือหญ้า", 1.0) for n in "กขคง"]
    for pairs in (chinese, thai):
        found, said = mined(pairs)
        assert sum(pair.label == 0.0 for pair in found) == 8
        assert len(said) == 1


class Lengths:
    """A bi-encoder to which a passage is the nearer the longer it is."""

    def query_vectors(self, texts: Sequence[str]) -> Vectors:
        return np.asarray([[1.0, 0.0]] * len(texts), dtype=np.float32)

    def passage_vectors(self, texts: Sequence[str]) -> Vectors:
        return np.asarray([[len(text), 100.0] for text in texts], dtype=np.float32)


def test_negatives_nearer_than_the_positive_can_be_left_out() -> None:
    pool = [Pair("else", f"river {'x' * n}", 0.0) for n in (1, 2, 40, 50)]
    pairs = [POSITIVES[0], *pool]
    plan = PLAN.model_copy(update={"negatives": 9, "skip_above": True})
    said: list[str] = []
    found = mine_negatives(pairs, plan, 1, known_answers(pairs), said.append, Lengths())
    assert {p.passage for p in found if p.label == 0.0} == {pool[0].passage, pool[1].passage}
    assert said[0].endswith("2 passages left out that are nearer than the positive")
    with pytest.raises(ValueError, match="takes a bi-encoder"):
        mined(pairs, plan)
