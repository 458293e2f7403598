from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest

from retort.models.arrays import LogitArray
from retort.models.encoding import Batch
from retort.models.scores import combine
from retort.service.engine.job import Job
from retort.service.engine.queue import Span
from retort.service.engine.scheduler import Policy, length_steps
from retort.service.engine.scorer import Scorer, _halves
from retort.service.errors import ClientGone, DeadlinePassed, InferenceFailed, NotReady, Overloaded
from retort.service.metrics import Metrics
from tests.fake_bundle import TRUNCATION, FakeBackend, make_encoder, overlap
from tests.tiny_texts import PASSAGES, QUERIES

Infer = Callable[[Batch], LogitArray]
LENGTHS = length_steps(TRUNCATION.max_length, 16)
ENCODER = make_encoder()


@asynccontextmanager
async def running(
    infer: Infer = overlap, *, batch_tokens: int = 256, limit_tokens: int = 100_000, slots: int = 1
) -> AsyncIterator[Scorer]:
    scorer = Scorer(
        ENCODER,
        FakeBackend(infer),
        Policy(LENGTHS, batch_tokens, overhead_tokens=16),
        Metrics(),
        limit_tokens=limit_tokens,
        slots=slots,
    )
    try:
        yield scorer
    finally:
        await scorer.close()


