"""Requests of mixed counts and lengths, and texts that never come twice."""

from __future__ import annotations

import random
from pathlib import Path

from retort.loadtest.extract import EXTRACT
from retort.loadtest.limits.mixed import drawn_count, mixed_requests, varied_requests


def test_a_file_of_few_passages_is_filled_up_to_drawn_counts() -> None:
    requests = mixed_requests(EXTRACT)
    counts = sorted(len(request.passages) for request in requests)
    assert counts[0] <= 2
    assert 40 <= counts[-1] <= 60
    assert len({request.query for request in requests}) == len(requests)
    assert all(len(set(request.passages)) == len(request.passages) for request in requests)
    assert requests == mixed_requests(EXTRACT)
    assert requests != mixed_requests(EXTRACT, seed=1)


def test_a_file_of_many_passages_to_a_question_keeps_its_counts(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    lines = [
        f"question {q}\tpassage {q} {p}" for q, count in enumerate((4, 9)) for p in range(count)
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    requests = mixed_requests(path)
    assert {r.query: len(r.passages) for r in requests} == {"question 0": 4, "question 1": 9}


def test_every_doubling_of_a_count_is_as_likely_as_the_next() -> None:
    chance = random.Random(0)
    counts = [drawn_count(chance, 60) for _ in range(4000)]
    assert set(counts) == set(range(1, 61))
    below = [sum(low <= count < 2 * low for count in counts) for low in (2, 4, 8, 16)]
    assert max(below) < 1.4 * min(below)


def test_no_variation_comes_twice_and_lengths_are_those_of_real_passages() -> None:
    real = mixed_requests(EXTRACT)
    made = list(varied_requests(real, requests=40, passages=25))
    texts = [text for request in made for text in request.passages]
    assert len(texts) == 1000
    assert len(set(texts)) == 1000
    # Cut anywhere, not only at the 160 places where real passages begin.
    assert len({tuple(text.split()[:4]) for text in texts}) > 500
    words = sorted(len(text.split()) for text in texts)
    wanted = sorted(len(text.split()) for request in real for text in request.passages)
    assert 0.7 * wanted[len(wanted) // 2] < words[500] < 1.3 * wanted[len(wanted) // 2]
    assert made == list(varied_requests(real, requests=40, passages=25))
