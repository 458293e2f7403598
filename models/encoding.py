"""Pair encoding: the one rule by which a query and a passage become token ids.

Training and serving both use it, so that a student never gets an input in production
of a shape that it was not trained on. The rule is part of the bundle (see `manifest.py`); which
special tokens stand around the two texts says `layout.py`.

**Text** is tokenized as it is, and then cut by tokens. Names of control tokens in a text, such as
`[SEP]`, are plain text. Canonically equivalent texts (NFC, NFD) have the same tokens, and so have
texts that differ in the kind of their white space. Half a character (a lone surrogate) is an error.

**A query** of more than `max_query_tokens` keeps its question, and can never push the passage out.
Of its sentences that end in a question mark the last is kept, and those before it that fit too;
if there are none, of those that begin with a word such as "how". Where none asks, or it does not
fit, the first and the last tokens are kept, half and half, and where these have no words, those
from the first word on. docs/scores.md has what that gains.

**A passage** is encoded whole; `reading/windows.py` says how a long one is read. `join` cuts it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Regex, Tokenizer, normalizers

from retort.models.arrays import IntArray
from retort.models.layout import INPUTS, Input, PairLayout, bert_layout
from retort.models.reading.passages import NOT_READ, Layout, ReadPassage, read_passage
from retort.models.reading.sentences import sentences
from retort.models.reading.spans import Span
from retort.models.reading.vocabulary import Vocabulary, Words
from retort.models.reading.windows import Range, Reading

# A tokenizer needs about a hundred bytes per token, so a long text is tokenized in pieces.
PIECE_CHARACTERS = 16_384
# Of a longer text only this many pieces are read, spread over it; blank ones do not count.
MAX_PIECES = 16
# A query is searched for its question in so many characters at its beginning and at its end.
QUERY_CHARACTERS = 4_096
# Of so many characters at either end white space is left out before.
SEARCHED_CHARACTERS = 65_536

Cut = Literal["head", "tail", "middle", "both"]

_MARKS, _CLOSING = ("?", "？", "؟"), "\"')]”’ "
_ASKS = re.compile(
    r"\W*(who|whom|whose|what|when|where|which|why|how|is|are|was|were|do|does|did|can|could|"
    r"should|would|will|has|have|had)\b",
    re.IGNORECASE,
)
# Spaces that some tokenizers take for letters, and letters that have several normal forms.
_SPACES = ("a b", "a\u00a0b", "a\u2003b", "a\u3000b")
_FORMS = ("\u00e9", "\uac00", "\u304c")


class UnreadableText(ValueError):
    """A text that cannot be encoded; `index` says which one."""

    def __init__(self, index: int) -> None:
        super().__init__(
            f"text {index}: holds half a character (a lone surrogate): cut it between characters"
        )
        self.index = index


class TokenizerPanic(RuntimeError):
    """The tokenizer's library gave up, for instance on a pattern that takes too long to match."""


@dataclass(frozen=True, slots=True)
class Truncation:
    """How long a pair may be, in tokens, special tokens included."""

    max_length: int = 192
    max_query_tokens: int = 64

    def __post_init__(self) -> None:
        if not 1 <= self.max_query_tokens <= self.max_length - 4:
            raise ValueError(
                f"max_query_tokens is {self.max_query_tokens} and max_length {self.max_length}: "
                "leave the passage at least one token beyond the three special tokens"
            )

    def check(self, layout: PairLayout) -> None:
        """Raise `ValueError` if the longest query leaves a passage no room in that layout."""
        if self.max_query_tokens >= self.max_length - layout.special_tokens:
            raise ValueError(
                f"max_query_tokens is {self.max_query_tokens} and max_length {self.max_length}: "
                "leave the passage at least one token beyond the special tokens, "
                f"{layout.special_tokens} of them"
            )


