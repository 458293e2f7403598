"""SKD's distributions and draws."""

from __future__ import annotations

from collections import Counter

import pytest

from retort.training.methods.skd import drawn, teacher_probabilities
from retort.training.nn.loop import Progress


def test_linear_in_the_rank() -> None:
    assert teacher_probabilities([0.7, 0.9, 0.8], "linear", 1.0) == pytest.approx(
        [1 / 6, 1 / 2, 1 / 3]
    )


def test_ties_share_and_all_sums_to_one() -> None:
    shares = teacher_probabilities([0.8, 0.8, 0.5, 0.9], "linear", 1.0)
    assert shares == pytest.approx([0.25, 0.25, 0.1, 0.4])


def test_softmax_of_the_figures() -> None:
    shares = teacher_probabilities([0.7, 0.8], "softmax", 0.1)
    assert shares[1] / shares[0] == pytest.approx(2.718281828)


def test_a_draw_follows_from_seed_and_step_and_has_the_shares() -> None:
    shares = (0.1, 0.6, 0.3)
    draws = [drawn(shares, Progress(step, 3000, 7)) for step in range(3000)]
    assert draws == [drawn(shares, Progress(step, 3000, 7)) for step in range(3000)]
    counts = Counter(draws)
    for teacher, share in enumerate(shares):
        assert counts[teacher] / 3000 == pytest.approx(share, abs=0.03)
    other = [drawn(shares, Progress(step, 3000, 8)) for step in range(3000)]
    assert other != draws
