"""Telling: what an answer says besides its scores, the same in every shape.

Of a passage: the best of its windows, its highlight, its flags. Of the request: whether any passage
answers, what was not read and what the model does not know, as numbers and in sentences. A shape
that has no place for the latter gets them in headers, a dictionary and a list of RFC 9651:

    Retort-Usage: passages=3, pairs=7, windows=5, unknown-tokens=2, query-cut=head, answerable=0.931
    Retort-Warnings: "2 passages were too long to be read whole"
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from retort.models.reading.highlights import told
from retort.service.engine.job import Outcome
from retort.service.highlighting import Highlights
from retort.service.modes import Answer

USAGE_HEADER = "Retort-Usage"
WARNINGS_HEADER = "Retort-Warnings"
# Proxies take 4 kB of headers at least.
MOST_WARNING_BYTES = 2_048

_CUT = {
    "head": "its beginning was left out",
    "tail": "its end was left out",
    "middle": "its middle was left out",
    "both": "its beginning and its end were left out",
}
_FLAGS = {
    "empty": ("has nothing to read and got score 0", "have nothing to read and got score 0"),
    "unfamiliar": (
        "is mostly unknown to the model: another language or script, or junk",
        "are mostly unknown to the model: another language or script, or junk",
    ),
    "truncated": ("was too long to be read whole", "were too long to be read whole"),
}


def of_passage(index: int, outcome: Outcome, highlights: Highlights) -> dict[str, Any]:
    """What there is to tell of one passage, as fields of its result; mostly none."""
    return told(outcome.notes.get(index), highlights.found.get(index))


def usage(answer: Answer) -> dict[str, Any]:
    """What was read and scored."""
    outcome = answer.outcome
    return {
        "passages": len(outcome.score),
        "pairs": outcome.pairs,
        "windows": outcome.windows,
        "tokens": outcome.tokens,
        "teacher_pairs": len(answer.by_teacher),
        "truncated": outcome.truncated,
        "unknown_tokens": outcome.unknown_tokens,
        "query_cut": outcome.query_cut,
    }


def answerable(answer: Answer) -> float | None:
    """The probability that any passage answers; None where nobody can tell, or of pairs."""
    known, outcome = answer.manifest.answerability, answer.outcome
    if known is None or outcome.errors or answer.pairs_alone:
        return None
    return known.probability(outcome.score)


def warnings(answer: Answer, highlights: Highlights) -> list[str]:
    """Sentences about what a client should know, mostly none."""
    outcome, found = answer.outcome, []
    if outcome.query_cut is not None:
        found.append(
            "the query has more tokens than are read of one "
            f"({answer.manifest.truncation.max_query_tokens}): {_CUT[outcome.query_cut]}"
        )
    if outcome.query_words == "unknown":
        found.append(
            "the model knows none of the query's words: all scores are 0, in the order sent"
        )
    elif outcome.query_words == "unfamiliar":
        found.append("most of the query is unknown to the model: the scores mean little")
    if outcome.notes:
        for flag, (one, many) in _FLAGS.items():
            count = sum(flag in note.flags for note in outcome.notes.values())
            if count:
                found.append(f"one passage {one}" if count == 1 else f"{count} passages {many}")
    if highlights.why is not None:
        found.append(f"there are no highlights: {highlights.why}")
    return found


def headers(answer: Answer, sentences: Sequence[str]) -> dict[str, str]:
    """Headers for shapes whose body has no place for it: the numbers, and warnings if any."""
    fields = [
        f"{name.replace('_', '-')}={value}"
        for name, value in usage(answer).items()
        if value not in (None, 0)
    ]
    probability = answerable(answer)
    if probability is not None:
        fields.append(f"answerable={probability:.3f}")
    found = {USAGE_HEADER: ", ".join(fields)}
    if sentences:
        found[WARNINGS_HEADER] = _listed(sentences)
    return found


def _listed(sentences: Sequence[str]) -> str:
    """The first sentences, as many as a header has room for, and how many more there are."""
    fit: list[str] = []
    size = 0
    for sentence in sentences:
        quoted = _quoted(sentence)
        size += len(quoted) + 2
        if size > MOST_WARNING_BYTES:
            fit.append(_quoted(f"{len(sentences) - len(fit)} more"))
            break
        fit.append(quoted)
    return ", ".join(fit)


def _quoted(sentence: str) -> str:
    """A sentence as a string of RFC 9651: visible ASCII, since it may repeat a client's words."""
    visible = ascii(sentence)[1:-1].replace("\\'", "'")
    escaped = visible.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'
