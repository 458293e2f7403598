"""Portions: the same for everyone, and no text in two."""

from __future__ import annotations

import pytest

from retort.training.data.pairs import (
    REVIEW_QUERY,
    Pair,
    cut,
    first_texts,
    place,
    spread_sample,
    texts_of,
)


def test_a_place_is_a_matter_of_the_text_alone() -> None:
    # Written down: a cut that changes would move what is measured on into what is trained on.
    assert place("Rain is due.") == place("rain  is due")
    assert place("rain is due") == pytest.approx(0.8681998135156519)
    places = [place(f"text {number}") for number in range(2000)]
    assert min(places) >= 0.0
    assert max(places) < 1.0
    assert sum(value < 0.1 for value in places) == pytest.approx(200, abs=50)


def test_texts_that_are_tied_through_others_stay_together() -> None:
    pairs = [
        Pair("c", "d"), Pair("d2", "e"), Pair("C!", "e"), Pair("x", "y"), Pair("f", "d"),
    ]  # fmt: skip
    assert first_texts(pairs) == ["c", "c", "c", "x", "c"]
    for edge in (0.1, 0.3, 0.5, 0.7, 0.9):
        low, high = cut(pairs, 0.0, edge), cut(pairs, edge, 1.0)
        assert len(low) + len(high) == 5
        ours = {text for pair in low for text in texts_of(pair)}
        assert ours.isdisjoint(text for pair in high for text in texts_of(pair))


def test_an_instruction_ties_nothing() -> None:
    pairs = [Pair(REVIEW_QUERY, "fine"), Pair(REVIEW_QUERY, "dull"), Pair(REVIEW_QUERY, "Fine!")]
    assert first_texts(pairs) == ["fine", "dull", "fine"]


def test_a_sample_is_spread_over_all_pairs() -> None:
    pairs = [Pair(str(number), "p") for number in range(10)]
    assert [pair.query for pair in spread_sample(pairs, 3)] == ["0", "3", "6"]
    assert spread_sample(pairs, 20) == pairs
