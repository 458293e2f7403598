"""BM25 over texts of any script.

Words are runs of word characters with their combining marks, at least two long, and English stop
words are left out. Scripts that put no spaces between words, and Hangul, whose words carry their
particles, are read as pairs of neighbouring characters instead; a Han character, which is often a
word, stands for itself as well.

Example: `tokens("iPhone的价格")` is `["iphone", "的价", "价格", "的", "价", "格"]`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

import bm25s
import numpy as np
import regex
from bm25s.stopwords import STOPWORDS_EN
from numpy.typing import NDArray

_NO_SPACES = "".join(
    rf"\p{{scx={script}}}"
    for script in (
        "Han", "Hiragana", "Katakana", "Bopomofo", "Yi", "Hangul", "Thai", "Lao", "Khmer",
        "Myanmar", "Tai_Tham", "Javanese", "Balinese",
    )
)  # fmt: skip
_RUNS = regex.compile(rf"(?V1)([\w&&[{_NO_SPACES}]]+)|[\w--[{_NO_SPACES}]]{{2,}}")
_HAN = regex.compile(r"\p{Script=Han}")
_ASCII_WORDS = re.compile(r"\w{2,}")  # the same runs, found five times as fast
_STOP = frozenset(STOPWORDS_EN)
# What stands for the tokens of a text that has none, which bm25s refuses: no other text has it.
_EMPTY_PASSAGE, _EMPTY_QUERY = "\x00", "\x01"


def tokens(text: str) -> list[str]:
    """The tokens of a text, in order; those of a run without spaces stand together."""
    if text.isascii():
        return [word for word in _ASCII_WORDS.findall(text.lower()) if word not in _STOP]
    found: list[str] = []
    for match in _RUNS.finditer(unicodedata.normalize("NFKC", text).lower()):
        run = match.group()
        if match.group(1) is None:
            found += [run] if run not in _STOP else []
        elif len(run) == 1:
            found.append(run)
        else:
            found += [run[place : place + 2] for place in range(len(run) - 1)]
            found += _HAN.findall(run)
    return found


def word_count(text: str) -> int:
    """About how many words a text has; of scripts without spaces, one for two characters."""
    if text.isascii():
        return len(text.split())
    runs = [run for run in _RUNS.findall(text) if run]
    spaced = _RUNS.sub(lambda match: " " if match.group(1) else match.group(), text).split()
    words = [word for word in spaced if any(map(str.isalnum, word))] if runs else spaced
    return len(words) + len("".join(runs)) // 2


def bm25(
    passages: Sequence[str], queries: Sequence[str], k: int, *, progress: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Positions of the best `passages` and their scores, each (queries, k), best first.

    BM25 in Lucene's variant, k1 1.5, b 0.75. A query that shares no token with the passages gets
    positions of score 0: leave those out. Raises `ValueError` for no passages.
    """
    if not passages:
        raise ValueError("an index over no passages: give at least one")
    index = _index(passages)
    found, scores = index.retrieve(
        _tokens_of_all(queries), k=min(k, len(passages)), show_progress=progress
    )
    return np.asarray(found, dtype=np.int64), np.asarray(scores, dtype=np.float32)


def bm25_scores(
    passages: Sequence[str], queries: Sequence[str], rows: Sequence[Sequence[int]]
) -> list[NDArray[np.float32]]:
    """BM25 of those `passages` that `rows` (queries,) name, one array for each of `queries`.

    Words weigh what they weigh in all passages together.
    """
    index = _index(passages)
    return [
        np.asarray(index.get_scores(words)[list(own)], dtype=np.float32)
        for words, own in zip(_tokens_of_all(queries), rows, strict=True)
    ]


def _index(passages: Iterable[str]) -> bm25s.BM25:
    vocabulary: dict[str, int] = {}
    # Numbers instead of words: a tenth of the memory where there are millions.
    numbers = [
        [
            vocabulary.setdefault(token, len(vocabulary))
            for token in tokens(passage) or [_EMPTY_PASSAGE]
        ]
        for passage in passages
    ]
    index = bm25s.BM25(backend="numba")
    index.index((numbers, vocabulary), show_progress=False)
    return index


def _tokens_of_all(queries: Iterable[str]) -> list[list[str]]:
    return [tokens(query) or [_EMPTY_QUERY] for query in queries]
