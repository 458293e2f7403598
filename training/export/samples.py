"""Sample pairs: questions and passages that ship with Retort, for a model that comes without any.

They are the golden pairs of the bundle that ships: each question with its own passage and with
those of its neighbours, best first. They are few and English, so they show whether a graph ranks as
its original does, and nothing of how well either ranks.
"""

from __future__ import annotations

from retort.models.bundle import SHIPPED, read_bundle
from retort.training.data.pairs import Pair

BUNDLE = "retort-small"
QUERIES, PASSAGES = 24, 5


def sample_pairs() -> tuple[Pair, ...]:
    """`QUERIES` questions with `PASSAGES` passages each, labelled by where the passage belongs."""
    best = {pair.query: pair.passage for pair in read_bundle(SHIPPED / BUNDLE).golden}
    # Golden pairs go from the lowest score to the highest, so the last of a question answers best.
    known = list(best.items())[-QUERIES:]
    return tuple(
        Pair(query, known[(place + step) % QUERIES][1], float(step == 0))
        for place, (query, _) in enumerate(known)
        for step in range(PASSAGES)
    )
