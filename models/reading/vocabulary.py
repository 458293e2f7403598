"""Vocabulary: what a model can know of a text's tokens.

A tokenizer makes tokens of any text, but a model makes sense only of those that it has met often.
Of the tokens of words, those with a letter or a digit, two kinds tell that a text is not for it:

    unknown  `[UNK]`, and letters of a script that the vocabulary has few tokens of: an English one
             spells Greek and Thai letter by letter, and its model learned nothing of them
    inner    pieces that go on with a word; where most are, words are being spelled: another
             language, or junk

Another language in a known script shows in its inner pieces alone, so some of its texts pass.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from retort.models.arrays import IntArray

# `bert-base-uncased` has 27,800 tokens in Latin letters, 490 of Chinese and 86 of Cyrillic; a
# multilingual vocabulary has thousands in each script that its model was made for.
FEW_TOKENS = 1_000
# Of English passages of web, encyclopedia and medicine, at most one in 2,000 has more inner pieces.
MOST_INNER, LEAST_WORDS = 0.5, 8

# Counts of so many bits: no text has two million tokens at once.
_BITS = 21
_MASK = (1 << _BITS) - 1

# Tokenizers mark pieces that go on with a word (BERT), or those that begin one (all others).
_INNER, _BEGIN = "##", ("▁", "Ġ")


class Words(NamedTuple):
    """Counts of a text's tokens: those of words, and of these the unknown and the inner ones."""

    tokens: int
    unknown: int
    inner: int

    @property
    def known(self) -> int:
        """Tokens that can mean something to the model."""
        return self.tokens - self.unknown

    @property
    def unfamiliar(self) -> bool:
        """Whether most of the text is unknown to the model, or spelled."""
        spelled = self.tokens >= LEAST_WORDS and self.inner > MOST_INNER * self.tokens
        return spelled or 2 * self.unknown > self.tokens


class Vocabulary:
    """The tokens of a tokenizer; `special` are ids that no text has, `unknown` is `[UNK]`'s."""

    def __init__(
        self, tokens: Mapping[str, int], special: frozenset[int], unknown: int | None
    ) -> None:
        own = {token: number for token, number in tokens.items() if number not in special}
        scripts = {token: _script(token) for token in own}
        common = Counter(script for script in scripts.values() if script)
        # A vocabulary that small has few tokens of any script, and spells most words.
        large = sum(common.values()) > FEW_TOKENS
        few = FEW_TOKENS if large else 0
        marks = large and any(token.startswith(_INNER) for token in own)
        begins = large and any(token.startswith(_BEGIN) for token in own)
        # For each token id, whether it is of a word, unknown, inner: three counts in one number.
        self._table = np.zeros(1 + max(tokens.values()), dtype=np.int64)
        for token, number in own.items():
            if script := scripts[token]:
                strange = script != "DIGIT" and common[script] < few
                inner = token.startswith(_INNER) if marks else not token.startswith(_BEGIN)
                self._table[number] = _packed(strange, inner and (marks or begins))
        if unknown is not None:
            self._table[unknown] = _packed(unknown=True, inner=False)

    def __len__(self) -> int:
        return len(self._table)

    def words(self, texts: Sequence[IntArray]) -> list[Words]:
        """The counts of each text, given as token ids (tokens,)."""
        if not texts:
            return []
        counts = self._table[texts[0] if len(texts) == 1 else np.concatenate(texts)].cumsum()
        found = []
        end = before = 0
        for ids in texts:
            end += len(ids)
            total = int(counts[end - 1]) if end else 0
            # Over very many texts the packed sum overflows; its differences do not.
            own, before = (total - before) % 2**64, total
            found.append(Words(own & _MASK, own >> _BITS & _MASK, own >> 2 * _BITS))
        return found

    def first_word(self, ids: IntArray) -> int:
        """Where in `ids` (tokens,) the first token of a word is; 0 if there is none."""
        return int((self._table[ids] != 0).argmax())


def _packed(unknown: bool, inner: bool) -> int:
    return 1 | unknown << _BITS | inner << 2 * _BITS


def _script(token: str) -> str:
    """The script of its first letter, `DIGIT` if it has digits alone, empty if it has neither."""
    for character in token:
        if character.isalpha() and character not in "▁Ġ":
            return unicodedata.name(character, "NONE").partition(" ")[0]
    return "DIGIT" if any(character.isdigit() for character in token) else ""
