from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from retort.models.arrays import LogitArray
from retort.models.bundle import read_bundle
from retort.models.encoding import Batch, EncodedText, PairEncoder
from retort.models.reading.passages import Layout
from retort.models.reading.windows import Reading, WindowScore, plan
from retort.models.runtime.choose import Chosen
from retort.models.runtime.golden import GoldenReport
from retort.models.scores import combine
from retort.service.engine.engine import Engine, _halves
from retort.service.engine.job import Job, Outcome
from retort.service.engine.link import LocalLink
from retort.service.engine.load import Loaded
from retort.service.engine.pace import Pace
from retort.service.engine.pairs import Pairs
from retort.service.engine.queue import Span, Work
from retort.service.engine.scheduler import Policy, length_steps
from retort.service.engine.scorer import REFUSED_SECONDS, Scorer
from retort.service.engine.tokenization import CHUNK_PASSAGES, Tokenization
from retort.service.errors import (
    ClientGone,
    DeadlinePassed,
    InferenceFailed,
    NotReady,
    Overloaded,
    TooLarge,
)
from retort.service.metrics import Metrics
from tests.fake_bundle import TRUNCATION, FakeBackend, make_encoder, overlap
from tests.tiny_texts import PASSAGES, QUERIES, golden_texts, make_tokenizer

BUNDLE = read_bundle(Path(__file__).parents[2] / "tiny-bundle")
Infer = Callable[[Batch], LogitArray]
LENGTHS = length_steps(TRUNCATION.max_length, 16)
ENCODER = make_encoder()
READING = Reading()
MOST_PAIRS = 4_000


class Front:
    """A front end's side of an engine in this process."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.link = LocalLink(engine)
        self.scorer = Scorer(Tokenization(ENCODER), self.link, MOST_PAIRS)

    @property
    def queue_tokens(self) -> int:
        return self.engine.queue.tokens

    async def score(
        self,
        query: str | list[str],
        passages: list[str],
        seconds: float,
        gone: asyncio.Future[None] | None = None,
        *,
        background: bool = False,
        reading: Reading = READING,
    ) -> Outcome:
        queries = [query] if isinstance(query, str) else query
        deadline = time.perf_counter() + seconds
        return await self.scorer.score(
            queries, passages, deadline, gone, reading=reading, background=background
        )


@asynccontextmanager
async def running(
    infer: Infer = overlap, *, batch_tokens: int = 256, limit_tokens: int = 100_000, slots: int = 1
) -> AsyncIterator[Front]:
    backend = FakeBackend(infer)
    report = GoldenReport(0, 0.1, 0.0, 0.0, 0)
    loaded = Loaded(
        encoder=ENCODER,
        chosen=Chosen(backend, report, {}),
        policy=Policy(LENGTHS, batch_tokens, overhead_tokens=16),
        pace=Pace(1e-4, 1e-5, batch_tokens=batch_tokens, streams=slots),
        threads=1,
        slots=slots,
        streams=slots,
        usual_shapes=(),
    )
    front = Front(Engine(BUNDLE, loaded, Metrics(), limit_tokens=limit_tokens))
    try:
        yield front
    finally:
        await front.link.close(60)


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


class Failing:
    """A backend's function that raises while it is down."""

    def __init__(self) -> None:
        self.down = True

    def __call__(self, batch: Batch) -> LogitArray:
        if self.down:
            raise RuntimeError("out of memory")
        return overlap(batch)


def expected(query: str, passages: list[str]) -> list[float]:
    logits = [overlap(ENCODER.collate(ENCODER.encode(query, [text]))) for text in passages]
    return [float(combine(row).score[0]) for row in logits]


def test_scores_are_those_of_each_pair_alone() -> None:
    async def main() -> None:
        async with running() as scorer:
            passages = [*PASSAGES, "old paris"]
            outcome = await scorer.score(QUERIES[0], passages, 60)
            assert outcome.score.tolist() == expected(QUERIES[0], passages)
            assert (outcome.errors, outcome.notes) == ({}, {})
            assert (outcome.pairs, outcome.windows) == (len(passages), 0)
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


