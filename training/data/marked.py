"""Marked passages: a question, a passage, and which of its sentences answer.

    squad   five sentences of SQuAD's dev split that neighbouring questions have for answers
    qed     paragraphs of QED's dev split, with the one sentence that explains the answer
    selqa   all sentences of a question of SelQA's dev split, some of them right

Highlights are measured on them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from retort.models.reading.spans import Span
from retort.training.data.catalog import CATALOG, read_pairs
from retort.training.data.pairs import group_by_query
from retort.training.data.readers.rows import BadRows, locate, parse

NEIGHBOURS = 5


@dataclass(frozen=True, slots=True)
class MarkedPassage:
    """`right` are the sentences that answer, in characters of the passage."""

    query: str
    passage: str
    right: tuple[Span, ...]


def marked_squad(root: Path, count: int, seed: int) -> list[MarkedPassage]:
    """Up to `count` questions; the right sentence is at any of the five places."""
    draw = random.Random(seed)
    pairs = read_pairs(root, "squad-reqa/test")
    # Its questions are in the order of the articles, so neighbours are of one paragraph mostly.
    sentences = list(dict.fromkeys(pair.passage for pair in pairs))
    place = {text: index for index, text in enumerate(sentences)}
    asked = {pair.query: pair for pair in pairs}
    made = []
    for query in draw.sample(sorted(asked), min(count, len(asked))):
        start = place[asked[query].passage] - draw.randrange(NEIGHBOURS)
        start = max(0, min(start, len(sentences) - NEIGHBOURS))
        own = sentences[start : start + NEIGHBOURS]
        made.append(_joined(query, own, [text == asked[query].passage for text in own]))
    return made


def marked_qed(root: Path) -> list[MarkedPassage]:
    """Every question of the dev split that one sentence answers."""
    path = locate(root / CATALOG["qed"].folder, "qed-dev.jsonlines")
    made = []
    for _, row in parse(path, "an object with annotation", BadRows(), json.loads):
        annotation = row["annotation"]
        if annotation["explanation_type"] == "single_sentence":
            chosen = annotation["selected_sentence"]
            right = Span(chosen["start"], chosen["end"])
            # Two characters for two, so that every offset stays.
            passage = row["paragraph_text"].replace("``", ' "').replace("''", '" ')
            made.append(MarkedPassage(row["question_text"], passage, (right,)))
    return made


def marked_selqa(root: Path, count: int, seed: int) -> list[MarkedPassage]:
    """Up to `count` questions of the dev split that have a right sentence and a wrong one."""
    groups = [
        group
        for group in group_by_query(read_pairs(root, "selqa/dev")).values()
        if len({pair.label for pair in group}) == 2
    ]
    chosen = random.Random(seed).sample(groups, min(count, len(groups)))
    return [
        _joined(group[0].query, [p.passage for p in group], [p.label == 1.0 for p in group])
        for group in chosen
    ]


def _joined(query: str, texts: Sequence[str], right: Iterable[bool]) -> MarkedPassage:
    spans = []
    start = 0
    for text, marked in zip(texts, right, strict=True):
        if marked:
            spans.append(Span(start, start + len(text)))
        start += len(text) + 1
    return MarkedPassage(query, " ".join(texts), tuple(spans))
