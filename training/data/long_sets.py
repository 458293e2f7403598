"""Long sets: answers inside chunks of 300 words, of which the model reads less at once.

A chunk has eight sentences. In one of a question's twenty chunks one of them is an answer, at depth
1, 3, 5 or 7 of 8; all other sentences come from other texts. Each question is asked once for each
depth, with the same other chunks, so that only the place of the answer differs. A ranker that reads
the beginning of a passage finds the answers at depth 1, and guesses the rest.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from pathlib import Path

from retort.models.reading.sentences import sentences
from retort.training.data.catalog import CATALOG, read_pairs
from retort.training.data.evaluation_set import EvaluationSet
from retort.training.data.pairs import Pair, normalise
from retort.training.data.readers.official import squad_reqa_candidates

DEPTHS = (1, 3, 5, 7)
CHUNK_SENTENCES = 8
CHUNKS = 20
# So long that eight sentences make about 300 words.
FILLER_WORDS = (28, 46)
# Longer answers would leave their neighbours no room in what is called a chunk.
ANSWER_WORDS = 120


def long_sets(root: Path, queries: int, seed: int) -> list[EvaluationSet]:
    """`long-squad`, `long-qed` and `long-medquad`, of `queries` questions each, at every depth.

    Answers are sentences of SQuAD's test split, paragraphs of QED's dev split and MedQuAD's answers
    of at most `ANSWER_WORDS` words.
    """
    folder = root / CATALOG["squad-reqa"].folder
    squad = [*squad_reqa_candidates(folder, "test")]
    qed, medquad = read_pairs(root, "qed/dev"), read_pairs(root, "medquad/all")
    return [
        long_set("long-squad", read_pairs(root, "squad-reqa/test"), squad, queries, seed),
        long_set("long-qed", qed, squad, queries, seed),
        long_set("long-medquad", medquad, (pair.passage for pair in medquad), queries, seed),
    ]


def long_set(
    name: str, positives: Sequence[Pair], texts: Iterable[str], queries: int, seed: int
) -> EvaluationSet:
    """A ranking of chunks; the other sentences are of `texts`.

    A question's id ends in `@` and the depth of its answer. Raises `ValueError` if `texts` has too
    few sentences.
    """
    draw = random.Random(seed)
    pool = sorted(set(_fillers(texts)))
    needed = CHUNK_SENTENCES * CHUNKS
    if len(pool) < needed:
        raise ValueError(
            f"{name}: {len(pool)} sentences of {FILLER_WORDS[0]} to {FILLER_WORDS[1]} words, "
            f"{needed} are needed: give more texts"
        )
    answers: dict[str, set[str]] = {}
    for pair in positives:
        answers.setdefault(normalise(pair.query), set()).add(normalise(pair.passage))
    asked = {
        normalise(pair.query): pair
        for pair in positives
        if len(pair.passage.split()) <= ANSWER_WORDS
    }
    chosen = draw.sample(sorted(asked), min(queries, len(asked)))
    pairs: list[Pair] = []
    for place, query in enumerate(chosen):
        pair = asked[query]
        # An answer's own sentences, and those that answer elsewhere, would be answers again.
        own = " ".join(answers[query])
        drawn = [s for s in draw.sample(pool, needed + CHUNK_SENTENCES) if normalise(s) not in own]
        chunks = [
            drawn[start : start + CHUNK_SENTENCES] for start in range(0, needed, CHUNK_SENTENCES)
        ]
        for depth in DEPTHS:
            right = [*chunks[0]]
            right[depth - 1] = pair.passage
            query_id = f"{name}-{place}@{depth}"
            for number, chunk in enumerate([right, *chunks[1:]]):
                text = " ".join(chunk)
                pairs.append(Pair(pair.query, text, float(number == 0), query_id, str(number)))
    return EvaluationSet(name, tuple(pairs), headline="R@1")


def depth_of(query_id: str) -> int:
    """At which of the eight sentences a question's answer is.

    >>> depth_of("long-squad-12@3")
    3
    """
    return int(query_id.rpartition("@")[2])


def _fillers(texts: Iterable[str]) -> Iterable[str]:
    low, high = FILLER_WORDS
    for text in texts:
        for span in sentences(text):
            sentence = text[span.start : span.end]
            if low <= len(sentence.split()) <= high:
                yield sentence