class CountingEncoder(PairEncoder):
    """Keeps every text that it encodes."""

    def __init__(self) -> None:
        super().__init__(make_tokenizer(), TRUNCATION)
        self.texts: list[str] = []

    def encode_passages(self, passages: Sequence[str]) -> list[EncodedText]:
        self.texts += passages
        return super().encode_passages(passages)

    def lay_out(self, passage: str) -> tuple[EncodedText, Layout]:
        self.texts.append(passage)
        return super().lay_out(passage)


def test_batches_go_by_tokens_and_each_text_is_tokenized_once() -> None:
    encoder = CountingEncoder()
    shapes: list[tuple[int, int]] = []
    # All have as many characters; half of the pairs have 15 tokens, the others 39.
    texts = ("hamlet france hamlet france ", "." * 28)
    passages = [f"{text}{n}" for n in range(10, 40) for text in texts]
    assert {len(text) for text in passages} == {30}

    def infer(batch: Batch) -> LogitArray:
        shapes.append(batch.shape)
        return overlap(batch)

    async def main() -> int:
        async with running(infer) as front:
            front.scorer = Scorer(Tokenization(encoder), front.link, MOST_PAIRS)
            return (await front.score(QUERIES[0], passages, 60)).tokens

    tokens = asyncio.run(main())
    assert sorted(encoder.texts) == sorted([QUERIES[0], *passages])
    padded = sum(rows * columns for rows, columns in shapes)
    assert 1 - tokens / padded < 0.2


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
            idle = scorer.scorer.estimate_seconds([QUERIES[0]], PASSAGES, READING)
            assert all(idle[1:] > idle[:-1])
            first = asyncio.create_task(scorer.score(QUERIES[1], list(PASSAGES), 60))
            await held.wait_until_entered()
            await asyncio.sleep(0.1)
            busy = scorer.scorer.estimate_seconds([QUERIES[0]], PASSAGES, READING)
            waiting = scorer.engine.queue.backlog_seconds
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
            # A refusal holds for a moment.
            await asyncio.sleep(REFUSED_SECONDS)
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
            assert "rivers" not in outcome.errors[1]
            right = expected(QUERIES[0], passages)
            for index in (0, 2, 3, 4):
                assert outcome.score[index] == right[index]
            assert other.score.tolist() == expected(QUERIES[1], clean)
            assert other.errors == {}
            # The worker lives on.
            again = await scorer.score(QUERIES[0], clean, 60)
            assert again.errors == {}
            assert scorer.engine.board.healthy

    asyncio.run(main())


def test_a_batch_that_memory_has_no_room_for_is_scored_in_parts() -> None:
    rows: list[list[int]] = []

    def infer(batch: Batch) -> LogitArray:
        if math.prod(batch.shape) > 64:
            raise RuntimeError("CUDA out of memory")
        rows.extend(ids[mask == 1].tolist() for ids, mask in zip(*batch.arrays[:2], strict=True))
        return overlap(batch)

    async def main() -> None:
        async with running(infer) as scorer:
            passages = [f"{PASSAGES[n % 4]} {n}" for n in range(50)]
            outcome = await scorer.score(QUERIES[0], passages, 60)
            assert outcome.errors == {}
            assert outcome.score.tolist() == expected(QUERIES[0], passages)
            assert scorer.engine.board.healthy

    asyncio.run(main())
    # Not counted: after a pass that failed, the engine tries the first golden pair.
    query, passage = golden_texts()[0]
    encoder = make_encoder()
    golden = encoder.collate(encoder.encode(query, [passage])).input_ids[0].tolist()
    assert sum(ids != golden for ids in rows) == 50


def test_a_backend_that_is_down_fails_every_pair_and_comes_back() -> None:
    failing = Failing()

    async def main() -> None:
        async with running(failing) as scorer:
            outcome = await scorer.score(QUERIES[0], list(PASSAGES), 60)
            assert sorted(outcome.errors) == [0, 1, 2, 3]
            assert not scorer.engine.board.healthy
            failing.down = False
            outcome = await scorer.score(QUERIES[0], list(PASSAGES), 60)
            assert outcome.errors == {}
            assert scorer.engine.board.healthy

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
            assert outcome.score[0] == expected(QUERIES[0], ["paris"])[0]

    asyncio.run(main())


