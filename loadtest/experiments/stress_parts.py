"""The parts of `retort stress` that put load on a server and look at its answers and metrics.

A part gets its server as a `Subject` and returns a `Part`; `stress.py` says which parts there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from scipy import stats

from retort.loadtest.load import OK, Answer, Loop, Outcome, Step, require_answers, run_step
from retort.loadtest.options import StressOptions
from retort.loadtest.peers.processes import Tree, sampling
from retort.loadtest.result import Cell, Column, Plot, Table
from retort.loadtest.rounds import Latency, Log, Spread, in_turn, percentile, ratios
from retort.loadtest.servers import Counters, Server
from retort.loadtest.traffic import Request, encode, mixed, real, varied
from retort.models.bundle import Bundle
from retort.models.encoding import PairEncoder
from retort.plots import Axis, Line, Panel

PASSAGES = 10
OPEN_SHARE = 0.7
LARGE_BODIES = 8
LARGE_TIMEOUT_S = 120.0
TIMES_CAPACITY = 2.0
OVERLOADED = 429
# What the server's deadline leaves out: the way there and back, on cores that are all busy.
TRANSPORT_MS = 50
PADDING_COLUMNS = (
    Column("load"), Column("padding", "share"), Column("of tokens", "count"),
    Column("pairs per batch", "ratio"),
)  # fmt: skip
NEIGHBOUR_COLUMNS = (
    Column(f"{PASSAGES} passages"), Column("p50, ms", "ms"), Column("p99, ms", "ms"),
    Column("over the p99 alone", "ratio"), Column("requests", "count"), Column("failed", "count"),
)  # fmt: skip
OVERLOAD_COLUMNS = (Column("at twice the capacity"), Column("share", "share"), Column("of"))
STAGES = {
    "tokenize": "tokenizing",
    "queue": "waiting for the first batch",
    "infer": "from the first batch to the last score",
}
# Of the part `memory`: stretches of a line, seconds between samples and of a load, points drawn.
STRETCHES = 10
SAMPLE_S, LOAD_S = 1.0, 30.0
REQUESTS = 2000
MEGA = 1e6
DRAWN = 200
MEMORY_COLUMNS = (
    Column("memory"), Column("held, MB", "MB"), Column("growth, MB", "MB"),
    Column("growth over what was held", "share"), Column("MB per 100,000 pairs", "MB"),
    Column("pairs", "count"), Column("failed", "count"),
)  # fmt: skip

# Resident bytes of the server when it had scored this many pairs.
Sample = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Subject:
    """The server that is stressed, what it serves, and how load is put on it."""

    server: Server
    bundle: Bundle
    encoder: PairEncoder
    options: StressOptions
    log: Log
    run: Callable[[Step], Outcome] = run_step

    def load(self, requests: Sequence[Request], loop: Loop, **options: Any) -> Outcome:
        """Run one step, of the options' seconds unless `options` says otherwise."""
        options = {"seconds": self.options.seconds, "loop": loop, **options}
        return self.run(self.server.step(requests, **options))


@dataclass(frozen=True, slots=True)
class Part:
    """What a part measured."""

    table: Table
    note: str
    plots: tuple[Plot, ...] = ()


def padding(subject: Subject) -> Part:
    """Which share of the computed tokens is padding: a closed load, then an open one at 70% of it.

    The server's metrics say how many tokens its batches had, padding included. How many of them
    belonged to pairs is counted here, with the bundle's tokenizer, over every request sent.
    """
    clients = subject.options.clients
    traffic = mixed(subject.encoder, subject.options.pairs)
    rows: list[tuple[Cell, ...]] = []

    def stretch(load: str, loop: Loop, **options: Any) -> Outcome:
        subject.log(f"padding: {load}")
        before = subject.server.counters()
        outcome = subject.load(traffic.requests, loop, **options)
        counted = subject.server.counters().since(before)
        rows.append(padding_row(load, counted, outcome, traffic.requests, subject.encoder))
        return outcome

    closed = stretch(f"{clients} clients", "closed", users=clients)
    rate = OPEN_SHARE * closed.pairs_per_second / traffic.pairs
    stretch(f"open loop at {OPEN_SHARE:.0%} of that rate", "open", rate=rate)
    return Part(Table("padding", PADDING_COLUMNS, tuple(rows)), f"{traffic.description}.")


