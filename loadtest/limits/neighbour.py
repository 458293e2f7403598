"""The large neighbour: how long small requests take while one of 1,000 passages is being served.

Large requests come one after another, without a pause, and the small ones at a low even rate, so
that they do not wait for each other. Quiet and loud stretches take turns.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle

from retort.loadtest.extract import read_ranking_requests
from retort.loadtest.figures import Latency, Spread, percentile, ratios
from retort.loadtest.limits.found import Finding, Row
from retort.loadtest.limits.ground import ROUTE, Ground, request_body
from retort.loadtest.limits.mixed import mixed_requests, varied_requests
from retort.loadtest.server import HOST

SMALL = 10
LARGE_BODIES = 8
WANTED_RATIO = 3.0
TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Latencies of the small requests by round, and seconds of the large ones, all in seconds."""

    passages: int
    rate: float
    quiet: tuple[tuple[float, ...], ...]
    loud: tuple[tuple[float, ...], ...]
    large: tuple[float, ...]
    failed: int

    @property
    def ratio(self) -> float:
        """p99 beside large requests over p99 in quiet, all rounds together."""
        return self._all(self.loud).p99_ms / self._all(self.quiet).p99_ms

    @property
    def over_rounds(self) -> Spread:
        """The same ratio round by round."""
        return ratios(*([percentile(r, 99) for r in side] for side in (self.loud, self.quiet)))

    def finding(self) -> Finding:
        """The ratio beside what was wanted; both p99 in the notes."""
        quiet, loud, spread = self._all(self.quiet), self._all(self.loud), self.over_rounds
        mean = sum(self.large) / len(self.large)
        row = Row(
            f"p99 of {SMALL} passages while {self.passages:,} are being served, over idle p99",
            f"{self.ratio:.2f} times ({loud.p99_ms:.0f} ms over {quiet.p99_ms:.0f} ms)",
            f"at most {WANTED_RATIO:g} times",
            self.ratio <= WANTED_RATIO and not self.failed,
        )
        note = (
            f"Small beside large: {self.rate:g} requests of {SMALL} passages a second; p50 "
            f"{loud.p50_ms:.0f} ms beside large requests and {quiet.p50_ms:.0f} ms in quiet, "
            f"{loud.count} and {quiet.count} requests, ratio of p99 over {spread.rounds} rounds "
            f"{spread.low:.2f} to {spread.high:.2f}; {len(self.large)} large requests of "
            f"{mean:.2f} s; failed: {self.failed}."
        )
        return Finding("neighbour", (row,), (note,))

    def _all(self, rounds: Sequence[Sequence[float]]) -> Latency:
        return Latency.of([latency for found in rounds for latency in found])


@dataclass(slots=True)
class LargeRequests:
    """A client that asks for large requests one after another until it is told to stop."""

    port: int
    bodies: Sequence[bytes]
    seconds: list[float] = field(default_factory=list)
    failed: int = 0
    _under_way: threading.Event = field(default_factory=threading.Event)
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Inside this block a large request is always on its way."""
        self._under_way.clear()
        self._over.clear()
        thread = threading.Thread(target=self._ask)
        thread.start()
        try:
            self._under_way.wait(TIMEOUT_S)
            yield
        finally:
            self._over.set()
            thread.join()

    def _ask(self) -> None:
        headers = {"Content-Type": "application/json"}
        for body in cycle(self.bodies):
            if self._over.is_set():
                return
            connection = http.client.HTTPConnection(HOST, self.port, timeout=TIMEOUT_S)
            begin = time.perf_counter()
            try:
                connection.request("POST", ROUTE, body, headers)
                self._under_way.set()
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    raise OSError(f"answered with {answer.status}")
                self.seconds.append(time.perf_counter() - begin)
            except (OSError, http.client.HTTPException):
                self.failed += 1
                # A server that refuses must not be asked in a tight loop.
                self._over.wait(0.05)
            finally:
                connection.close()


def measure_neighbour(ground: Ground) -> Neighbour:
    """Quiet and loud stretches in turn, every other round backwards.

    Raises `RuntimeError` if no small or no large request was answered.
    """
    options = ground.options
    small = read_ranking_requests(options.pairs, passages=SMALL)
    large = varied_requests(
        mixed_requests(options.pairs),
        requests=LARGE_BODIES,
        passages=options.large,
        seed=options.seed,
    )
    # The server's own limit is 10 s, and a slow machine may need longer for a large request.
    limit = ground.server.get_json("/info")["limits"]["max_timeout_ms"]
    asking = LargeRequests(
        ground.server.port, [request_body(request, timeout_ms=limit) for request in large]
    )
    quiet: list[tuple[float, ...]] = []
    loud: list[tuple[float, ...]] = []
    failed = 0

    def stretch(into: list[tuple[float, ...]]) -> None:
        nonlocal failed
        taken = ground.step(small, "open", rate=options.rate, even=True)
        if not taken.latencies:
            raise RuntimeError(f"no small request was answered with 200: {taken.statuses}")
        failed += len(taken.due) - len(taken.latencies)
        into.append(tuple(taken.latencies))

    def beside() -> None:
        with asking.asked():
            stretch(loud)

    for number in range(options.rounds):
        ground.progress(f"small requests beside large ones: round {number + 1} of {options.rounds}")
        turns = [lambda: stretch(quiet), beside]
        for turn in reversed(turns) if number % 2 else turns:
            turn()
    if not asking.seconds:
        raise RuntimeError(
            f"no request of {options.large} passages was answered with 200 within {limit} ms: "
            "give a smaller one with --large"
        )
    return Neighbour(
        options.large,
        options.rate,
        tuple(quiet),
        tuple(loud),
        tuple(asking.seconds),
        failed + asking.failed,
    )