def test_a_backend_that_loses_rows_is_an_error() -> None:
    async def main() -> None:
        async with running(lambda batch: overlap(batch)[:-1]) as scorer:
            outcome = await scorer.score(QUERIES[0], ["paris"], 60)
            assert list(outcome.errors) == [0]

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
            closing = asyncio.create_task(scorer.link.close(60))
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


def make_span(key: int, rows: list[int]) -> Span:
    job = Job(key, 0, 9, 1.0, 0, False, False, lambda *_: None)
    pairs = Pairs(np.zeros(9, np.uint16), np.ones(9, int), np.ones(9, int))
    return Span(job, np.array(rows), pairs, 0)


def test_halves_keep_every_pair_once() -> None:
    work = Work([make_span(1, [5, 6, 7]), make_span(2, [0, 1])], 16, 5)
    for middle in range(6):
        left, right = _halves(work, middle)
        spans = (*left.spans, *right.spans)
        told = [(span.job.key, index) for span in spans for index in span.indices]
        assert told == [(1, 5), (1, 6), (1, 7), (2, 0), (2, 1)]
        assert sum(len(span.indices) for span in left.spans) == left.pairs == middle


def test_as_many_queries_as_passages_are_one_job_that_does_not_wait_for_itself() -> None:
    async def main() -> None:
        async with running(limit_tokens=200) as front:
            queries = [QUERIES[n % 4] for n in range(300)]
            passages = [f"{PASSAGES[n % 4]} {n}" for n in range(300)]
            outcome = await front.score(queries, passages, 60)
            right = [expected(q, [p])[0] for q, p in zip(queries, passages, strict=True)]
            assert outcome.score.tolist() == right

    asyncio.run(main())


def windows_of(query: str, passage: str, reading: Reading = READING) -> list[float]:
    head, (text, layout) = ENCODER.encode_query(query), ENCODER.lay_out(passage)
    planned = plan(0, len(text.ids), layout.sentence_ends, ENCODER.room(head), reading)
    pairs = [ENCODER.join_window(head, text, window) for window in planned.windows]
    return [float(combine(overlap(ENCODER.collate([pair]))).score[0]) for pair in pairs]


LONG = "Old paris was old. " * 30 + "The eiffel tower is tall. " + "The river was old. " * 30


@pytest.mark.parametrize("rule", ["max", "mean_top_k", "first"])
def test_a_long_passage_has_the_score_of_its_windows(rule: WindowScore) -> None:
    reading = Reading(score=rule)
    scores = windows_of(QUERIES[0], LONG, reading)

    async def main() -> None:
        async with running() as front:
            outcome = await front.score(QUERIES[0], ["paris", LONG], 60, reading=reading)
            best = sorted(scores)[-3:] if rule == "mean_top_k" else [max(scores)]
            assert outcome.score[1] == pytest.approx(sum(best) / len(best))
            assert outcome.pairs == 1 + len(scores)
            note = outcome.notes[1]
            assert note.window is not None
            assert note.windows == len(scores)
            tall = "eiffel" in LONG[note.window.start : note.window.end]
            assert tall == (rule != "first")
            assert note.flags == (("truncated",) if rule == "first" else ())

    asyncio.run(main())


@pytest.mark.parametrize("last", ["", "paris", LONG])
def test_windows_of_many_chunks_are_one_job(last: str) -> None:
    many = [f"{PASSAGES[n % 4]} {n}" for n in range(CHUNK_PASSAGES - 1)]
    passages = [*many, LONG, *many, "", last, LONG][: 2 * CHUNK_PASSAGES + 1]
    passages[-1] = last
    right = [0.0 if not text else max(windows_of(QUERIES[0], text)) for text in passages]

    async def main() -> None:
        async with running() as front:
            outcome = await front.score(QUERIES[0], passages, 60)
            assert outcome.score.tolist() == right
            assert front.queue_tokens == 0
            assert front.engine.idle

    asyncio.run(main())


