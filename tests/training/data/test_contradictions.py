"""Pairs with several labels: counted, and settled by a rule."""

from __future__ import annotations

import pytest

from retort.training.data.contradictions import settle, settle_sources
from retort.training.data.pairs import Pair
from retort.training.data.readers.rows import DataError
from retort.training.recipes.contradictions import Contradictions

# Two pairs with several labels, one of them three times over, and one that agrees with itself.
GIVEN = [
    Pair("q", "a", 1.0, "1"),
    Pair("q", "a", 0.0, "2"),
    Pair("q", "a", 0.0, "3"),
    Pair("q", "a"),
    Pair("q", "b", 0.0),
    Pair("q", "b", 1.0),
    Pair("q", "c", 1.0),
    Pair("q", "c", 1.0),
]


@pytest.mark.parametrize(
    ("rule", "a", "b"), [("mean", 1 / 3, 0.5), ("majority", 0.0, 0.0), ("first", 1.0, 0.0)]
)
def test_each_copy_gets_the_label_of_the_rule(rule: Contradictions, a: float, b: float) -> None:
    settled, several = settle(GIVEN, rule, "mine")
    assert several == 2
    assert [pair.label for pair in settled] == [a, a, a, None, b, b, 1.0, 1.0]
    assert [pair.query_id for pair in settled] == [pair.query_id for pair in GIVEN]


def test_refusing_names_the_first_pair() -> None:
    with pytest.raises(DataError, match=r"mine: 2 pairs .* 'q' with 'a': 1, 0, 0"):
        settle(GIVEN, "refuse", "mine")
    assert settle(GIVEN[6:], "refuse", "mine") == (GIVEN[6:], 0)


def test_sources_are_settled_together_and_stay_apart() -> None:
    one, other = [Pair("q", "a", 1.0)], [Pair("q", "b", 1.0), Pair("q", "a", 0.5)]
    found, several = settle_sources({"one": one, "other": other}, "mean", "table")
    assert several == 1
    assert [pair.label for pair in found["one"]] == [0.75]
    assert [pair.label for pair in found["other"]] == [1.0, 0.75]
