"""Rounds of measurement over things that take a known time."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from retort.loadtest.bench import (
    Bench,
    Plan,
    bare_rate,
    forward_at_once,
    forward_times,
    like_length_batches,
    shared_out,
)
from retort.loadtest.client import Load, Outcome
from retort.loadtest.texts import Request, made_up_requests
from retort.models.encoding import Batch, PairEncoder

PASSAGES = 4


def plan(encoder: PairEncoder, rounds: int = 2) -> Plan:
    made = made_up_requests(encoder, requests=4, passages=PASSAGES, tokens=32)
    return Plan(tuple(made), clients=8, rounds=rounds, seconds=0.02)


def bench(encoder: PairEncoder, **changes: object) -> Bench:
    def forward(batch: Batch) -> object:
        time.sleep(0.001)
        return None

    def send(load: Load) -> Outcome:
        latencies = [0.002 * load.clients] * 10
        return Outcome(load.seconds, {"200": 10, "429": 1}, latencies, list(range(4)) * 2 + [0, 1])

    values: dict[str, object] = {
        "plan": plan(encoder),
        "encoder": encoder,
        "forward": forward,
        "send": send,
        "host": "127.0.0.1",
        "port": 1,
        "batch_pairs": 8,
    }
    return Bench(**{**values, **changes})  # type: ignore[arg-type]


def test_rates_count_pairs(encoder: PairEncoder) -> None:
    first, second = bench(encoder).rounds()
    # Ten answers of four pairs in 0.02 s.
    assert first.http == second.http == pytest.approx(10 * PASSAGES / 0.02)
    # Batches of eight pairs in a little more than a millisecond each.
    assert 1_000 < first.bare < 8_000
    assert first.idle == (0.002,) * 10
    assert first.busy == (0.016,) * 10
    assert all(seconds >= 0.001 for seconds in first.forward)
    assert first.failed == 2
    assert first.reference is None


def test_every_other_round_runs_backwards(encoder: PairEncoder) -> None:
    order: list[str] = []

    def forward(batch: Batch) -> object:
        order.append(f"forward {batch.shape[0]}")
        time.sleep(0.03)
        return None

    def send(load: Load) -> Outcome:
        order.append(f"send {load.clients}")
        return Outcome(load.seconds, {"200": 1}, [0.01], [0])

    def reference(requests: Sequence[Request], seconds: float) -> float:
        order.append("reference")
        return 7.0

    rounds = list(bench(encoder, forward=forward, send=send, reference=reference).rounds())
    there = ["reference", "forward 8", "send 8", "send 1", "forward 4"]
    assert order == [*there, *reversed(there)]
    assert [found.reference for found in rounds] == [7.0, 7.0]


def test_a_load_without_one_answer_is_an_error(encoder: PairEncoder) -> None:
    def send(load: Load) -> Outcome:
        return Outcome(load.seconds, {"503": 4})

    with pytest.raises(RuntimeError, match=r"8 clients got no answer .* \{'503': 4\}"):
        list(bench(encoder, send=send).rounds())


def test_bodies_are_score_requests(encoder: PairEncoder) -> None:
    made = plan(encoder)
    bodies = [json.loads(body) for body in made.bodies()]
    assert bodies[0] == {
        "query": made.requests[0].query,
        "passages": list(made.requests[0].passages),
    }


def test_every_batch_is_run_in_turn_and_at_least_one(encoder: PairEncoder) -> None:
    batches = like_length_batches(encoder, plan(encoder).requests, 8)
    seen: list[int] = []
    assert len(forward_times(lambda batch: seen.append(id(batch)), batches, 0.0)) == 1
    forward_times(lambda batch: seen.append(id(batch)), batches, 0.01)
    assert set(seen) == {id(batch) for batch in batches}


def test_slots_run_at_once(encoder: PairEncoder) -> None:
    batches = like_length_batches(encoder, plan(encoder).requests, 8)

    def forward(batch: Batch) -> object:
        time.sleep(0.02)
        return None

    one, three = (bare_rate(forward, batches, 0.1, slots) for slots in (1, 3))
    assert one <= 8 / 0.02
    assert three > 1.5 * one


def test_batches_hold_pairs_of_like_length(encoder: PairEncoder) -> None:
    requests = [Request("able", tuple(" ".join(["about"] * n) for n in (9, 1, 8, 2, 5)))]
    batches = like_length_batches(encoder, requests, 2)
    # 1 and 2 words, then 5 and 8; the last pair fills no batch. Four tokens are not the passage's.
    assert [batch.shape for batch in batches] == [(2, 6), (2, 12)]


def test_fewer_pairs_than_a_batch_make_one_batch(encoder: PairEncoder) -> None:
    requests = [Request("able", ("about", "above"))]
    assert [b.shape[0] for b in like_length_batches(encoder, requests, 50)] == [2]


def test_a_request_is_shared_out_among_streams(encoder: PairEncoder) -> None:
    pairs = encoder.encode("paris", ["tower", "city", "france", "river", "bridge"])
    batches = shared_out(encoder, pairs, 2)
    assert [batch.shape[0] for batch in batches] == [3, 2]
    assert [batch.shape[0] for batch in shared_out(encoder, pairs, 1)] == [5]
    ran: list[int] = []
    with ThreadPoolExecutor(2) as pool:
        forward_at_once(lambda batch: ran.append(batch.shape[0]), pool, batches)
    assert sorted(ran) == [2, 3]
