from __future__ import annotations

import math
from pathlib import Path

from retort.service.engine.board import NAMES, Board


def test_what_one_writes_another_reads(tmp_path: Path) -> None:
    mine, theirs = Board(tmp_path / "board"), Board(tmp_path / "board")
    assert (theirs.healthy, theirs.margin, theirs.overdue_at) == (1.0, 1.0, math.inf)
    for number, name in enumerate(NAMES):
        setattr(mine, name, number + 0.5)
    assert [getattr(theirs, name) for name in NAMES] == [n + 0.5 for n in range(len(NAMES))]


def test_a_board_of_one_process_needs_no_file() -> None:
    one, two = Board(), Board()
    one.tokens = 5
    assert (one.tokens, two.tokens) == (5, 0)
