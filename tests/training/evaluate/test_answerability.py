"""Answerability: lists are drawn with and without an answer, and told apart."""

from __future__ import annotations

import numpy as np
import pytest

from retort.models.answerability import Answerability
from retort.training.evaluate.answerability import (
    AnswerabilityError,
    AnswerList,
    draw_lists,
    fit_answerability,
    make_lists,
    probabilities,
)
from retort.training.evaluate.measures import equal_mass_error, noise_floor


def questions(count: int, passages: int, seed: int = 0) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Query ids, labels (pairs,) with one right passage each, and scores (pairs,)."""
    draw = np.random.default_rng(seed)
    ids = [f"q{query}" for query in range(count) for _ in range(passages)]
    labels = np.zeros((count, passages))
    labels[np.arange(count), draw.integers(0, passages, count)] = 1.0
    odds = draw.normal(-2.0 + 4.0 * labels, 1.5)
    return ids, labels.ravel(), (1 / (1 + np.exp(-odds))).ravel()


def test_half_of_the_lists_lose_their_answer() -> None:
    ids, labels, _ = questions(400, 20)
    lists = draw_lists(ids, labels)
    assert len(lists) == 400
    for one in lists:
        assert labels[one.rows].max() == one.answered
        assert len(set(one.rows.tolist())) == len(one.rows)
        assert {ids[row] for row in one.rows} == {ids[one.rows[0]]}
    assert np.mean([one.answered for one in lists]) == pytest.approx(0.5, abs=0.08)


def test_sizes_are_drawn_log_uniformly() -> None:
    ids, labels, _ = questions(600, 50)
    sizes = np.array([len(one.rows) for one in draw_lists(ids, labels)])
    assert sizes.min() == 2
    assert sizes.max() >= 48
    # As many from 2 to 10 as from 10 to 50.
    assert np.mean(sizes <= 10) == pytest.approx(0.5, abs=0.08)


def test_single_pairs_stay_what_they_are() -> None:
    ids = ["one", "two", "all", "all"]
    for seed in range(5):
        single, right, full = draw_lists(ids, [0.3, 1.0, 1.0, 1.0], seed)
        assert (single.answered, right.answered, full.answered) == (0.3, 1.0, 1.0)


def test_lists_of_which_many_have_no_answer_keep_their_share_and_size() -> None:
    ids, labels, _ = questions(100, 6)
    labels[: 30 * 6] = 0.0
    lists = draw_lists(ids, labels)
    assert [one.answered for one in lists] == [0.0] * 30 + [1.0] * 70
    assert {len(one.rows) for one in lists} == {6}


def test_the_regression_is_calibrated_on_lists_that_it_never_saw() -> None:
    known = fit_answerability([make_lists(*questions(1500, 30))])
    assert known.best > 0
    # Among more passages one that scores well by chance is more likely.
    assert known.count < 0
    lists = make_lists(*questions(1500, 30, seed=1))
    found = probabilities(known, lists)
    answered = [one.answered for one in lists]
    assert equal_mass_error(answered, found) < noise_floor(found) + 0.03
    assert found[np.array(answered) == 1].mean() > found[np.array(answered) == 0].mean() + 0.3


def test_parts_count_alike_whatever_their_size() -> None:
    large, small = make_lists(*questions(900, 10)), make_lists(*questions(300, 10, seed=4))
    twice = fit_answerability([large, small, small])
    one = fit_answerability([large, [*small, *small]])
    assert twice != one
    again = fit_answerability([[*large, *large], small])
    assert again.weights == pytest.approx(fit_answerability([large, small]).weights, abs=0.02)


def test_too_few_lists_are_refused() -> None:
    with pytest.raises(AnswerabilityError, match="100 of each are needed"):
        fit_answerability([make_lists(*questions(120, 5))])
    # Single pairs say nothing of the second best and of the size.
    single = [AnswerList(np.array([0.5]), float(n % 2)) for n in range(1000)]
    with pytest.raises(AnswerabilityError, match="0 lists of several passages have an answer"):
        fit_answerability([single])


def test_nothing_read_is_nothing_answered() -> None:
    known = Answerability(1.0, 1.0, 0.0, 0.0)
    assert probabilities(known, [AnswerList(np.zeros(3), 0.0)]).tolist() == [0.0]
