"""The parts of a stress run that look at answers and metrics: their numbers, and a real server."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from retort.loadtest.experiments.stress_parts import (
    breakdown,
    neighbour,
    neighbour_part,
    overload,
    overload_part,
    padding,
    padding_row,
    time_shares,
)
from retort.loadtest.load import Answer, Outcome, Step, run_step
from retort.loadtest.rounds import Spread
from retort.loadtest.servers import Counters
from retort.loadtest.traffic import encode, mixed
from tests.loadtest.experiments.subject import made_up_subject, sleepy_subject
from tests.loadtest.stalling import serve

GOOD = Answer(due=0.5, sent=0.5, done=0.9, status=200, pairs=10)
REFUSED = Answer(due=0.5, sent=0.5, done=0.5, status=429, pairs=10, retry_after=True)


def opened(*answers: Answer) -> Outcome:
    """An open step of a second."""
    return Outcome("open", 1.0, answers, 0.1)


def took(*seconds: float, status: int = 200) -> Outcome:
    """A step whose answers took so long."""
    return opened(*(Answer(0.0, 0.0, each, status, 10) for each in seconds))


def test_padding_is_all_that_is_not_a_pairs_own_token(tmp_path: Path) -> None:
    with made_up_subject(tmp_path) as subject:
        encoder = subject.encoder
        requests = mixed(encoder, subject.options.pairs).requests
        sizes = [len(request.passages) for request in requests]
        own = sum(len(pair) for request in requests for pair in encode(encoder, request))
        # All of them once, and the first one again.
        own += sum(map(len, encode(encoder, requests[0])))
        sent = [*sizes, sizes[0]]
        answers = opened(*(Answer(0, 0, 0.1, 200, size) for size in sent))
        counted = Counters(3, sum(sent), own / 0.9, {})
        row = padding_row("any", counted, answers, requests, encoder)
        label, share, tokens, per_batch = row
        assert share == pytest.approx(0.1)
        assert (label, tokens, per_batch) == ("any", round(own / 0.9), sum(sent) / 3)

        more = replace(counted, pairs=sum(sent) + 1)
        with pytest.raises(RuntimeError, match="someone else uses it"):
            padding_row("any", more, answers, requests, encoder)
        with pytest.raises(RuntimeError, match=r"1 of 1 requests failed"):
            padding_row("any", counted, took(0.1, status=504), requests, encoder)


def test_the_neighbours_ratio_is_of_all_rounds_and_its_range_of_each() -> None:
    alone, crowded = [took(*[0.01] * 5), took(*[0.02] * 5)], [took(*[0.02] * 5), took(*[0.05] * 5)]
    part = neighbour_part(1000, 5.0, alone, crowded, [took(2.0), took(3.0, 3.0)])
    table = part.table
    assert table.cell("alone", "p99, ms") == pytest.approx(20)
    assert table.cell("next to large requests", "p99, ms") == pytest.approx(50)
    ratio = table.cell("next to large requests", "over the p99 alone")
    assert isinstance(ratio, Spread)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((2.5, 2.0, 2.5))
    assert "3 requests of 1,000 passages took 2.67 s on average" in part.note


def test_only_what_came_within_the_deadline_counts() -> None:
    late, after = replace(GOOD, due=0.1), replace(GOOD, due=0.9, done=1.1)
    part = overload_part(500, [20.0], [opened(GOOD, GOOD, late, after, REFUSED)])
    table = part.table
    share = table.rows[0][1]
    assert isinstance(share, Spread)
    assert share.value == pytest.approx(1.0)
    assert table.rows[1][1:] == (1.0, "1 requests")
    assert "1 answers came more than 50 ms after the deadline" in part.note


def test_requests_without_scores_are_counted_by_status() -> None:
    others = (
        REFUSED,
        replace(REFUSED, retry_after=False),
        replace(REFUSED, status=504),
        replace(REFUSED, status=0),
    )
    part = overload_part(500, [10.0], [opened(GOOD, *others)])
    assert part.table.rows[1][1:] == (0.25, "4 requests")
    for words in ("429: 1", "429 without Retry-After: 1", "504: 1", "no answer: 1"):
        assert words in part.note


def test_the_rate_is_twice_the_capacity_in_turn_with_it(tmp_path: Path) -> None:
    steps: list[Step] = []

    def run(step: Step) -> Outcome:
        steps.append(step)
        if step.loop == "closed":
            return Outcome("closed", 1.0, (Answer(0.0, 0.0, 0.5, 200, 30),), 0.1)
        return opened(GOOD)

    with made_up_subject(tmp_path) as subject:
        options = replace(subject.options, rounds=2)
        table = overload(replace(subject, options=options, run=run)).table
    assert [step.loop for step in steps] == ["closed", "open", "closed", "open"]
    # 30 pairs/s are three requests of ten.
    assert [step.rate for step in steps if step.loop == "open"] == [6.0, 6.0]
    assert all('"timeout_ms": 300' in body for body in steps[1].bodies)
    assert isinstance(table.rows[0][1], Spread)
    assert table.rows[0][1].rounds == 2


def test_a_refusal_says_whether_it_had_retry_after() -> None:
    bodies, pairs = ('{"query": "good", "passages": ["a"]}',), (1,)

    def refusals(retry_after: int | None) -> set[bool]:
        with serve(status=lambda query: 429, retry_after=retry_after) as host:
            outcome = run_step(Step(host, bodies, pairs, seconds=0.3, warmup_s=0.1, users=1))
        assert set(outcome.statuses) == {429}
        return {answer.retry_after for answer in outcome.answers}

    assert refusals(None) == {False}
    assert refusals(1) == {True}


def test_the_shares_of_a_requests_time_add_up_to_what_the_client_sees() -> None:
    stages = {"tokenize": 0.01, "queue": 0.02, "infer": 0.1, "total": 0.14}
    counted = Counters(1, 10, 100, {name: (10, seconds) for name, seconds in stages.items()})
    shares = time_shares(counted, took(0.01, 0.03))
    assert shares == pytest.approx(
        {
            "tokenizing": 0.001,
            "waiting for the first batch": 0.002,
            "from the first batch to the last score": 0.01,
            "parsing, waking up, answering": 0.001,
            "HTTP and the client": 0.006,
        }
    )
    assert sum(shares.values()) == pytest.approx(0.02)


@pytest.mark.slow
def test_a_real_server_goes_through_every_part(tmp_path: Path) -> None:
    with sleepy_subject(tmp_path) as subject:
        pads, small, over, times = (
            part(subject).table for part in (padding, neighbour, overload, breakdown)
        )
    for row in pads.rows:
        # Lengths are rounded up: some padding there always is, and never most of it.
        assert isinstance(row[1], float)
        assert 0 < row[1] < 0.6
    assert [row[-1] for row in small.rows] == [0, 0]
    assert small.cell("alone", "requests") == pytest.approx(5, abs=2)
    share, others = over.rows[0][1], over.rows[1][2]
    assert isinstance(share, Spread)
    assert 0 <= share.value < 1.5
    # Twice as much as it can do: a good part must go without scores.
    assert int(str(others).split()[0].replace(",", "")) > 0
    assert times.cell("tokenizing", "share of 8 clients") is not None
    assert len(times.rows) == 6
