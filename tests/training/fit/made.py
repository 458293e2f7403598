"""Own pairs for tests: queries and passages of the tiny vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from retort.training.data.evaluation_set import write_pairs
from retort.training.data.pairs import Pair
from tests.tiny_texts import WORDS

NOUNS = ("tower", "hamlet", "paris", "france", "river", "city", "play", "capital")
VERBS = ("is", "was", "does")


def word(number: int) -> str:
    """One of the words that the tiny tokenizer knows."""
    return str(WORDS[number % len(WORDS)])


def make_pairs(queries: int = 90, passages: int = 5) -> list[Pair]:
    """Each query asks for two words; the right passage has both of them, others one or none."""
    pairs = []
    for number in range(queries):
        first, second = WORDS[number % 20], NOUNS[number % 8]
        query = f"what {VERBS[number % 3]} {first} {second} {word(number * 7)}"
        texts = [f"the {first} and {second} of {number}"]
        texts += [
            f"the {NOUNS[(number + step) % 8]} was {word(number + 3 * step)} by {step}"
            for step in range(1, passages)
        ]
        pairs += [Pair(query, text, float(place == 0)) for place, text in enumerate(texts)]
    return pairs


def save_pairs(path: Path, pairs: Sequence[Pair]) -> Path:
    """Write pairs as a user's JSONL."""
    write_pairs(path, pairs)
    return path
