"""Requests made up to an exact token count, of real texts, of mixed sizes, and never twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from retort.loadtest.traffic import (
    EXTRACT,
    WORDS,
    Request,
    encode,
    fill_up,
    fixed,
    mixed,
    read_requests,
    real,
    varied,
)
from retort.models.encoding import PairEncoder


def test_words_are_distinct() -> None:
    assert len(set(WORDS)) == len(WORDS)


@pytest.mark.parametrize("tokens", [5, 32, 64])
def test_made_up_pairs_have_exactly_the_tokens_asked(encoder: PairEncoder, tokens: int) -> None:
    traffic = fixed(encoder, requests=3, passages=4, tokens=tokens)
    assert traffic.pairs * len(traffic.requests) == 12
    assert traffic.pairs == 4
    pairs = [pair for request in traffic.requests for pair in encode(encoder, request)]
    assert {len(pair) for pair in pairs} == {tokens}
    assert not any(pair.truncated for pair in pairs)


def test_made_up_requests_are_the_same_for_the_same_seed(encoder: PairEncoder) -> None:
    made = [fixed(encoder, requests=2, passages=2, tokens=32, seed=seed) for seed in (1, 1, 2)]
    assert made[0] == made[1]
    assert made[0] != made[2]


@pytest.mark.parametrize("tokens", [4, 65])
def test_a_length_the_bundle_does_not_have_is_refused(encoder: PairEncoder, tokens: int) -> None:
    with pytest.raises(ValueError, match=f"pairs of {tokens} tokens"):
        fixed(encoder, requests=1, passages=1, tokens=tokens)


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


def test_the_extract_is_small_and_says_whose_it_is() -> None:
    licence = EXTRACT.with_suffix(".LICENSE").read_text(encoding="utf-8")
    assert "NeuronBlocks" in licence
    assert "MIT License" in licence
    assert "Permission is hereby granted" in licence
    assert EXTRACT.stat().st_size + len(licence) < 150_000
    assert len(EXTRACT.read_text(encoding="utf-8").splitlines()) >= 100


@pytest.mark.parametrize("passages", [1, 10, 100])
def test_each_query_gets_as_many_passages_its_own_first(
    encoder: PairEncoder, passages: int
) -> None:
    lines = EXTRACT.read_text(encoding="utf-8").splitlines()
    own = [line.split("\t")[:2] for line in lines]
    requests = real(encoder, None, passages=passages).requests
    assert [[request.query, request.passages[0]] for request in requests] == own
    for request in requests:
        assert len(set(request.passages)) == passages


def test_others_are_those_with_the_same_words() -> None:
    requests = [
        Request("who wrote hamlet", ("a play by him",)),
        Request("where is paris", ("in France",)),
        Request("where is rome", ("Rome is here",)),
    ]
    assert fill_up(requests, 2) == [
        Request("who wrote hamlet", ("a play by him", "in France")),
        Request("where is paris", ("in France", "Rome is here")),
        Request("where is rome", ("Rome is here", "a play by him")),
    ]
    with pytest.raises(ValueError, match="have 3 passages and each was to have 4"):
        fill_up(requests, 4)


def test_the_extract_gets_log_uniform_counts(encoder: PairEncoder) -> None:
    requests = mixed(encoder, None).requests
    counts = [len(request.passages) for request in requests]
    assert min(counts) == 1
    assert 40 <= max(counts) <= 60
    # Every doubling is as likely as the next: about a sixth of the requests in each.
    for low in (2, 4, 8, 16):
        assert 0.08 < sum(low <= count < 2 * low for count in counts) / len(counts) < 0.26
    assert len({request.query for request in requests}) == len(requests)
    assert all(len(set(request.passages)) == len(request.passages) for request in requests)
    assert requests == mixed(encoder, None).requests
    assert requests != mixed(encoder, None, seed=1).requests
    assert max(len(r.passages) for r in mixed(encoder, None, most=5).requests) == 5


def test_a_users_file_keeps_its_counts(encoder: PairEncoder, tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    counts = {"question 0": 4, "question 1": 9, "question 2": 1}
    lines = [f"{query}\t{query} {n}" for query, count in counts.items() for n in range(count)]
    path.write_text("\n".join(lines), encoding="utf-8")
    traffic = mixed(encoder, path)
    assert {r.query: len(r.passages) for r in traffic.requests} == counts
    assert traffic.description.startswith(
        "3 questions of pairs.tsv, 1 to 9 passages each (mean 4.7)"
    )


def test_no_variation_comes_twice_and_lengths_are_those_of_real_passages() -> None:
    requests = read_requests(EXTRACT, passages=60)
    made = list(varied(requests, requests=40, passages=25))
    texts = [text for request in made for text in request.passages]
    assert len(texts) == 1000
    assert len(set(texts)) == 1000
    # Cut anywhere, not only at the 160 places where real passages begin.
    assert len({tuple(text.split()[:4]) for text in texts}) > 500
    words = sorted(len(text.split()) for text in texts)
    wanted = sorted(len(text.split()) for request in requests for text in request.passages)
    assert 0.7 * wanted[len(wanted) // 2] < words[500] < 1.3 * wanted[len(wanted) // 2]
    assert made == list(varied(requests, requests=40, passages=25))