def padding_row(
    load: str,
    counted: Counters,
    outcome: Outcome,
    requests: Sequence[Request],
    encoder: PairEncoder,
) -> tuple[Cell, ...]:
    """Padding's share of the tokens of one stretch of load, whose users send the requests in turn.

    Raises `RuntimeError` if one failed or the server ran others too: then the count is wrong.
    """
    failed = sum(answer.status != OK for answer in outcome.answers)
    if failed:
        raise RuntimeError(
            f"{failed} of {len(outcome.answers)} requests failed under the load of {load}, so its "
            "tokens cannot be counted: lower --clients"
        )
    sent = Counter(turn % len(requests) for turn in range(len(outcome.answers)))
    pairs = sum(times * len(requests[number].passages) for number, times in sent.items())
    if pairs != counted.pairs:
        raise RuntimeError(
            f"{pairs} pairs were sent under the load of {load} and the server ran "
            f"{counted.pairs:.0f}: someone else uses it, or it answers in mode cascade"
        )
    own = sum(n * sum(map(len, encode(encoder, requests[number]))) for number, n in sent.items())
    share = 1 - own / counted.tokens
    return load, share, round(counted.tokens), counted.pairs / counted.batches


def neighbour(subject: Subject) -> Part:
    """How long small requests take, alone and while a large one is always being served, in turn.

    The small ones come at a low even rate, so that they do not wait for each other. Raises
    `RuntimeError` if no small or no large request was answered.
    """
    options, encoder = subject.options, subject.encoder
    small = real(encoder, options.pairs, passages=PASSAGES).requests
    mixture = mixed(encoder, options.pairs).requests
    large = tuple(varied(mixture, requests=LARGE_BODIES, passages=options.large))
    # The server's usual limit is 10 s, and a slow machine may need longer for a large request.
    limit = subject.server.get_json("/info")["limits"]["max_timeout_ms"]
    alone: list[Outcome] = []
    crowded: list[Outcome] = []
    neighbours: list[Outcome] = []

    def quiet() -> Outcome:
        outcome = subject.load(small, "open", rate=options.rate, arrivals="even")
        return require_answers("the server, for small requests,", outcome)

    def loud() -> Outcome:
        with ThreadPoolExecutor(1) as pool:
            # Its load begins at once and its counted time, as long as that of the small requests,
            # with its first answer: so it lasts from before they count until after they do.
            large_load = pool.submit(
                subject.load, large, "closed", users=1, timeout_s=LARGE_TIMEOUT_S,
                fields={"timeout_ms": limit},
            )  # fmt: skip
            outcome = quiet()
            neighbours.append(large_load.result())
        return outcome

    for number, (into, turn) in in_turn([(alone, quiet), (crowded, loud)], options.rounds):
        subject.log(f"small requests next to large ones: round {number + 1} of {options.rounds}")
        into.append(turn())
    if not any(outcome.latencies for outcome in neighbours):
        raise RuntimeError(
            f"no request of {options.large} passages was answered with 200 within {limit} ms: "
            "give a smaller one with --large"
        )
    return neighbour_part(options.large, options.rate, alone, crowded, neighbours)


def neighbour_part(
    passages: int,
    rate: float,
    alone: Sequence[Outcome],
    crowded: Sequence[Outcome],
    neighbours: Sequence[Outcome],
) -> Part:
    """The p99 next to large requests over that alone, of all rounds together and of each."""
    quiet, loud = (
        Latency.of([latency for outcome in side for latency in outcome.latencies])
        for side in (alone, crowded)
    )
    rounds = ratios(
        *([percentile(outcome.latencies, 99) for outcome in side] for side in (crowded, alone))
    )
    ratio = Spread(loud.p99_ms / quiet.p99_ms, rounds.low, rounds.high, rounds.rounds)
    failed = [sum(outcome.failed for outcome in side) for side in (alone, crowded)]
    rows: tuple[tuple[Cell, ...], ...] = (
        ("alone", quiet.p50_ms, quiet.p99_ms, None, quiet.count, failed[0]),
        ("next to large requests", loud.p50_ms, loud.p99_ms, ratio, loud.count, failed[1]),
    )
    took = [latency for outcome in neighbours for latency in outcome.latencies]
    note = (
        f"{rate:g} requests of {PASSAGES} passages per second; "
        f"{len(took)} requests of {passages:,} passages took {sum(took) / len(took):.2f} s on "
        f"average, {sum(outcome.failed for outcome in neighbours)} failed."
    )
    return Part(Table("neighbour", NEIGHBOUR_COLUMNS, rows), note)


