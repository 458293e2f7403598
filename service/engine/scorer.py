"""The scorer: a front end's side of one engine. Texts go in, scores come out.

A request of few texts is tokenized at once, on the event loop, since a thread would cost more; a
large one in threads, chunk by chunk, while the engine scores the chunks before.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

import numpy as np

from retort.models.arrays import FloatArray
from retort.models.reading.passages import ReadPassage, gather
from retort.models.reading.windows import Reading
from retort.service.engine.job import Familiarity, Outcome, StageSeconds
from retort.service.engine.link import Link
from retort.service.engine.tokenization import Tokenization, Tokens, chunk_end, estimate_tokens
from retort.service.engine.wire import Chunk, More, Open, Result
from retort.service.errors import (
    ClientGone,
    DeadlinePassed,
    InferenceFailed,
    InvalidRequest,
    Overloaded,
    ServiceError,
    TooLarge,
)

logger = logging.getLogger("retort")

# Texts of so many characters take about three milliseconds to tokenize.
INLINE_CHARACTERS = 8_000
# How long a refusal holds for other requests, how much smaller they may be, and how much more time
# they may have.
REFUSED_SECONDS, LIKE_SIZE, LIKE_TIME = 0.03, 0.5, 1.01
# The result of a request in which there is nothing to ask the model about.
NOTHING = Result(0, np.zeros(0), np.zeros(0), (), 0.0, 0.0)
NO_SCORE = "the model gave no score for this passage; the server's log says why"


class Refusals:
    """The last refusal of an engine, so that what it would refuse too is refused before any work.

    For a moment, a request of the same client that is about as large or larger, and has hardly more
    time, gets the same answer.
    """

    def __init__(self) -> None:
        self._until = 0.0
        self._client = self._tokens = 0
        self._time_left = 0.0
        self._error: Overloaded | None = None

    def remember(self, error: Overloaded, client: int, tokens: int, time_left: float) -> None:
        """The engine has refused a request of so many tokens, with so many seconds left."""
        self._until = time.perf_counter() + REFUSED_SECONDS
        self._client, self._tokens, self._time_left = client, tokens, time_left
        self._error = error

    def check(self, client: int, tokens: int, time_left: float) -> None:
        """Raise `Overloaded` if the engine would."""
        if tokens >= self._tokens * LIKE_SIZE and time_left <= self._time_left * LIKE_TIME:
            self._raise_for(client)

    def check_any(self, client: int, most_time_left: Callable[[], float]) -> None:
        """Raise `Overloaded` if the engine would, however small the request is."""
        if (
            self._error is not None
            and self._error.hopeless
            and time.perf_counter() <= self._until
            and most_time_left() <= self._time_left * LIKE_TIME
        ):
            self._raise_for(client)

    def _raise_for(self, client: int) -> None:
        if self._error is None or time.perf_counter() > self._until or client != self._client:
            return
        raise Overloaded(self._error.message, retry_after=self._error.retry_after)


class Scorer:
    """Scores queries against passages on the engine at the other end of `link`.

    A request may be `max_pairs` pairs, windows counted.
    """

    def __init__(self, tokenization: Tokenization, link: Link, max_pairs: int) -> None:
        self.link = link
        self._tokenization = tokenization
        self._max_pairs = max_pairs
        self._refusals = Refusals()

    async def score(
        self,
        queries: Sequence[str],
        passages: Sequence[str],
        deadline: float,
        gone: asyncio.Future[None] | None = None,
        *,
        reading: Reading,
        client: int = 0,
        background: bool = False,
        alone: bool = False,
    ) -> Outcome:
        """Score passages against the one query, or each against its own, by `deadline`.

        `deadline` is on `time.perf_counter`; `reading` says how long passages are read. In the
        background: after all foreground requests. When `gone` is done, the client has left, and
        what is not yet inferred is dropped.

        Raises `Overloaded`, `NotReady`, `DeadlinePassed`, `ClientGone`, `EngineLost`, `TooLarge`
        for too many pairs, `InvalidRequest` for a query without words, and `InferenceFailed` if the
        text could not be tokenized.
        """
        start = time.perf_counter()
        allowed = deadline - start
        estimated = self._estimate(queries, passages, reading)
        self._refusals.check(client, estimated, allowed)
        text = _Reader(self._tokenization, queries, passages, reading, self._max_pairs)
        first = await text.next()
        if text.done and not len(first):
            return text.outcome(NOTHING, StageSeconds(text.seconds, 0.0, 0.0))
        message = Open(
            key=self.link.key(),
            client=client,
            most_pairs=len(first) if text.done else self._max_pairs,
            remaining_tokens=0 if text.done else max(0, estimated - first.tokens),
            deadline=deadline,
            background=background,
            alone=alone,
            chunk=first,
        )
        result = self.link.open(message)
        loop = asyncio.get_running_loop()
        timer = loop.call_later(deadline - time.perf_counter(), _expire, result, allowed)
        if gone is not None:
            gone.add_done_callback(lambda _: _fail(result, ClientGone("the client has gone")))
        try:
            while not text.done and not result.done():
                self.link.more(More(message.key, await text.next()))
            reply = await result
        except DeadlinePassed:
            # The engine may see it first.
            raise _late(allowed) from None
        except Overloaded as error:
            self._refusals.remember(error, client, estimated, allowed)
            raise
        finally:
            timer.cancel()
            self.link.leave(message.key)
        stages = StageSeconds(text.seconds, reply.queue_seconds, reply.infer_seconds)
        return text.outcome(reply, stages)

    def check_room(self, client: int, most_seconds: Callable[[], float]) -> None:
        """Raise `Overloaded` if nothing of a client's with that much time would be accepted."""
        self._refusals.check_any(client, most_seconds)

    def estimate_seconds(
        self, queries: Sequence[str], passages: Sequence[str], reading: Reading
    ) -> FloatArray:
        """Estimate when each passage would be scored, in seconds from now; (passages,).

        Everything that waits goes first, and then the passages in their order.
        """
        own = [self._estimate(queries, [text], reading) for text in passages]
        board = self.link.board
        return board.backlog_seconds + np.cumsum(own, dtype=np.float64) * board.token_seconds

    def _estimate(self, queries: Sequence[str], passages: Sequence[str], reading: Reading) -> int:
        rule = self._tokenization
        return estimate_tokens(queries, passages, rule.truncation, rule.special, reading)


