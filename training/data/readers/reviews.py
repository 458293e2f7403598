"""Readers of reviews: Amazon's multi-domain sentiment set, one file a domain and sentiment.

A review is the passage, `REVIEW_QUERY` the query, and the label is 1 for a positive one.

The files come without splits and with duplicates. A review that stands there twice is read once,
and a domain is cut into `books-train`, `books-dev` and `books-test` by a hash of a review's last
words, the same for everyone, always: copies of a review end up in one part even where they differ
in their title, and whatever domain they stand in.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from retort.training.data.pairs import REVIEW_QUERY, Pair, normalise
from retort.training.data.portions import place
from retort.training.data.readers.rows import BadRows, lines, locate

AMAZON_DOMAINS = ("books", "dvd", "electronics", "kitchen")
PARTS = {"train": (0.0, 0.8), "dev": (0.8, 0.9), "test": (0.9, 1.0)}
LAST_WORDS = 12


def amazon(folder: Path, split: str, bad: BadRows) -> Iterator[Pair]:
    """`<domain>/review_positive` and `review_negative`: a review a line, of any length.

    `split` is `<domain>-<part>`.
    """
    domain, _, part = split.rpartition("-")
    low, high = PARTS[part]
    seen: set[str] = set()
    for name, label in (("negative", 0.0), ("positive", 1.0)):
        path = locate(folder / domain, f"review_{name}")
        for number, line in lines(path):
            text = " ".join(line.split())
            words = normalise(text)
            if not words:
                bad.report(path, number, "a review in words", line)
                continue
            last = " ".join(words.split()[-LAST_WORDS:])
            if words in seen or not low <= place(last) < high:
                continue
            seen.add(words)
            pair_id = f"amazon-{domain}-{name}-{number}"
            yield Pair(REVIEW_QUERY, text, label, pair_id, pair_id)
