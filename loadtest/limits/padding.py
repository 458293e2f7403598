"""The padding: which share of the tokens that the server ran was there to fill up a batch.

The server's metrics say how many tokens its batches had, padding counted. How many of them were
pairs' own is counted here, with the bundle's tokenizer, over every request that was sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from retort.loadtest.counters import Counters
from retort.loadtest.limits.found import Finding, Row
from retort.loadtest.limits.ground import Ground
from retort.loadtest.limits.mixed import mixed_requests
from retort.loadtest.step import OK, Taken
from retort.loadtest.texts import Request, encode

WANTED_BELOW = 0.08
OPEN_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class Batches:
    """The batches of one stretch of load: what they held, and how many tokens were pairs' own."""

    load: str
    counted: Counters
    own_tokens: int

    @property
    def share(self) -> float:
        """Padding's share of all tokens."""
        return 1 - self.own_tokens / self.counted.tokens

    @classmethod
    def of(
        cls, load: str, counted: Counters, taken: Taken, requests: Sequence[Request], ground: Ground
    ) -> Batches:
        """Count the tokens of all requests sent; the users send them in turn.

        Raises `RuntimeError` if one failed or the server ran others too: then the count is wrong.
        """
        failed = sum(answer.status != OK for answer in taken.answers)
        if failed:
            raise RuntimeError(
                f"{failed} of {len(taken.answers)} requests failed under the {load} load, so its "
                "tokens cannot be counted: lower --clients"
            )
        sent = [requests[turn % len(requests)] for turn in range(len(taken.answers))]
        pairs = sum(len(request.passages) for request in sent)
        if pairs != counted.pairs:
            raise RuntimeError(
                f"{pairs} pairs were sent under the {load} load and the server ran "
                f"{counted.pairs:.0f}: somebody else asks it, or it answers in mode cascade"
            )
        lengths = {id(r): sum(map(len, encode(ground.encoder, r))) for r in requests}
        return cls(load, counted, sum(lengths[id(request)] for request in sent))


@dataclass(frozen=True, slots=True)
class Padding:
    """The padding under each load, and the requests it was under."""

    batches: tuple[Batches, ...]
    described: str

    def finding(self) -> Finding:
        """A row for each load."""
        rows = tuple(
            Row(
                f"Mixed real lengths, {found.load}: padding in the batches run",
                f"{found.share:.1%} of {found.counted.tokens:,.0f} tokens",
                f"below {WANTED_BELOW:.0%}",
                found.share < WANTED_BELOW,
            )
            for found in self.batches
        )
        sizes = "; ".join(
            f"{found.load}: {found.counted.pairs / found.counted.batches:.1f} pairs a batch"
            for found in self.batches
        )
        return Finding("padding", rows, (f"Mixed real lengths: {self.described}; {sizes}.",))


def measure_padding(ground: Ground) -> Padding:
    """A closed load, then an open one at a share of the rate that the closed one reached."""
    options = ground.options
    requests = mixed_requests(options.pairs, seed=options.seed)
    lengths = [len(pair) for request in requests for pair in encode(ground.encoder, request)]
    counts = [len(request.passages) for request in requests]
    described = (
        f"{len(requests)} requests of {options.pairs.name}, {min(counts)} to {max(counts)} "
        f"passages (mean {sum(counts) / len(counts):.0f}), {min(lengths)} to {max(lengths)} tokens "
        f"a pair (mean {sum(lengths) / len(lengths):.0f})"
    )

    def under(load: str, loop_rate: float | None) -> tuple[Batches, Taken]:
        ground.progress(f"padding: {load}")
        before = ground.counters()
        if loop_rate is None:
            taken = ground.step(requests, "closed", users=options.clients)
        else:
            taken = ground.step(requests, "open", rate=loop_rate)
        counted = ground.counters().since(before)
        return Batches.of(load, counted, taken, requests, ground), taken

    closed, taken = under(f"{options.clients} clients", None)
    rate = OPEN_SHARE * taken.pairs_per_second / (sum(counts) / len(counts))
    opened, _ = under(f"open loop at {OPEN_SHARE:.0%} of that rate", rate)
    return Padding((closed, opened), described)
