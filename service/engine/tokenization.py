"""Tokenization: a request's texts to pairs as the wire has them; a front end's work.

The query is encoded once per request, its passages in batches. The same passages come back from
request to request, so the tokens of the most recent ones are kept. Texts are kept as the bytes of
their token ids, and pairs are laid out by joining bytes: no array is made for each pair. The
windows of a passage are slices of the same bytes.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock

from retort.models.encoding import Cut, EncodedText, PairEncoder, Truncation
from retort.models.reading.passages import NOT_READ, Layout, ReadPassage, read_passage
from retort.models.reading.vocabulary import Words
from retort.models.reading.windows import Reading, estimate_windows
from retort.service.engine.wire import Chunk

# A request of thousands of passages is encoded in chunks: its first pairs are scored while its last
# are still text.
CHUNK_PASSAGES, CHUNK_CHARACTERS = 128, 262_144
# English text has about four characters per token; only admission relies on it.
CHARS_PER_TOKEN = 4
# With so many characters for each token that fits, a text surely needs windows.
SURELY_LONG = 6
# A longer passage is encoded each time: what is kept must be bounded in bytes too.
MAX_KEPT_CHARACTERS = 4_096
LARGEST_UINT16 = 65_535

# Called with the number of passages that were kept (hits) and of those that were not (misses).
Lookups = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids of one text, without special tokens, in the wire's bytes.

    The rest is as in `EncodedText`; `layout` is there for a passage that surely needs windows.
    `plain` says that the model knows its words, and that there is nothing to tell of it if it fits.
    """

    ids: bytes
    count: int
    plain: bool
    words: Words
    whole: bool
    cut: Cut | None
    layout: Layout | None = None