def test_a_last_chunk_without_pairs_ends_a_job_that_is_scored_already() -> None:
    async def main() -> None:
        async with running() as front:
            pairs = Pairs.of(ENCODER.encode(QUERIES[0], PASSAGES))
            ended: list[Exception | None] = []
            job = Job(
                7, 0, 100, time.perf_counter() + 60, 50, False, False, lambda _, e: ended.append(e)
            )
            front.engine.queue.put(job, pairs)
            while job.unscored > 100 - len(pairs):
                await asyncio.sleep(0.01)
            none = Pairs(pairs.ids[:0], pairs.lengths[:0], pairs.boundaries[:0])
            assert not ended
            assert front.engine.queue.extend(job, none, last=True)
            assert (job.size, job.unscored, front.queue_tokens) == (len(pairs), 0, 0)

    asyncio.run(main())


def test_nothing_to_read_is_answered_without_the_engine() -> None:
    held = Held()

    async def main() -> None:
        async with running(held) as front:
            outcome = await front.score(QUERIES[0], ["", " ", "\u200b"], 1)
            assert outcome.score.tolist() == [0, 0, 0]
            assert [note.flags for note in outcome.notes.values()] == [("empty",)] * 3
            assert (outcome.pairs, outcome.tokens) == (0, 0)
            assert not held.entered.is_set()
            held.let_go.set()

    asyncio.run(main())


def test_more_windows_than_the_limit_are_too_large() -> None:
    async def main() -> None:
        async with running() as front:
            front.scorer = Scorer(Tokenization(ENCODER), front.link, 20)
            with pytest.raises(TooLarge):
                await front.score(QUERIES[0], [LONG] * 2, 60)
            assert front.engine.idle

    asyncio.run(main())


def test_what_the_engine_has_just_refused_is_refused_before_any_work() -> None:
    held, lookups = Held(), []

    async def main() -> None:
        async with running(held, limit_tokens=100) as front:
            tokenization = Tokenization(ENCODER, 100, lambda *counts: lookups.append(counts))
            front.scorer = Scorer(tokenization, front.link, MOST_PAIRS)
            first = asyncio.create_task(front.score(QUERIES[0], list(PASSAGES), 60))
            await held.wait_until_entered()
            for _ in range(5):
                with pytest.raises(Overloaded):
                    await front.score(QUERIES[0], list(PASSAGES), 60)
            held.let_go.set()
            await first
            await asyncio.sleep(0.05)
            await front.score(QUERIES[0], list(PASSAGES), 60)

    asyncio.run(main())
    # The first, the one that was refused, the last; on a slow machine perhaps another.
    assert len(lookups) <= 5


def test_a_pass_that_takes_far_too_long_is_on_the_board() -> None:
    held = Held()

    async def main() -> None:
        async with running(held) as front:
            board = front.engine.board
            assert board.overdue_at == math.inf
            asking = asyncio.create_task(front.score(QUERIES[0], list(PASSAGES), 60))
            await held.wait_until_entered()
            assert 0.4 < board.overdue_at - time.perf_counter() <= 0.6
            held.let_go.set()
            await asking
            assert board.overdue_at == math.inf

    asyncio.run(main())


def test_after_a_failed_pass_the_engine_tries_by_itself() -> None:
    failing = Failing()

    async def main() -> None:
        async with running(failing) as front:
            await front.score(QUERIES[0], ["paris"], 60)
            assert not front.engine.board.healthy
            failing.down = False
            end = time.monotonic() + 60
            while not front.engine.board.healthy:
                assert time.monotonic() < end
                await asyncio.sleep(0.02)

    asyncio.run(main())


def test_a_worker_that_ends_is_trouble() -> None:
    def infer(batch: Batch) -> LogitArray:
        raise SystemExit

    async def main() -> None:
        async with running(infer) as front:
            asking = asyncio.create_task(front.score(QUERIES[0], ["paris"], 2))
            end = time.monotonic() + 60
            while front.engine.trouble is None:
                assert time.monotonic() < end
                await asyncio.sleep(0.02)
            assert "SystemExit" in front.engine.trouble
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            front.engine.queue.expire()

    asyncio.run(main())
