"""Sentences: where they begin and end in a text.

Windows end at sentences, and a highlight is one. `sentencex` finds them by rules for abbreviations,
initials, numbers and quotes; it goes through tens of megabytes per second and needs no data.
"""

from __future__ import annotations

from sentencex import get_sentence_boundaries

from retort.models.reading.spans import Span

# The rules for abbreviations are the language's; marks at sentence ends are known in all scripts.
LANGUAGE = "en"


def sentences(text: str) -> list[Span]:
    """The sentences of `text`, in order, without the white space around them.

    >>> sentences("Dr. Smith came. He left.")
    [Span(start=0, end=15), Span(start=16, end=24)]
    """
    found = []
    for boundary in get_sentence_boundaries(LANGUAGE, text):
        sentence: str = boundary["text"]
        left = len(sentence) - len(sentence.lstrip())
        length = len(sentence.strip())
        if length:
            start = boundary["start_index"] + left
            found.append(Span(start, start + length))
    return found