class _Reader:
    """A request's texts on their way to pairs, chunk by chunk, and its scores on the way back."""

    def __init__(
        self,
        tokenization: Tokenization,
        queries: Sequence[str],
        passages: Sequence[str],
        reading: Reading,
        max_pairs: int,
    ) -> None:
        self.seconds = 0.0
        self._tokenization = tokenization
        self._queries = queries
        self._passages = passages
        self._reading = reading
        self._max_pairs = max_pairs
        self._heads: list[Tokens] = []
        self._read: list[ReadPassage | None] = []
        self._pairs = self._tokens = self._unknown = 0

    @property
    def done(self) -> bool:
        """Whether all passages are pairs."""
        return len(self._read) == len(self._passages)

    async def next(self) -> Chunk:
        """The pairs of the next passages.

        Raises `TooLarge`, `InvalidRequest`, `InferenceFailed`.
        """
        start = time.perf_counter()
        begin = len(self._read)
        end = chunk_end(self._passages, begin)
        part = self._passages[begin:end]
        own = self._queries[begin:end] if len(self._queries) > 1 else ()
        new = self._tokenization.new_characters(part)
        try:
            if new <= INLINE_CHARACTERS and not own:
                chunk = self._encode(part, own, end)
            else:
                chunk = await asyncio.to_thread(self._encode, part, own, end)
        except (ServiceError, asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException:
            # A panic of the tokenizer is no `Exception`.
            logger.exception("tokenizing failed")
            raise InferenceFailed(
                "the text could not be tokenized; the server's log says why"
            ) from None
        self.seconds += time.perf_counter() - start
        self._pairs += len(chunk)
        self._tokens += chunk.tokens
        if self._pairs > self._max_pairs:
            raise TooLarge(
                f"the passages are more than {self._max_pairs} windows: send fewer or shorter "
                "ones, or have fewer windows of each read"
            )
        return chunk

    def _encode(self, part: Sequence[str], own: Sequence[str], end: int) -> Chunk:
        tokenization = self._tokenization
        if own or not self._heads:
            texts = own or self._queries
            heads = tokenization.queries(texts)
            wordless = next((i for i, head in enumerate(heads) if not head.words.tokens), None)
            if wordless is not None:
                which = f"query {len(self._read) + wordless}" if own else "the query"
                raise InvalidRequest(f"{which} has no letter and no digit", param="query")
            self._heads += heads
            self._unknown += sum(head.words.unknown for head in heads)
        else:
            heads = self._heads
        tokens = tokenization.passages(part)
        read = tokenization.read(heads, part, tokens, self._reading)
        self._read += read
        self._unknown += sum(passage.words.unknown for passage in tokens)
        return tokenization.chunk(heads, tokens, read, last=end == len(self._passages))

    def outcome(self, reply: Result, seconds: StageSeconds) -> Outcome:
        """The passages' scores, from those of their pairs."""
        score, spread, lost, notes = gather(
            self._read, reply.score, reply.spread, reply.missing, self._reading
        )
        return Outcome(
            score=score,
            spread=spread,
            errors=dict.fromkeys(sorted(lost), NO_SCORE),
            notes=notes,
            pairs=self._pairs,
            tokens=self._tokens,
            unknown_tokens=self._unknown,
            query_cut=next((head.cut for head in self._heads if head.cut), None),
            query_words=_familiarity(self._heads),
            seconds=seconds,
        )


def _familiarity(heads: Sequence[Tokens]) -> Familiarity:
    """That of the query, or of the worst of several."""
    if not all(head.words.known for head in heads):
        return "unknown"
    return "unfamiliar" if any(head.words.unfamiliar for head in heads) else "familiar"


def _expire(result: asyncio.Future[Result], timeout_seconds: float) -> None:
    _fail(result, _late(timeout_seconds))


def _late(timeout_seconds: float) -> DeadlinePassed:
    return DeadlinePassed(
        f"not scored within {timeout_seconds * 1000:.0f} ms: "
        "send fewer passages, or allow more in timeout_ms",
        param="timeout_ms",
    )


def _fail(result: asyncio.Future[Result], error: Exception) -> None:
    if not result.done():
        result.set_exception(error)
