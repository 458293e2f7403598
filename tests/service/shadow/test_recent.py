from __future__ import annotations

from pathlib import Path

import pytest

from retort.models.rankings import Comparison
from retort.service.shadow.recent import Recent


def test_the_window_forgets_and_the_total_does_not() -> None:
    recent = Recent(size=2)
    for agrees, tau, difference in ((True, 1.0, 0.0), (True, None, 0.1), (False, 0.5, 0.3)):
        recent.add(Comparison(agrees, tau, difference, difference, False))
    assert recent.top1_agreement == 0.5
    assert recent.kendall_tau == 0.5
    assert recent.score_difference == pytest.approx(0.2)
    assert recent.total == 3


def test_front_ends_keep_their_comparisons_together(tmp_path: Path) -> None:
    one, other = Recent(tmp_path / "recent", size=3), Recent(tmp_path / "recent", size=3)
    for number in range(4):
        (one if number % 2 else other).add(Comparison(number > 1, None, 0.1 * number, 0.0, False))
    assert one.total == other.total == 4
    assert one.top1_agreement == other.top1_agreement == pytest.approx(2 / 3)
    assert one.kendall_tau is None
    assert other.score_difference == pytest.approx(0.2)


def test_before_the_first_comparison_there_are_no_means() -> None:
    recent = Recent()
    assert (recent.top1_agreement, recent.kendall_tau, recent.score_difference) == (None,) * 3
    assert recent.total == 0


def test_raw_scores_have_an_order_and_no_difference() -> None:
    recent = Recent()
    recent.add(Comparison(True, 0.5, 7.0, 9.0, False), raw=True)
    assert (recent.top1_agreement, recent.kendall_tau) == (1.0, 0.5)
    assert recent.score_difference is None