def overload(subject: Subject) -> Part:
    """What is answered in time at twice the capacity, which a closed load in turn with it measures.

    A good server spends its time on the requests that it can finish within their deadline and tells
    the others at once to come back later. Raises `RuntimeError` if a closed step got no answer.
    """
    options = subject.options
    requests = real(subject.encoder, options.pairs, passages=PASSAGES).requests
    capacity: list[float] = []
    opened: list[Outcome] = []
    for number in range(options.rounds):
        subject.log(f"overload: round {number + 1} of {options.rounds}")
        closed = subject.load(requests, "closed", users=options.clients)
        capacity.append(require_answers("the server", closed).pairs_per_second)
        rate = TIMES_CAPACITY * capacity[-1] / PASSAGES
        fields = {"timeout_ms": options.timeout_ms}
        opened.append(subject.load(requests, "open", rate=rate, fields=fields))
    return overload_part(options.timeout_ms, capacity, opened)


def overload_part(timeout_ms: int, capacity: Sequence[float], opened: Sequence[Outcome]) -> Part:
    """Pairs answered within the deadline over capacity, round by round, and what the others got."""

    def late(answer: Answer) -> bool:
        limit = (timeout_ms + TRANSPORT_MS) / 1e3
        return answer.status == OK and answer.done - answer.due > limit

    def in_time(step: Outcome) -> float:
        # By when they were answered, not by when they were due: with the last request the load is
        # over, and the last ones due have the server to themselves.
        inside = [a for a in step.answers if 0 <= a.done < step.seconds]
        return sum(a.pairs for a in inside if a.status == OK and not late(a)) / step.seconds

    share = ratios([in_time(step) for step in opened], capacity)
    others = Counter(_named(a) for step in opened for a in step.due if a.status != OK)
    refused = others[f"{OVERLOADED}"] / others.total() if others else 1.0
    rows: tuple[tuple[Cell, ...], ...] = (
        (f"answered within {timeout_ms} ms", share, "the capacity in pairs/s"),
        ("the rest: 429 with `Retry-After`", refused, f"{others.total():,} requests"),
    )
    scored = [latency for step in opened for latency in step.latencies]
    took = Latency.of(scored) if scored else None
    rate = Spread.over(capacity)
    notes = [
        f"The capacity, {rate.value:,.0f} pairs/s [{rate.low:,.0f}, {rate.high:,.0f}], is that of "
        f"{rate.rounds} closed loads in turn with the open ones; {PASSAGES} passages per request",
        f"p50 {took.p50_ms:.0f} ms, p99 {took.p99_ms:.0f} ms of what was scored" if took else "",
        f"{sum(late(a) for step in opened for a in step.due)} answers came more than "
        f"{TRANSPORT_MS} ms after the deadline and are not counted",
        f"not scored: {', '.join(f'{k}: {n}' for k, n in others.most_common()) or 'none'}",
    ]
    return Part(Table("overload", OVERLOAD_COLUMNS, rows), f"{'; '.join(filter(None, notes))}.")


def breakdown(subject: Subject) -> Part:
    """Where a request's time goes, by the server's own stages, for one client and for many.

    The handler's remainder is parsing, waking up and writing the answer; the client's is HTTP.
    """
    requests = real(subject.encoder, subject.options.pairs, passages=PASSAGES).requests
    columns = [Column("a request's time goes into")]
    loads: list[dict[str, float]] = []
    for clients in (1, subject.options.clients):
        load = f"{clients} client{'s' * (clients > 1)}"
        subject.log(f"where the time goes: {load}")
        before = subject.server.counters()
        outcome = require_answers("the server", subject.load(requests, "closed", users=clients))
        loads.append(time_shares(subject.server.counters().since(before), outcome))
        columns += [Column(f"{load}, ms", "ms"), Column(f"share of {load}", "share")]
    totals = [sum(parts.values()) for parts in loads]
    rows: list[tuple[Cell, ...]] = []
    for name in loads[0]:
        cells = [
            (parts[name] * 1e3, parts[name] / total)
            for parts, total in zip(loads, totals, strict=True)
        ]
        rows.append((name, *chain.from_iterable(cells)))
    whole = chain.from_iterable((total * 1e3, None) for total in totals)
    rows.append(("all of it, as the client sees it", *whole))
    note = f"{PASSAGES} real passages per request; means over requests."
    return Part(Table("breakdown", tuple(columns), tuple(rows)), note)