@dataclass(frozen=True, slots=True)
class EncodedText:
    """Token ids (tokens,) of one text, without special tokens, and what kinds of words they are.

    `whole` is false if not all of the text was read. `cut` says which part of a query was left out,
    None: nothing.
    """

    ids: IntArray
    words: Words
    whole: bool = True
    cut: Cut | None = None


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """One pair ready for a batch: `ids` (sequence,), `boundary` the length of segment 0."""

    ids: IntArray
    boundary: int
    truncated: bool

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Batch:
    """Arrays of shape (batch, sequence), int64: what every backend takes."""

    input_ids: IntArray
    attention_mask: IntArray
    token_type_ids: IntArray

    @property
    def shape(self) -> tuple[int, int]:
        """(batch, sequence)."""
        return self.input_ids.shape[0], self.input_ids.shape[1]

    @property
    def arrays(self) -> tuple[IntArray, IntArray, IntArray]:
        """All of them, in the order of `INPUTS`."""
        return self.input_ids, self.attention_mask, self.token_type_ids

    def feed(self, inputs: Sequence[Input]) -> dict[Input, IntArray]:
        """Those that a graph takes, by their names."""
        every = dict(zip(INPUTS, self.arrays, strict=True))
        return {name: every[name] for name in inputs}


class PairEncoder:
    """Encodes pairs with a fast tokenizer; safe to share between threads.

    Without a `layout`, pairs are laid out as BERT's are. Raises `ValueError` where the tokenizer
    lacks a token for that, or where the longest query would leave a passage no room.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        truncation: Truncation | None = None,
        layout: PairLayout | None = None,
    ) -> None:
        self.truncation = truncation or Truncation()
        self.layout = layout or bert_layout(tokenizer)
        self.truncation.check(self.layout)
        tokenizer.no_padding()
        tokenizer.no_truncation()
        tokenizer.encode_special_tokens = True
        with _panics_told():
            _unify(tokenizer)
        self._tokenizer = tokenizer
        self._before, self._between, self._after = (
            np.array(ids, dtype=np.int64)
            for ids in (self.layout.before, self.layout.between, self.layout.after)
        )

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The tokenizer's tokens."""
        unknown = (self._tokenizer.token_to_id(name) for name in ("[UNK]", "<unk>"))
        added = self._tokenizer.get_added_tokens_decoder()
        return Vocabulary(
            self._tokenizer.get_vocab(),
            frozenset(number for number, token in added.items() if token.special),
            next((number for number in unknown if number is not None), None),
        )

    @property
    def last_id(self) -> int:
        """The largest id of a token."""
        return max(self._tokenizer.get_vocab().values())

    @property
    def pad_id(self) -> int:
        """The id of the token that fills a batch."""
        return self.layout.pad_id

    @property
    def longest(self) -> int:
        """How many tokens of the two texts fit together."""
        return self.truncation.max_length - self.layout.special_tokens

    @classmethod
    def from_file(
        cls,
        path: Path,
        truncation: Truncation | None = None,
        layout: PairLayout | None = None,
    ) -> PairEncoder:
        """Read `tokenizer.json` at `path`."""
        return cls(Tokenizer.from_file(str(path)), truncation, layout)

    def room(self, query: EncodedText) -> int:
        """How many tokens of a passage fit with `query`."""
        return self.longest - len(query.ids)

    def encode_query(self, query: str) -> EncodedText:
        """Encode a query once; it serves every passage of a request."""
        return self.encode_queries([query])[0]

    def encode_queries(self, queries: Sequence[str]) -> list[EncodedText]:
        """Encode several queries as one batch. Raises `UnreadableText`."""
        limit = self.truncation.max_query_tokens
        texts = [_ends(query) for query in queries]
        return [
            text if len(text.ids) <= limit else self._shorten(query, text)
            for query, text in zip(texts, self.encode_passages(texts), strict=True)
        ]

    def encode_passages(self, passages: Sequence[str]) -> list[EncodedText]:
        """Encode passages whole, as one batch. Raises `UnreadableText`."""
        long = [i for i, text in enumerate(passages) if len(text) > PIECE_CHARACTERS]
        if not long:
            found = self._tokenize(passages)
            ids = [np.asarray(encoding.ids, dtype=np.int64) for encoding in found]
            return [
                EncodedText(own, words)
                for own, words in zip(ids, self.vocabulary.words(ids), strict=True)
            ]
        own = set(long)
        short = iter(self.encode_passages([t for i, t in enumerate(passages) if i not in own]))
        return [
            self._encode_long(i, text)[0] if i in own else next(short)
            for i, text in enumerate(passages)
        ]

    def lay_out(self, passage: str) -> tuple[EncodedText, Layout]:
        """Encode one passage, and tell where its tokens and sentences are.

        Takes longer than `encode_passages`. Raises `UnreadableText`.
        """
        return self._encode_long(0, passage)

    def join(self, query: EncodedText, passage: EncodedText) -> EncodedPair:
        """Lay query and passage out as one pair, the passage cut to the room that is left."""
        room = self.room(query)
        pair = self.join_window(query, passage, (0, min(room, len(passage.ids))))
        truncated = query.cut is not None or len(passage.ids) > room or not passage.whole
        return EncodedPair(pair.ids, pair.boundary, truncated)

    def join_window(self, query: EncodedText, passage: EncodedText, window: Range) -> EncodedPair:
        """Lay out the query and those tokens of the passage, which have to fit."""
        first, last = window
        parts = (self._before, query.ids, self._between, passage.ids[first:last], self._after)
        boundary = len(self._before) + len(query.ids) + self.layout.boundary
        return EncodedPair(np.concatenate(parts), boundary, truncated=False)

    def read(
        self, query: EncodedText, text: str, passage: EncodedText, reading: Reading
    ) -> ReadPassage | None:
        """How a passage is read with `query`; None: as one pair. `text` is the passage's."""
        if not query.words.known:
            return NOT_READ
        return read_passage(
            len(passage.ids),
            passage.words,
            passage.whole,
            self.room(query),
            reading,
            lambda: self.lay_out(text)[1],
        )

    def encode(self, query: str, passages: Sequence[str]) -> list[EncodedPair]:
        """Encode one query against many passages, each cut to what fits."""
        head = self.encode_query(query)
        return [self.join(head, passage) for passage in self.encode_passages(passages)]

    def collate(self, pairs: Sequence[EncodedPair], length: int | None = None) -> Batch:
        """Pad pairs to `length` tokens (default: the longest of them)."""
        lengths = np.array([len(pair) for pair in pairs])
        columns = np.arange(length or lengths.max())
        # One copy per batch, not three per pair: at thousands of pairs per second that shows.
        mask = columns < lengths[:, None]
        boundaries = np.array([pair.boundary for pair in pairs])
        input_ids = np.full(mask.shape, self.pad_id, dtype=np.int64)
        input_ids[mask] = np.concatenate([pair.ids for pair in pairs])
        segments = mask & (columns >= boundaries[:, None])
        return Batch(input_ids, mask.astype(np.int64), segments.astype(np.int64))

    def _tokenize(self, texts: Sequence[str]) -> list[Encoding]:
        try:
            with _panics_told():
                return self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        except TypeError:
            for index, text in enumerate(texts):
                _check(index, text)
            raise

    def _encode_long(self, index: int, text: str) -> tuple[EncodedText, Layout]:
        _check(index, text)
        pieces = _pieces(text)
        chosen = pieces
        if len(pieces) > MAX_PIECES:
            places = np.linspace(0, len(pieces) - 1, MAX_PIECES).round().astype(int)
            chosen = [pieces[place] for place in places]
        parts: list[tuple[IntArray, IntArray]] = []
        ends: list[int] = []
        for piece in chosen:
            own = text[piece.start : piece.end]
            with _panics_told():
                encoding = self._tokenizer.encode_batch([own], add_special_tokens=False)[0]
            offsets = np.asarray(encoding.offsets, dtype=np.int64).reshape(-1, 2) + piece.start
            parts.append((np.asarray(encoding.ids, dtype=np.int64), offsets))
            found = [piece.start + sentence.end for sentence in sentences(own)]
            # A piece may end within a sentence.
            ends += found if piece is chosen[-1] else found[:-1]
        none = np.zeros(0, np.int64), np.zeros((0, 2), np.int64)
        ids, offsets = (np.concatenate(columns) for columns in zip(none, *parts, strict=True))
        # Layouts are kept for the next request, so they are to be small.
        starts, stops = (_small(column, len(text)) for column in offsets.T)
        after = np.unique(np.searchsorted(starts, ends))
        whole = len(chosen) == len(pieces)
        words = self.vocabulary.words([ids])[0]
        return EncodedText(ids, words, whole), Layout(starts, stops, tuple(after.tolist()))

    def _shorten(self, query: str, text: EncodedText) -> EncodedText:
        """What is kept of a query that has too many tokens."""
        limit = self.truncation.max_query_tokens
        spans = sentences(query)
        # A mark that stands alone, as after dots, asks nothing.
        worded = [s for s in spans if any(map(str.isalnum, query[s.start : s.end]))]
        asking = [s for s in worded if query[s.start : s.end].rstrip(_CLOSING).endswith(_MARKS)]
        asking = asking or [s for s in worded if _ASKS.match(query, s.start)]
        kept: list[Span] = []
        tokens: list[IntArray] = []
        for span in reversed(asking):
            ids = self.encode_passages([query[span.start : span.end]])[0].ids
            if len(ids) + sum(map(len, tokens)) > limit:
                break
            kept.insert(0, span)
            tokens.insert(0, ids)
        if not kept:
            ids = np.concatenate([text.ids[: limit // 2], text.ids[-(limit - limit // 2) :]])
            words = self.vocabulary.words([ids])[0]
            if words.tokens or not text.words.tokens:
                return EncodedText(ids, words, cut="middle")
            # Its only words are between signs.
            ids = text.ids[self.vocabulary.first_word(text.ids) :][:limit]
            return EncodedText(ids, self.vocabulary.words([ids])[0], cut="both")
        ids = np.concatenate(tokens)
        head, tail = kept[0] != spans[0], kept[-1] != spans[-1]
        cut: Cut = "both" if head and tail else "head" if head else "tail" if tail else "middle"
        return EncodedText(ids, self.vocabulary.words([ids])[0], cut=cut)


@contextmanager
def _panics_told() -> Iterator[None]:
    """Make a panic of the library, which is no `Exception`, a `TokenizerPanic`."""
    try:
        yield
    except BaseException as error:
        # Its type cannot be imported.
        if type(error).__name__ != "PanicException":
            raise
        raise TokenizerPanic(f"the tokenizer gave up: {error}") from None


def _ends(query: str) -> str:
    """A query as it is; of a very long one its beginning and its end, without needless space."""
    if len(query) <= 2 * QUERY_CHARACTERS:
        return query
    query = query.strip()
    if len(query) > 2 * SEARCHED_CHARACTERS:
        query = f"{query[:SEARCHED_CHARACTERS]} {query[-SEARCHED_CHARACTERS:]}"
    query = " ".join(query.split())
    if len(query) <= 2 * QUERY_CHARACTERS:
        return query
    return f"{query[:QUERY_CHARACTERS]} {query[-QUERY_CHARACTERS:]}"


def _check(index: int, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UnreadableText(index) from None


def _small(offsets: IntArray, length: int) -> NDArray[np.integer[Any]]:
    return offsets.astype(np.uint16) if length < 2**16 else offsets


def _pieces(text: str) -> list[Span]:
    """Parts of `text` that can be tokenized apart: each begins at white space if any is near.

    Parts of nothing but white space are left out.
    """
    pieces = []
    start = 0
    while start < len(text):
        end = start + PIECE_CHARACTERS
        if end < len(text):
            space = max(text.rfind(" ", start + 1, end), text.rfind("\n", start + 1, end))
            end = space if space > 0 else end
        end = min(end, len(text))
        if not text[start:end].isspace():
            pieces.append(Span(start, end))
        start = end
    return pieces


def _unify(tokenizer: Tokenizer) -> None:
    """Let white space of any kind, and letters of any normal form, have the same tokens.

    A tokenizer that sees to it itself is left alone, since it takes time.
    """

    def differ(texts: Sequence[str]) -> bool:
        first, *others = (tokenizer.encode(text, add_special_tokens=False).ids for text in texts)
        return any(other != first for other in others)

    steps: list[normalizers.Normalizer] = []
    if any(
        differ([unicodedata.normalize(form, text) for form in ("NFC", "NFD")]) for text in _FORMS
    ):
        steps.append(normalizers.NFC())
    if differ(_SPACES):
        # Tabs and line breaks may mean something to a model.
        steps.append(normalizers.Replace(Regex(r"[^\S\t\n\r]"), " "))
    if steps:
        own = [] if tokenizer.normalizer is None else [tokenizer.normalizer]
        tokenizer.normalizer = normalizers.Sequence([*steps, *own])
