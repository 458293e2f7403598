from __future__ import annotations

from pathlib import Path

import pytest

from retort.models.errors import InvalidGolden, MissingFile
from retort.models.golden import GoldenPair, read_golden, write_golden

PAIRS = [GoldenPair(f"query {n}", "naïve — text", (0.1 * n, -1.0), 0.5) for n in range(64)]


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "golden.jsonl"
    write_golden(path, PAIRS)
    assert read_golden(path, 2) == tuple(PAIRS)


def test_separators_inside_a_text_do_not_end_its_line(tmp_path: Path) -> None:
    path = tmp_path / "golden.jsonl"
    odd = [GoldenPair("a\u2028b", "c\x0bd\x85e\nf", (0.0,), 0.5)] * 64
    write_golden(path, odd)
    assert read_golden(path, 1) == tuple(odd)


@pytest.mark.parametrize(
    "line",
    ['{"query": "q"}', "[]", "nonsense", '{"query":"q","passage":"p","logits":[NaN],"score":0.5}'],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "golden.jsonl"
    write_golden(path, PAIRS)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(InvalidGolden, match="line 65"):
        read_golden(path, 2)


def test_too_few_or_uneven_pairs(tmp_path: Path) -> None:
    path = tmp_path / "golden.jsonl"
    write_golden(path, PAIRS[:2])
    with pytest.raises(InvalidGolden, match="2 golden pairs"):
        read_golden(path, 2)
    write_golden(path, [*PAIRS, GoldenPair("q", "p", (0.0,), 0.5)])
    with pytest.raises(InvalidGolden, match=r"\[1, 2\] logits"):
        read_golden(path, 2)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFile):
        read_golden(tmp_path / "golden.jsonl", 2)


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        GoldenPair("q", "p", (float("inf"),), 0.5)
