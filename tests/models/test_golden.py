from __future__ import annotations

from pathlib import Path

import pytest

from retort.models.errors import InvalidGolden
from retort.models.golden import MAX_GOLDEN_PAIRS, GoldenPair, parse_golden, write_golden

PAIRS = [GoldenPair(f"query {n}", "naïve — text", (0.1 * n, -1.0), 0.5) for n in range(64)]


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "golden.jsonl"
    write_golden(path, PAIRS)
    assert parse_golden(path, path.read_bytes(), 2) == tuple(PAIRS)


def test_separators_inside_a_text_do_not_end_its_line(tmp_path: Path) -> None:
    path = tmp_path / "golden.jsonl"
    odd = [GoldenPair("a\u2028b", "c\x0bd\x85e\nf", (0.0,), 0.5)] * 64
    write_golden(path, odd)
    assert parse_golden(path, path.read_bytes(), 1) == tuple(odd)


@pytest.mark.parametrize(
    "line",
    ['{"query": "q"}', "[]", "nonsense", '{"query":"q","passage":"p","logits":[NaN],"score":0.5}'],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "golden.jsonl"
    write_golden(path, PAIRS)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(InvalidGolden, match="line 65"):
        parse_golden(path, path.read_bytes(), 2)


def test_too_few_or_uneven_pairs(tmp_path: Path) -> None:
    path = tmp_path / "golden.jsonl"
    write_golden(path, PAIRS[:2])
    with pytest.raises(InvalidGolden, match="2 golden pairs"):
        parse_golden(path, path.read_bytes(), 2)
    write_golden(path, [*PAIRS, GoldenPair("q", "p", (0.0,), 0.5)])
    with pytest.raises(InvalidGolden, match=r"\[1, 2\] logits"):
        parse_golden(path, path.read_bytes(), 2)


def test_too_many_lines_are_counted_and_not_parsed(tmp_path: Path) -> None:
    path = tmp_path / "golden.jsonl"
    content = b'{"query":"","passage":"","logits":[0],"score":0}\n' * (MAX_GOLDEN_PAIRS + 1)
    with pytest.raises(InvalidGolden, match="4097 golden pairs"):
        parse_golden(path, content, 1)
    # The first line is not looked at.
    with pytest.raises(InvalidGolden, match="5000000 golden pairs"):
        parse_golden(path, b"\n" * 5_000_000, 1)


def test_text_in_another_encoding(tmp_path: Path) -> None:
    with pytest.raises(InvalidGolden, match="not UTF-8"):
        parse_golden(tmp_path / "golden.jsonl", b"\xff" * 100, 1)


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        GoldenPair("q", "p", (float("inf"),), 0.5)