class Tokenization:
    """Encodes queries and passages, and keeps the passages' tokens that were used most recently.

    Thread-safe; encoding happens outside the lock, so two threads may encode the same passage
    at once. With 0 `entries` nothing is kept, and `lookups` is never called.
    """

    def __init__(
        self, encoder: PairEncoder, entries: int = 0, lookups: Lookups = lambda _hits, _misses: None
    ) -> None:
        self.truncation = encoder.truncation
        self._encoder = encoder
        self._entries = entries
        self._lookups = lookups
        self._kept: OrderedDict[str, Tokens] = OrderedDict()
        self._lock = Lock()
        self._wide = len(encoder.vocabulary) > LARGEST_UINT16 + 1
        self._typecode = "I" if self._wide else "H"
        self._width = 4 if self._wide else 2
        self._surely_long = SURELY_LONG * encoder.truncation.max_length
        layout = encoder.layout
        self._before, self._between, self._after = map(
            self._bytes, (layout.before, layout.between, layout.after)
        )
        self.special = layout.special_tokens  # tokens of a pair beyond those of its texts
        # How many special tokens have the query's token type.
        self._boundary = len(layout.before) + layout.boundary

    def __len__(self) -> int:
        return len(self._kept)

    def query(self, text: str) -> Tokens:
        """The tokens of a query."""
        return self.queries([text])[0]

    def queries(self, texts: Sequence[str]) -> list[Tokens]:
        """The tokens of several queries, in order."""
        return [self._tokens(text) for text in self._encoder.encode_queries(texts)]

    def new_characters(self, passages: Sequence[str]) -> int:
        """How much of `passages` is not kept, in characters: how long encoding will take."""
        kept = self._kept
        return sum(len(text) for text in passages if text not in kept)

    def passages(self, passages: Sequence[str]) -> list[Tokens]:
        """The passages' tokens, in order."""
        if not self._entries:
            return self._encode(passages)
        found = self._find(passages)
        new = list(dict.fromkeys(text for text in passages if text not in found))
        if new:
            found.update(zip(new, self._encode(new), strict=True))
            self._keep({text: found[text] for text in new if len(text) <= MAX_KEPT_CHARACTERS})
        self._lookups(len(passages) - len(new), len(new))
        return [found[text] for text in passages]

    def read(
        self,
        queries: Sequence[Tokens],
        texts: Sequence[str],
        passages: Sequence[Tokens],
        reading: Reading,
    ) -> list[ReadPassage | None]:
        """How each passage is read with its query, or the one for all; None: as one pair."""
        longest = self._encoder.longest
        each = queries if len(queries) > 1 else [queries[0]] * len(passages)
        uncut = reading.max_tokens is None
        return [
            None
            if uncut and query.plain and passage.plain and query.count + passage.count <= longest
            else self._read(query, text, passage, reading)
            for query, text, passage in zip(each, texts, passages, strict=True)
        ]

    def chunk(
        self,
        queries: Sequence[Tokens],
        passages: Sequence[Tokens],
        read: Sequence[ReadPassage | None],
        *,
        last: bool = True,
    ) -> Chunk:
        """Pairs of each passage with its query, or with the one query for all, as `read` says."""
        before, between, after = self._before, self._between, self._after
        special, boundary, width = self.special, self._boundary, self._width
        lengths, boundaries = array("H"), array("H")
        parts: list[bytes] = []
        shared = len(queries) == 1
        query = queries[0]
        for row, (passage, own) in enumerate(zip(passages, read, strict=True)):
            if not shared:
                query = queries[row]
            if own is None:
                lengths.append(query.count + passage.count + special)
                boundaries.append(query.count + boundary)
                parts += (before, query.ids, between, passage.ids, after)
                continue
            for first, end in own.windows:
                lengths.append(query.count + end - first + special)
                boundaries.append(query.count + boundary)
                own_ids = passage.ids[first * width : end * width]
                parts += (before, query.ids, between, own_ids, after)
        return Chunk(lengths.tobytes(), boundaries.tobytes(), b"".join(parts), last, self._wide)

    def _read(
        self, query: Tokens, text: str, passage: Tokens, reading: Reading
    ) -> ReadPassage | None:
        def layout() -> Layout:
            return passage.layout or self._encoder.lay_out(text)[1]

        if not query.words.known:
            return NOT_READ
        room = self._encoder.longest - query.count
        return read_passage(passage.count, passage.words, passage.whole, room, reading, layout)

    def _bytes(self, ids: Sequence[int]) -> bytes:
        return array(self._typecode, ids).tobytes()

    def _encode(self, passages: Sequence[str]) -> list[Tokens]:
        limit = self._surely_long
        short = iter(self._encoder.encode_passages([t for t in passages if len(t) <= limit]))
        return [
            self._tokens(next(short)) if len(text) <= limit else self._laid_out(text)
            for text in passages
        ]

    def _laid_out(self, text: str) -> Tokens:
        encoded, layout = self._encoder.lay_out(text)
        return self._tokens(encoded, layout)

    def _tokens(self, text: EncodedText, layout: Layout | None = None) -> Tokens:
        ids, words = self._bytes(text.ids.tolist()), text.words
        plain = text.whole and words.known > 0 and not words.unfamiliar
        return Tokens(ids, len(text.ids), plain, words, text.whole, text.cut, layout)

    def _find(self, passages: Sequence[str]) -> dict[str, Tokens]:
        found = {}
        with self._lock:
            for text in passages:
                tokens = self._kept.get(text)
                if tokens is not None:
                    self._kept.move_to_end(text)
                    found[text] = tokens
        return found

    def _keep(self, tokens: dict[str, Tokens]) -> None:
        with self._lock:
            self._kept.update(tokens)
            while len(self._kept) > self._entries:
                self._kept.popitem(last=False)


def chunk_end(passages: Sequence[str], start: int) -> int:
    """Where the chunk of `passages` ends that begins at `start`."""
    characters = 0
    for index in range(start, min(len(passages), start + CHUNK_PASSAGES)):
        characters += len(passages[index])
        if characters > CHUNK_CHARACTERS:
            return index + 1
    return min(len(passages), start + CHUNK_PASSAGES)


def estimate_tokens(
    queries: Sequence[str],
    passages: Sequence[str],
    truncation: Truncation,
    special: int,
    reading: Reading,
) -> int:
    """Estimate the tokens of a request's pairs, `special` ones each, before they are tokenized.

    One query is for all passages; otherwise there is one per passage.
    """
    most, limit = truncation.max_length, truncation.max_query_tokens
    own = [min(limit, len(query) // CHARS_PER_TOKEN + 1) + special for query in queries]
    if len(own) == 1:
        own *= len(passages)
    total = 0
    for head, text in zip(own, passages, strict=True):
        windows, tokens = estimate_windows(len(text) // CHARS_PER_TOKEN + 1, most - head, reading)
        total += windows * head + tokens
    return total
