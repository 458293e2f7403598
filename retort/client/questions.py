"""Questions: a query and its passages, as requests that the server takes.

A list that is over a limit of the server is several requests. Each is asked for the `top_n` best of
its own passages, since those of the whole list are among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import msgspec
from msgspec import Raw

from retort.client.errors import InvalidRequest, TooLarge
from retort.ranked import Passage, check_top_n, text_of


class ScoreOptions(TypedDict, total=False):
    """Options of every call that scores; None, as if left out, is the server's or client's own.

    `timeout` is in seconds, for the whole call with its retries.
    """

    max_windows: int | None
    overlap_tokens: int | None
    mode: Literal["student", "teacher", "cascade"] | None
    model: str | None
    timeout: float | None


class RankOptions(ScoreOptions, total=False):
    """Options of calls that rank: the least score of a result, and whether to tell sentences."""

    min_score: float
    highlight: bool


@dataclass(frozen=True, slots=True)
class Part:
    """One request of a question: its passages from number `start` of the list on, as JSON."""

    fields: dict[str, Any]
    passages: tuple[bytes, ...]
    start: int = 0

    def body(self, timeout_ms: int) -> bytes:
        """The request's body; the server answers within `timeout_ms`, or refuses."""
        passages = Raw(b"[" + b",".join(self.passages) + b"]")
        return msgspec.json.encode(self.fields | {"timeout_ms": timeout_ms, "passages": passages})

    def halves(self) -> tuple[Part, ...]:
        """The same as two requests; none for a single passage."""
        middle = len(self.passages) // 2
        if not middle:
            return ()
        first, second = self.passages[:middle], self.passages[middle:]
        return Part(self.fields, first, self.start), Part(self.fields, second, self.start + middle)


@dataclass(frozen=True, slots=True)
class Question:
    """A query and its passages; `passages` are as the caller gave them, `texts` are their JSON."""

    passages: Sequence[Passage]
    texts: tuple[bytes, ...]
    fields: dict[str, Any]

    @property
    def top_n(self) -> int | None:
        """How many results are wanted; None: all."""
        top_n: int | None = self.fields.get("top_n")
        return top_n

    def parts(self, max_passages: int, max_body_bytes: int) -> list[Part]:
        """The requests, each within the limits.

        Raises `TooLarge` for a query or a passage that no request has room for.
        """
        room = max_body_bytes - len(Part(self.fields, ()).body(10**9))
        if room <= 0:
            raise TooLarge(
                f"the query alone makes a body of more than {max_body_bytes} bytes, which is the "
                "server's limit: shorten it",
                param="query",
            )
        return [
            Part(self.fields, self.texts[first:last], first)
            for first, last in split([len(text) + 1 for text in self.texts], max_passages, room)
        ]


def question(
    query: str,
    passages: Sequence[Passage],
    top_n: int | None,
    options: RankOptions | ScoreOptions,
) -> Question:
    """A question with its options, of which `timeout` is the caller's.

    Raises `TypeError` for an option that does not exist, `ValueError` for a passage without text or
    a `top_n` below 1, `InvalidRequest` for half a character.
    """
    check_options(options, RankOptions.__optional_keys__)
    check_top_n(top_n)
    given = {"top_n": top_n, **options}
    fields = {name: value for name, value in given.items() if value is not None}
    fields.pop("timeout", None)
    _json(query, "query")
    texts = tuple(
        _json(text_of(index, passage), f"passages.{index}")
        for index, passage in enumerate(passages)
    )
    return Question(passages, texts, {"query": query, **fields})


def check_options(options: RankOptions | ScoreOptions, known: frozenset[str]) -> None:
    """Raise `TypeError` for an option that is not among the `known`."""
    if unknown := options.keys() - known:
        raise TypeError(f"unknown options {sorted(unknown)}: there are {sorted(known)}")


def split(sizes: Sequence[int], most: int, room: int) -> Iterator[tuple[int, int]]:
    """Ranges of at most `most` passages and `room` bytes, as even as the former allows.

    An empty list is one range too: the server says what is wrong with it. Raises `TooLarge` for a
    passage that is larger than `room`.

    >>> list(split([10, 10, 10, 10], most=3, room=100))
    [(0, 2), (2, 4)]
    >>> list(split([60, 30, 30], most=3, room=100))
    [(0, 2), (2, 3)]
    """
    requests = max(1, -(-len(sizes) // most))
    even = -(-len(sizes) // requests)
    first = size = 0
    for index, own in enumerate(sizes):
        if own > room:
            raise TooLarge(
                f"passage {index} has {own} bytes as JSON, and the server takes {room} in a "
                "request: shorten it",
                param=f"passages.{index}",
            )
        if index - first == even or size + own > room:
            yield first, index
            first, size = index, 0
        size += own
    yield first, len(sizes)


def _json(text: str, param: str) -> bytes:
    try:
        return msgspec.json.encode(text)
    except UnicodeEncodeError:
        raise InvalidRequest(
            f"{param}: holds half a character (a lone surrogate): cut the text between characters",
            param=param,
        ) from None
