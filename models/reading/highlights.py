"""Highlights: the sentence of a passage that answers best.

Every sentence of a passage is scored against the query as a passage of its own, and the best is the
highlight. Of a passage that was not read whole, those of its best window are. What else was tried
is in docs/scores.md, with figures: the sentences of the best window alone, neighbours, and
token-level signals of the same forward pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from retort.models.arrays import FloatArray
from retort.models.reading.passages import Note
from retort.models.reading.sentences import sentences
from retort.models.reading.spans import Highlight, Span


@dataclass(frozen=True, slots=True)
class Candidates:
    """The sentences of some passages, by the passage's index; `texts` are all of them, in order."""

    spans: Mapping[int, tuple[Span, ...]]
    texts: tuple[str, ...]


def candidates(
    passages: Sequence[str], notes: Mapping[int, Note], indices: Sequence[int]
) -> Candidates:
    """The sentences of the passages at `indices`, of which `notes` are what there is to tell."""
    spans = {index: tuple(_spans(passages[index], notes.get(index))) for index in indices}
    texts = (passages[index][a:b] for index, own in spans.items() for a, b in own)
    return Candidates({index: own for index, own in spans.items() if own}, tuple(texts))


def best_sentences(found: Candidates, scores: FloatArray) -> dict[int, Highlight]:
    """The highlight of each passage, by the scores of all sentences (sentences,)."""
    best = {}
    row = 0
    for index, spans in found.spans.items():
        own = scores[row : row + len(spans)]
        place = int(np.argmax(own))
        best[index] = Highlight(*spans[place], float(own[place]))
        row += len(spans)
    return best


def told(note: Note | None, mark: Highlight | None) -> dict[str, Any]:
    """What there is to tell of a passage, as fields of its result in JSON; mostly none."""
    fields: dict[str, Any] = {}
    if note is not None and note.window is not None:
        fields["window"] = {**note.window._asdict(), "count": note.windows}
    if mark is not None:
        fields["highlight"] = asdict(mark)
    if note is not None and note.flags:
        fields["flags"] = list(note.flags)
    return fields


def _spans(passage: str, note: Note | None) -> Iterator[Span]:
    """The sentences of a passage; if not all of it was read, those that its best window touches."""
    partly = note is not None and "truncated" in note.flags
    if note is None or note.window is None or not partly:
        return iter(sentences(passage))
    window = note.window
    return (span for span in sentences(passage) if span.shared(window) > 0)
