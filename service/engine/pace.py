"""Pace: how long passes take on this machine, now.

The warm-up measures one pass alone: a fixed cost, and a cost per token with padding. In operation
only one number moves, `slowdown`: how much longer passes took than that. It is a ratio of sums of
seconds, so a pass weighs as much as it took. Tiny passes, of which nearly all is fixed cost, can
therefore not make large ones look slow. (A plain mean of seconds per token did: after 300 requests
of one short pair, five of thirty large requests were accepted where sixteen had room.)
"""

from __future__ import annotations

# The busy time after which a pass counts for half as much.
HALF_LIFE_SECONDS = 2.0
# What the warm-up counts for, so that the first passes do not decide alone.
PRIOR_SECONDS = 0.25


class Pace:
    """Estimates seconds from padded tokens.

    `overhead_seconds` and `token_seconds` are of one pass alone. A full pass has `batch_tokens`,
    and `streams` of them are computed at once. Not thread-safe: the queue's lock guards it.
    """

    def __init__(
        self,
        overhead_seconds: float,
        token_seconds: float,
        *,
        batch_tokens: int,
        streams: int = 1,
    ) -> None:
        self._overhead = overhead_seconds
        self._token = token_seconds
        self._batch_tokens = batch_tokens
        self._streams = streams
        self._expected = self._taken = PRIOR_SECONDS

    @property
    def slowdown(self) -> float:
        """How many times longer passes take than the warm-up's did."""
        return self._taken / self._expected

    @property
    def token_seconds(self) -> float:
        """Seconds until one more waiting token is scored, in full batches on every stream."""
        full = self._overhead + self._token * self._batch_tokens
        return self.slowdown * full / self._batch_tokens / self._streams

    def expected(self, tokens: int) -> float:
        """Seconds that a pass of `tokens`, padding included, takes.

        >>> Pace(0.001, 1e-5, batch_tokens=1000).expected(1000)
        0.011
        """
        return self.slowdown * (self._overhead + self._token * tokens)

    def backlog(self, tokens: int) -> float:
        """Seconds until `tokens` that wait are scored: full batches, shared over the streams."""
        passes = -(-tokens // self._batch_tokens)
        seconds = passes * self._overhead + tokens * self._token
        return self.slowdown * seconds / min(self._streams, max(1, passes))

    def observed(self, tokens: int, seconds: float) -> None:
        """Learn from a pass of `tokens`, padding included."""
        expected = self._overhead + self._token * tokens
        kept = 0.5 ** (seconds / HALF_LIFE_SECONDS)
        self._expected = self._expected * kept + expected
        self._taken = self._taken * kept + seconds
