"""Contrast: pairs that leave a loss nothing to compare are refused, with counts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from retort.training.data.contrast import Contrast, NothingToLearnError
from retort.training.data.pairs import Pair


def contrast(*queries: tuple[float | None, ...]) -> Contrast:
    """One query for each row of labels."""
    pairs = [
        Pair(f"q{number}", f"p{number}-{place}", label)
        for number, labels in enumerate(queries)
        for place, label in enumerate(labels)
    ]
    return Contrast.of(pairs)


def test_queries_are_counted_by_what_they_have() -> None:
    found = contrast((1.0, 0.0), (1.0,), (1.0, 0.9), (0.0,), (0.2, None), (0.5,))
    assert found == Contrast(
        9, (0.0, 0.2, 0.5, 0.9, 1.0), mixed=1, right_alone=3, wrong_alone=2, several=3
    )
    found.need_two_labels("t")
    found.need_mixed_queries("t", "listwise")
    found.need_lists("t", "ranknet")
    found.need_right("t", "infonce")


@pytest.mark.parametrize(
    ("queries", "need", "words"),
    [
        ([(1.0,), (1.0,)], lambda c: c.need_two_labels("t"), ("2 pairs", "2 queries", "(1)")),
        ([(0.2, 0.2)], lambda c: c.need_two_labels("t"), ("2 pairs", "1 queries", "(0.2)")),
        (
            [(1.0,), (0.0,), (0.0, 0.1)],
            lambda c: c.need_mixed_queries("t", "margin"),
            ("margin", "3 queries (4 pairs)", "1 have right ones alone", "2 wrong ones alone"),
        ),
        ([(1.0,), (0.0,)], lambda c: c.need_lists("t", "ranknet"), ("ranknet", "2 queries")),
        ([(0.0, 0.1)], lambda c: c.need_right("t", "infonce"), ("infonce", "2 pairs")),
    ],
)
def test_what_teaches_nothing_is_refused_with_counts(
    queries: list[tuple[float, ...]], need: Callable[[Contrast], None], words: tuple[str, ...]
) -> None:
    with pytest.raises(NothingToLearnError) as caught:
        need(contrast(*queries))
    assert all(word in str(caught.value) for word in ("t: ", *words)), caught.value
