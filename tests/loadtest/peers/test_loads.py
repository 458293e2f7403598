"""The loads: of the length that was asked, and of counts that are mixed."""

from __future__ import annotations

from pathlib import Path

from retort.loadtest.peers.loads import MOST_PASSAGES, fixed_load, of_mixed_counts, real_load
from retort.loadtest.texts import Request, encode
from retort.models.encoding import PairEncoder


def test_the_fixed_load_is_as_long_as_the_bundle_allows(encoder: PairEncoder) -> None:
    load = fixed_load(encoder)
    lengths = {len(pair) for request in load.requests for pair in encode(encoder, request)}
    assert lengths == {64}
    assert load.words == "10 passages of 64 tokens"
    assert load.pairs == 10


def test_counts_are_drawn_from_one_to_all() -> None:
    requests = [Request(f"q{n}", tuple(map(str, range(MOST_PASSAGES)))) for n in range(2000)]
    counts = [len(request.passages) for request in of_mixed_counts(requests, seed=1)]
    assert (min(counts), max(counts)) == (1, MOST_PASSAGES)
    small = sum(count < 8 for count in counts) / len(counts)
    assert 0.4 < small < 0.6, "log-uniform: half lies below the root"
    assert of_mixed_counts(requests, 1) == of_mixed_counts(requests, 1)
    assert of_mixed_counts(requests, 1) != of_mixed_counts(requests, 2)


def test_the_real_load_is_of_the_extract_or_of_a_file(encoder: PairEncoder, tmp_path: Path) -> None:
    load = real_load(encoder, None)
    assert len({len(request.passages) for request in load.requests}) > 5
    assert "questions of extract.tsv, 1 to" in load.words
    file = tmp_path / "own.tsv"
    file.write_text("one\tgreen tree\none\tblue tree\ntwo\told house\n")
    own = real_load(encoder, file)
    assert sorted(len(request.passages) for request in own.requests) == [1, 2]
    assert own.pairs == 1.5
    assert "2 questions of own.tsv" in own.words
