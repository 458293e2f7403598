"""Requests made up to an exact token count, and read from a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from retort.loadtest.texts import (
    WORDS,
    Request,
    encode,
    made_up_requests,
    pair_count,
    read_requests,
)
from retort.models.encoding import PairEncoder


def test_words_are_distinct() -> None:
    assert len(set(WORDS)) == len(WORDS)


@pytest.mark.parametrize("tokens", [5, 32, 64])
def test_made_up_pairs_have_exactly_the_tokens_asked(encoder: PairEncoder, tokens: int) -> None:
    made = made_up_requests(encoder, requests=3, passages=4, tokens=tokens)
    assert pair_count(made) == 12
    pairs = [pair for request in made for pair in encode(encoder, request)]
    assert {len(pair) for pair in pairs} == {tokens}
    assert not any(pair.truncated for pair in pairs)


def test_made_up_requests_are_the_same_for_the_same_seed(encoder: PairEncoder) -> None:
    made = [
        made_up_requests(encoder, requests=2, passages=2, tokens=32, seed=seed)
        for seed in (1, 1, 2)
    ]
    assert made[0] == made[1]
    assert made[0] != made[2]


@pytest.mark.parametrize("tokens", [4, 65])
def test_a_length_the_bundle_does_not_have_is_refused(encoder: PairEncoder, tokens: int) -> None:
    with pytest.raises(ValueError, match=f"pairs of {tokens} tokens"):
        made_up_requests(encoder, requests=1, passages=1, tokens=tokens)


def test_neighbours_of_one_query_become_requests(tmp_path: Path) -> None:
    file = tmp_path / "pairs.tsv"
    file.write_text("a\tone\na\ttwo\na\tthree\nb\tfour\tsome more\n", encoding="utf-8")
    assert read_requests(file, passages=2) == [
        Request("a", ("one", "two")),
        Request("a", ("three",)),
        Request("b", ("four",)),
    ]


def test_a_malformed_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "pairs.tsv"
    file.write_text("a\tone\nno tab here\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"pairs\.tsv, line 2: expected query<TAB>passage"):
        read_requests(file, passages=2)


def test_a_file_without_pairs_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "pairs.tsv"
    file.touch()
    with pytest.raises(ValueError, match="holds no pair"):
        read_requests(file, passages=2)
