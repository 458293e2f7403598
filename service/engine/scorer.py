"""The scorer: a front end's side of one engine. Texts go in, scores come out.

A request of few texts is tokenized at once, on the event loop, since a thread would cost more; a
large one in threads, chunk by chunk, while the engine scores the chunks before.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

import numpy as np

from retort.models.arrays import FloatArray
from retort.service.engine.job import Outcome, StageSeconds
from retort.service.engine.link import Link
from retort.service.engine.tokenization import CHUNK_PASSAGES, Tokenization, Tokens, estimate_tokens
from retort.service.engine.wire import Chunk, More, Open, Result
from retort.service.errors import ClientGone, DeadlinePassed, InferenceFailed, Overloaded

logger = logging.getLogger("retort")

# Texts of so many characters take about three milliseconds to tokenize.
INLINE_CHARACTERS = 8_000
# How long a refusal holds for other requests, how much smaller they may be, and how much more time
# they may have.
REFUSED_SECONDS, LIKE_SIZE, LIKE_TIME = 0.03, 0.5, 1.01
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
        if self._error is None or time.perf_counter() > self._until or client != self._client:
            return
        if tokens >= self._tokens * LIKE_SIZE and time_left <= self._time_left * LIKE_TIME:
            raise Overloaded(self._error.message, retry_after=self._error.retry_after)


class Scorer:
    """Scores queries against passages on the engine at the other end of `link`."""

    def __init__(self, tokenization: Tokenization, link: Link) -> None:
        self.link = link
        self._tokenization = tokenization
        self._refusals = Refusals()

    async def score(
        self,
        queries: Sequence[str],
        passages: Sequence[str],
        deadline: float,
        gone: asyncio.Future[None] | None = None,
        *,
        client: int = 0,
        background: bool = False,
        alone: bool = False,
    ) -> Outcome:
        """Score passages against the one query, or each against its own, by `deadline`.

        `deadline` is on `time.perf_counter`. In the background: after all foreground requests.
        When `gone` is done, the client has left, and what is not yet inferred is dropped.

        Raises `Overloaded`, `NotReady`, `DeadlinePassed`, `ClientGone`, `EngineLost`, and
        `InferenceFailed` if the text could not be tokenized.
        """
        start = time.perf_counter()
        truncation = self._tokenization.truncation
        estimated = estimate_tokens(queries, passages, truncation)
        self._refusals.check(client, estimated, deadline - start)
        heads: list[Tokens] = []
        first = await self._chunk(queries, passages, heads, 0)
        seconds = time.perf_counter() - start
        tokens, truncated = first.tokens, first.truncated
        message = Open(
            key=self.link.key(),
            client=client,
            pairs=len(passages),
            remaining_tokens=max(0, estimated - tokens) if len(first) < len(passages) else 0,
            deadline=deadline,
            background=background,
            alone=alone,
            chunk=first,
        )
        result = self.link.open(message)
        loop = asyncio.get_running_loop()
        allowed = deadline - start
        timer = loop.call_later(deadline - time.perf_counter(), _expire, result, allowed)
        if gone is not None:
            gone.add_done_callback(lambda _: _fail(result, ClientGone("the client has gone")))
        try:
            for begin in range(len(first), len(passages), CHUNK_PASSAGES):
                if result.done():
                    break
                start = time.perf_counter()
                chunk = await self._chunk(queries, passages, heads, begin)
                seconds += time.perf_counter() - start
                self.link.more(More(message.key, chunk))
                tokens += chunk.tokens
                truncated += chunk.truncated
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
        return Outcome(
            score=reply.score,
            spread=reply.spread,
            raw=reply.raw,
            errors=dict.fromkeys(reply.missing, NO_SCORE),
            tokens=tokens,
            truncated=truncated,
            seconds=StageSeconds(seconds, reply.queue_seconds, reply.infer_seconds),
        )

    def estimate_seconds(self, queries: Sequence[str], passages: Sequence[str]) -> FloatArray:
        """Estimate when each passage would be scored, in seconds from now; (passages,).

        Everything that waits goes first, and then the passages in their order.
        """
        truncation = self._tokenization.truncation
        own = [estimate_tokens(queries, [text], truncation) for text in passages]
        board = self.link.board
        return board.backlog_seconds + np.cumsum(own, dtype=np.float64) * board.token_seconds

    async def _chunk(
        self, queries: Sequence[str], passages: Sequence[str], heads: list[Tokens], start: int
    ) -> Chunk:
        """The pairs from `start` on, tokenized; one query for all is kept in `heads`.

        Raises `InferenceFailed`.
        """
        tokenization, stop = self._tokenization, start + CHUNK_PASSAGES
        part = passages[start:stop]

        def encode() -> Chunk:
            own = queries[start:stop] if len(queries) > 1 else []
            if not heads and not own:
                heads.extend(tokenization.queries(queries))
            mine = tokenization.queries(own) if own else heads
            return tokenization.chunk(mine, tokenization.passages(part))

        try:
            if tokenization.new_characters(part) <= INLINE_CHARACTERS and len(queries) == 1:
                return encode()
            return await asyncio.to_thread(encode)
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException:
            # A panic of the tokenizer is no `Exception`.
            logger.exception("tokenizing failed")
            raise InferenceFailed(
                "the text could not be tokenized; the server's log says why"
            ) from None


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