class Held:
    """A backend's function that waits until it is let go, and keeps the shapes it was given."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.entered = threading.Event()
        self.shapes: list[tuple[int, int]] = []

    def __call__(self, batch: Batch) -> LogitArray:
        self.entered.set()
        assert self.let_go.wait(60)
        self.shapes.append(batch.shape)
        return overlap(batch)

    async def wait_until_entered(self) -> None:
        assert await asyncio.to_thread(self.entered.wait, 60)


def expected(query: str, passages: list[str]) -> list[float]:
    logits = [overlap(ENCODER.collate(ENCODER.encode(query, [text]))) for text in passages]
    return [float(combine(row).score[0]) for row in logits]


def test_scores_are_those_of_each_pair_alone() -> None:
    async def main() -> None:
        async with running() as scorer:
            passages = [*PASSAGES, "", "word " * 500]
            outcome = await scorer.score(QUERIES[0], passages, 60)
            assert outcome.score.tolist() == expected(QUERIES[0], passages)
            assert outcome.truncated == 1
            assert outcome.errors == {}
            assert outcome.tokens == sum(map(len, ENCODER.encode(QUERIES[0], passages)))

    asyncio.run(main())


@pytest.mark.parametrize("slots", [1, 3])
def test_many_requests_at_once_keep_their_own_scores(slots: int) -> None:
    async def main() -> None:
        async with running(slots=slots) as scorer:
            requests = [
                (QUERIES[n % 4], [PASSAGES[(n + k) % 4] + " old" * (n * k % 40) for k in range(9)])
                for n in range(60)
            ]
            outcomes = await asyncio.gather(*(scorer.score(q, p, 60) for q, p in requests))
            for (query, passages), outcome in zip(requests, outcomes, strict=True):
                assert outcome.score.tolist() == expected(query, passages)
            assert scorer.queue_tokens == 0

    asyncio.run(main())


def test_a_request_of_thousands_is_split_over_batches() -> None:
    shapes: list[tuple[int, int]] = []

    def infer(batch: Batch) -> LogitArray:
        shapes.append(batch.shape)
        return overlap(batch)

    async def main() -> None:
        async with running(infer) as scorer:
            passages = [f"{PASSAGES[n % 4]} {n}" for n in range(1000)]
            outcome = await scorer.score(QUERIES[1], passages, 60)
            assert outcome.score.tolist() == expected(QUERIES[1], passages)

    asyncio.run(main())
    assert sum(rows for rows, _ in shapes) == 1000
    assert all(rows * columns <= 256 and columns in LENGTHS for rows, columns in shapes)


def test_what_arrives_while_the_backend_works_shares_the_next_batch() -> None:
    held = Held()

    async def main() -> None:
        async with running(held) as scorer:
            first = asyncio.create_task(scorer.score(QUERIES[0], [PASSAGES[1]], 60))
            await held.wait_until_entered()
            rest = [asyncio.create_task(scorer.score(q, [PASSAGES[1]], 60)) for q in QUERIES[1:]]
            while scorer.queue_tokens < 40:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            held.let_go.set()
            await asyncio.gather(first, *rest)

    asyncio.run(main())
    assert held.shapes[0][0] == 1
    assert sum(rows for rows, _ in held.shapes) == 4
    assert len(held.shapes) <= 3


def test_what_is_in_the_background_comes_after_all_that_is_not() -> None:
    held = Held()
    ended: list[str] = []

    async def main() -> None:
        async with running(held, batch_tokens=64) as scorer:

            async def score(name: str, *, background: bool = False) -> None:
                await scorer.score(QUERIES[0], list(PASSAGES), 60, background=background)
                ended.append(name)

            first = asyncio.create_task(score("first"))
            await held.wait_until_entered()
            rest = [asyncio.create_task(score("background", background=True))]
            await asyncio.sleep(0.05)
            rest.append(asyncio.create_task(score("later")))
            await asyncio.sleep(0.05)
            held.let_go.set()
            await asyncio.gather(first, *rest)

    asyncio.run(main())
    assert ended == ["first", "later", "background"]


def test_an_estimate_counts_what_waits_and_what_stands_before() -> None:
    held = Held()

    async def main() -> None:
        async with running(held) as scorer:
            idle = scorer.estimate_seconds(QUERIES[0], PASSAGES)
            assert all(idle[1:] > idle[:-1])
            first = asyncio.create_task(scorer.score(QUERIES[1], list(PASSAGES), 60))
            await held.wait_until_entered()
            busy = scorer.estimate_seconds(QUERIES[0], PASSAGES)
            waiting = scorer.queue_tokens * scorer._queue.seconds_per_token
            assert np.allclose(busy - idle, waiting)
            assert waiting > 0
            held.let_go.set()
            await first

    asyncio.run(main())


def test_a_full_queue_says_when_to_come_back() -> None:
    held = Held()

    async def main() -> None:
        async with running(held, limit_tokens=100) as scorer:
            first = asyncio.create_task(scorer.score(QUERIES[0], list(PASSAGES), 60))
            await held.wait_until_entered()
            with pytest.raises(Overloaded, match="the limit is 100") as caught:
                await scorer.score(QUERIES[0], list(PASSAGES), 60)
            assert caught.value.retry_after is not None
            assert caught.value.retry_after >= 1
            held.let_go.set()
            await first
            assert scorer.queue_tokens == 0
            await scorer.score(QUERIES[0], list(PASSAGES), 60)

    asyncio.run(main())


def test_a_request_larger_than_the_queue_gets_in_when_there_is_room() -> None:
    async def main() -> None:
        async with running(limit_tokens=100) as scorer:
            outcome = await scorer.score(QUERIES[0], list(PASSAGES) * 20, 60)
            assert len(outcome.score) == 80

    asyncio.run(main())


def test_a_passed_deadline_is_an_error_and_costs_no_inference() -> None:
    held = Held()

    async def main() -> None:
        async with running(held) as scorer:
            first = asyncio.create_task(scorer.score(QUERIES[0], [PASSAGES[0]], 60))
            await held.wait_until_entered()
            with pytest.raises(DeadlinePassed, match="within 50 ms"):
                await scorer.score(QUERIES[1], list(PASSAGES), 0.05)
            held.let_go.set()
            await first

    asyncio.run(main())
    assert held.shapes == [(1, 32)]


def test_a_client_that_left_costs_no_inference() -> None:
    held = Held()

    async def main() -> None:
        async with running(held) as scorer:
            first = asyncio.create_task(scorer.score(QUERIES[0], [PASSAGES[0]], 60))
            await held.wait_until_entered()
            gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            left = asyncio.create_task(scorer.score(QUERIES[1], list(PASSAGES), 60, gone))
            cancelled = asyncio.create_task(scorer.score(QUERIES[2], list(PASSAGES), 60))
            await asyncio.sleep(0.05)
            gone.set_result(None)
            cancelled.cancel()
            with pytest.raises(ClientGone):
                await left
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            held.let_go.set()
            await first
            assert scorer.queue_tokens == 0

    asyncio.run(main())
    assert held.shapes == [(1, 32)]


def test_one_bad_pair_fails_alone() -> None:
    poison = ENCODER.encode_passages(["river"])[0].ids[0]

    def infer(batch: Batch) -> LogitArray:
        if (batch.input_ids == poison).any():
            raise RuntimeError("the kernel does not like rivers")
        return overlap(batch)

    async def main() -> None:
        async with running(infer) as scorer:
            passages = ["paris", "a river", "france", "the tower", "who"]
            clean = ["paris", "france"]
            outcome, other = await asyncio.gather(
                scorer.score(QUERIES[0], passages, 60), scorer.score(QUERIES[1], clean, 60)
            )
            assert list(outcome.errors) == [1]
            assert "does not like rivers" in outcome.errors[1]
            right = expected(QUERIES[0], passages)
            for index in (0, 2, 3, 4):
                assert outcome.score[index] == right[index]
            assert other.score.tolist() == expected(QUERIES[1], clean)
            assert other.errors == {}
            # The worker lives on.
            again = await scorer.score(QUERIES[0], clean, 60)
            assert again.errors == {}
            assert scorer.healthy

    asyncio.run(main())


def test_a_backend_that_is_down_fails_every_pair_and_comes_back() -> None:
    down = threading.Event()
    down.set()

    def infer(batch: Batch) -> LogitArray:
        if down.is_set():
            raise RuntimeError("out of memory")
        return overlap(batch)

    async def main() -> None:
        async with running(infer) as scorer:
            outcome = await scorer.score(QUERIES[0], list(PASSAGES), 60)
            assert sorted(outcome.errors) == [0, 1, 2, 3]
            assert not scorer.healthy
            down.clear()
            outcome = await scorer.score(QUERIES[0], list(PASSAGES), 60)
            assert outcome.errors == {}
            assert scorer.healthy

    asyncio.run(main())


def test_a_score_that_is_no_number_is_an_error() -> None:
    def infer(batch: Batch) -> LogitArray:
        logits = overlap(batch)
        logits[batch.attention_mask.sum(axis=1) > 20] = np.nan
        return logits

    async def main() -> None:
        async with running(infer) as scorer:
            outcome = await scorer.score(QUERIES[0], ["paris", "old " * 30], 60)
            assert list(outcome.errors) == [1]
            assert "finite" in outcome.errors[1]

    asyncio.run(main())


def test_a_backend_that_loses_rows_is_an_error() -> None:
    async def main() -> None:
        async with running(lambda batch: overlap(batch)[:-1]) as scorer:
            outcome = await scorer.score(QUERIES[0], ["paris"], 60)
            assert "0 rows for 1 pairs" in outcome.errors[0]

    asyncio.run(main())


def test_text_that_cannot_be_tokenized_fails_its_request_alone() -> None:
    async def main() -> None:
        async with running() as scorer:
            with pytest.raises(InferenceFailed, match="could not be tokenized"):
                await scorer.score(QUERIES[0], ["paris", "half a character: \ud800"], 60)
            outcome = await scorer.score(QUERIES[0], ["paris"], 60)
            assert outcome.errors == {}

    asyncio.run(main())


def test_closing_finishes_what_was_accepted_and_takes_no_more() -> None:
    held = Held()

    async def main() -> None:
        async with running(held) as scorer:
            accepted = [
                asyncio.create_task(scorer.score(query, list(PASSAGES), 60)) for query in QUERIES
            ]
            await held.wait_until_entered()
            closing = asyncio.create_task(scorer.close())
            await asyncio.sleep(0.05)
            with pytest.raises(NotReady):
                await scorer.score(QUERIES[0], list(PASSAGES), 60)
            held.let_go.set()
            for outcome in await asyncio.gather(*accepted):
                assert len(outcome.score) == 4
            await closing

    asyncio.run(main())


def test_an_idle_scorer_takes_no_time() -> None:
    """Nothing polls: waiting for work costs no processor time."""

    async def main() -> None:
        async with running() as scorer:
            await scorer.score(QUERIES[0], list(PASSAGES), 60)
            before = time.process_time()
            await asyncio.sleep(0.5)
            assert time.process_time() - before < 0.1

    asyncio.run(main())


def make_job(key: int) -> Job:
    loop = asyncio.new_event_loop()
    try:
        result = loop.create_future()
    finally:
        loop.close()
    return Job(key, "q", ["p"] * 9, deadline=1, due=1, held_tokens=0, result=result)


def test_halves_keep_every_pair_once() -> None:
    one, two = make_job(1), make_job(2)
    spans = [Span(one, [5, 6, 7]), Span(two, [0, 1])]
    for middle in range(6):
        left, right = _halves(spans, middle)
        told = [(span.job.key, index) for span in (*left, *right) for index in span.indices]
        assert told == [(1, 5), (1, 6), (1, 7), (2, 0), (2, 1)]
        assert sum(len(span.indices) for span in left) == middle