def time_shares(counted: Counters, outcome: Outcome) -> dict[str, float]:
    """Mean seconds of a request by what they went into; they add up to what the client waited."""
    took = [a.done - a.sent for a in outcome.answers if a.status == OK]
    seen = sum(took) / len(took)
    stages = {text: counted.mean_seconds(name) for name, text in STAGES.items()}
    total = counted.mean_seconds("total")
    return {
        **stages,
        "parsing, waking up, answering": max(0.0, total - sum(stages.values())),
        "HTTP and the client": max(0.0, seen - total),
    }


def memory(subject: Subject) -> Part:
    """Whether the memory grows: load the server until it has scored the pairs, none of them twice.

    It may grow at first: caches fill, and a backend keeps code for every shape that it meets. After
    that warm-up it should not.

    Raises `RuntimeError` if it answers nothing.
    """
    options = subject.options
    texts = mixed(subject.encoder, options.pairs).requests
    processes = Tree(subject.server.pid)
    begin = subject.server.counters().pairs
    samples: list[Sample] = []

    def sample() -> None:
        held = float(processes.memory_bytes())
        samples.append((subject.server.counters().pairs - begin, held))

    last = options.warmup_pairs + options.memory_pairs
    failed = stretch = 0
    with sampling(min(SAMPLE_S, options.seconds / STRETCHES), sample):
        while (
            samples[-1][0] < last
            # A fast server is done with few pairs before there are enough points for a line.
            or sum(pairs >= options.warmup_pairs for pairs, _ in samples) < STRETCHES
        ):
            subject.log(f"memory: {samples[-1][0]:,.0f} of {last:,} pairs")
            # Every stretch of load has texts of its own.
            requests = tuple(varied(texts, requests=REQUESTS, seed=stretch))
            seconds = min(LOAD_S, 2 * options.seconds)
            outcome = subject.load(requests, "closed", users=options.clients, seconds=seconds)
            failed += require_answers("the server", outcome).failed
            stretch += 1
    return memory_part(samples, options.warmup_pairs, failed)


def memory_part(samples: Sequence[Sample], warmup_pairs: int, failed: int = 0) -> Part:
    """The growth after the warm-up, its slope, and the samples to draw.

    The slope is that of a straight line through the means of ten equal stretches, with its 95%
    interval by least squares: single samples depend on each other. Raises `ValueError` if too few
    samples are left.
    """
    counted = np.array([sample for sample in samples if sample[0] >= warmup_pairs])
    if len(counted) < STRETCHES:
        raise ValueError(
            f"{len(counted)} samples after {warmup_pairs:,} pairs of warm-up, a line takes at "
            f"least {STRETCHES}: give more --memory-pairs"
        )
    means = np.array([part.mean(axis=0) for part in np.array_split(counted, STRETCHES)])
    fit = stats.linregress(means[:, 0], means[:, 1])
    half = float(stats.t.ppf(0.975, STRETCHES - 2) * fit.stderr)
    scale = 1e5 / MEGA
    low, value, high = (scale * (fit.slope + side * half) for side in (-1, 0, 1))
    slope = Spread(value, low, high, STRETCHES)
    held, grown = (float(held) / MEGA for held in means[[0, -1], 1])
    growth, pairs = grown - held, round(float(counted[-1, 0] - counted[0, 0]))
    row = ("after the warm-up", held, growth, growth / held, slope, pairs, failed)
    note = (
        f"Memory of the server's processes together in {len(counted)} samples after "
        f"{warmup_pairs:,} pairs of warm-up; passages that never repeat; the interval of the slope "
        "is that of 95%."
    )
    step = -(-len(samples) // DRAWN)
    points = tuple((pairs, held / MEGA) for pairs, held in samples[::step])
    lines = (Line("memory", points),)
    panel = Panel(
        "Memory of the server's processes", Axis("pairs scored"), Axis("MB", low=0), lines
    )
    title = "Memory of the server while it scores pairs that never repeat"
    plots = (Plot("stress", title, (panel,), size=(640, 300)),)
    return Part(Table("memory", MEMORY_COLUMNS, (row,)), note, plots)


def _named(answer: Answer) -> str:
    if answer.status == OVERLOADED and not answer.retry_after:
        return f"{OVERLOADED} without Retry-After"
    return f"{answer.status}" if answer.status else "no answer"
