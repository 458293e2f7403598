from __future__ import annotations

import pytest

from retort.models.rankings import Comparison
from retort.service.comparison import Recent


def test_the_window_forgets_and_the_total_does_not() -> None:
    recent = Recent(size=2)
    for agrees, tau, difference in ((True, 1.0, 0.0), (True, None, 0.1), (False, 0.5, 0.3)):
        recent.add(Comparison(agrees, tau, difference, difference, False))
    assert recent.top1_agreement == 0.5
    assert recent.kendall_tau == 0.5
    assert recent.score_difference == pytest.approx(0.2)
    assert recent.total == 3


def test_before_the_first_there_is_nothing_to_tell() -> None:
    recent = Recent()
    assert (recent.top1_agreement, recent.kendall_tau, recent.score_difference) == (None,) * 3
    assert recent.total == 0
