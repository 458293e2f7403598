from __future__ import annotations

from collections.abc import Sequence

import pytest

from retort.service.engine.job import Job
from retort.service.engine.pace import Pace
from retort.service.engine.pairs import Pairs
from retort.service.engine.queue import Work, WorkQueue
from retort.service.engine.scheduler import Policy
from retort.service.errors import NotReady, Overloaded
from tests.fake_bundle import make_encoder

ENCODER = make_encoder()
TOKEN_SECONDS = 0.1


class Clock:
    """A clock that stands until it is told to go."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def make_queue(
    clock: Clock, *, limit_tokens: int = 10_000, slots: int = 1, streams: int = 1
) -> WorkQueue:
    policy = Policy((16, 32, 48, 64), batch_tokens=64, overhead_tokens=0)
    pace = Pace(0.0, TOKEN_SECONDS, batch_tokens=64, streams=streams)
    return WorkQueue(
        policy, pace, limit_tokens=limit_tokens, slots=slots, streams=streams, clock=clock
    )


def make_job(
    key: int,
    size: int,
    *,
    deadline: float = 1_000.0,
    coming: int = 0,
    client: int = 0,
    background: bool = False,
    alone: bool = False,
) -> Job:
    return Job(key, client, size, deadline, coming, background, alone, lambda *_: None)


def pairs_of(passages: Sequence[str]) -> Pairs:
    return Pairs.of(ENCODER.encode("paris", passages))


def put(queue: WorkQueue, key: int, passages: Sequence[str], **options: float) -> Job:
    job = make_job(key, len(passages), **options)  # type: ignore[arg-type]
    queue.put(job, pairs_of(passages))
    return job


def rows(work: Work | None) -> dict[int, list[int]]:
    assert work is not None
    return {span.job.key: span.indices.tolist() for span in work.spans}


def test_a_job_goes_from_pairs_to_batches_to_done() -> None:
    queue = make_queue(Clock())
    job = put(queue, 0, ["tower", "france " * 20, "city"])
    assert queue.tokens == 16 + 32 + 16
    first = queue.poll()
    assert rows(first) == {0: [1]}
    assert first is not None
    assert queue.scored(first, 0.1) == []
    assert queue.tokens == 32
    second = queue.poll()
    assert rows(second) == {0: [0, 2]}
    assert second is not None
    assert queue.scored(second, 0.1) == [job]
    assert queue.tokens == 0


def test_a_batch_has_the_tokens_of_its_pairs_in_order() -> None:
    queue = make_queue(Clock(), slots=2)
    texts = ["tower", "city", "old city", "old"]
    put(queue, 0, texts[:2])
    put(queue, 1, texts[2:])
    work = queue.poll()
    assert rows(work) == {0: [0, 1], 1: [0, 1]}
    assert work is not None
    batch, expected = (
        work.chosen().batch(16, ENCODER.pad_id),
        ENCODER.collate(ENCODER.encode("paris", texts), 16),
    )
    for found, right in zip(batch.arrays, expected.arrays, strict=True):
        assert found.tolist() == right.tolist()


def test_the_rest_of_a_job_may_come_later() -> None:
    queue = make_queue(Clock())
    job = make_job(0, 3, coming=100)
    queue.put(job, pairs_of(["tower"]))
    assert queue.tokens == 116
    first = queue.poll()
    assert first is not None
    assert queue.scored(first, 0.1) == []
    queue.extend(job, pairs_of(["city", "old"]))
    # Now that all is there, what was estimated is forgotten.
    assert queue.tokens == 32
    second = queue.poll()
    assert rows(second) == {0: [1, 2]}
    assert second is not None
    assert queue.scored(second, 0.1) == [job]
    assert queue.tokens == 0


def test_idle_streams_share_a_request_and_a_lone_one_takes_what_there_is() -> None:
    queue = make_queue(Clock(), slots=2, streams=2)
    put(queue, 0, ["tower", "city"])
    one, other = queue.poll(), queue.poll()
    assert rows(one) == {0: [0]}
    assert rows(other) == {0: [1]}
    put(queue, 1, ["tower", "city"])
    assert one is not None
    queue.scored(one, 0.1)
    assert rows(queue.poll()) == {1: [0, 1]}


def test_a_job_that_is_to_be_alone_shares_no_batch() -> None:
    queue = make_queue(Clock(), slots=3)
    put(queue, 0, ["tower"], alone=True)
    put(queue, 1, ["city"])
    assert rows(queue.poll()) == {0: [0]}
    assert rows(queue.poll()) == {1: [0]}
    put(queue, 2, ["city"])
    put(queue, 3, ["tower"], alone=True)
    work = queue.poll()
    assert rows(work) == {2: [0]}
    assert work is not None
    queue.scored(work, 0.1)
    assert rows(queue.poll()) == {3: [0]}


def test_what_is_in_the_background_comes_last() -> None:
    queue = make_queue(Clock())
    put(queue, 0, ["tower", "france " * 20], background=True, deadline=160.0)
    put(queue, 1, ["city " * 40])
    assert rows(queue.poll()) == {1: [0]}


def test_a_late_job_is_dropped_before_it_costs_anything() -> None:
    clock = Clock()
    queue = make_queue(clock)
    late = put(queue, 0, ["tower"], deadline=105.0)
    clock.now = 106.0
    put(queue, 1, ["city"])
    assert rows(queue.poll()) == {1: [0]}
    assert queue.expire() == [late]
    assert queue.tokens == 16


def test_a_job_that_left_is_not_scored() -> None:
    queue = make_queue(Clock())
    job = put(queue, 0, ["tower"])
    queue.leave(job)
    queue.leave(job)
    queue.extend(job, pairs_of(["city"]))
    assert queue.tokens == 0
    queue.close()
    assert queue.take() is None


def test_a_job_that_left_while_it_was_inferred_is_not_done() -> None:
    queue = make_queue(Clock())
    job = put(queue, 0, ["tower"])
    work = queue.poll()
    assert work is not None
    queue.leave(job)
    assert queue.scored(work, 0.1) == []
    assert queue.tokens == 0


def test_the_limit() -> None:
    queue = make_queue(Clock(), limit_tokens=64)
    put(queue, 0, ["tower"] * 3)
    with pytest.raises(Overloaded, match="48 tokens wait already, the limit is 64"):
        put(queue, 1, ["tower"] * 2)
    put(queue, 2, ["tower"])


def test_a_job_larger_than_the_limit_needs_half_of_it_free() -> None:
    queue = make_queue(Clock(), limit_tokens=64)
    put(queue, 0, ["tower"] * 2)
    put(queue, 1, ["tower"] * 100)
    with pytest.raises(Overloaded):
        put(queue, 2, ["tower"])


def test_where_one_client_fills_the_queue_another_gets_its_share() -> None:
    queue = make_queue(Clock(), limit_tokens=64)
    put(queue, 0, ["tower"] * 4, client=1)
    with pytest.raises(Overloaded):
        put(queue, 1, ["tower"], client=1)
    put(queue, 2, ["tower"] * 2, client=2)
    with pytest.raises(Overloaded):
        put(queue, 3, ["tower"], client=2)


def test_come_back_when_the_backend_will_have_caught_up() -> None:
    queue = make_queue(Clock(), limit_tokens=64)
    put(queue, 0, ["tower"] * 4)
    with pytest.raises(Overloaded) as caught:
        put(queue, 0, ["tower"])
    assert caught.value.retry_after == 7  # 64 tokens at a tenth of a second each


def test_once_closed_nothing_comes_in_and_what_is_there_goes_out() -> None:
    queue = make_queue(Clock())
    put(queue, 0, ["tower"])
    queue.close()
    with pytest.raises(NotReady):
        put(queue, 1, ["tower"])
    work = queue.take()
    assert work is not None
    queue.scored(work, 0.1)
    assert queue.take() is None


def test_a_job_that_would_be_late_is_refused() -> None:
    queue = make_queue(Clock())
    # Alone it would be late too, but nothing that waits is to blame.
    put(queue, 0, ["tower"] * 4, deadline=103.0)
    # Both together take 8 s, a third more with the margin.
    with pytest.raises(Overloaded, match="late"):
        put(queue, 1, ["tower"], deadline=110.0)
    put(queue, 1, ["tower"], deadline=111.0)
    assert queue.tokens == 80


def test_a_refusal_says_whether_the_smallest_would_be_refused_too() -> None:
    def refused(size: int, **options: float) -> Overloaded:
        with pytest.raises(Overloaded) as caught:
            put(queue, 9, ["tower"] * size, **options)
        return caught.value

    queue = make_queue(Clock(), limit_tokens=160)
    put(queue, 0, ["tower"] * 9)
    assert not refused(2).hopeless
    put(queue, 1, ["tower"])
    assert refused(2).hopeless
    queue = make_queue(Clock())
    # It takes 16 s, the next would take 8 and the smallest 1.6.
    put(queue, 0, ["tower"] * 10, deadline=120.0)
    assert not refused(5, deadline=130.0).hopeless
    assert refused(5, deadline=122.0).hopeless
    put(queue, 1, ["tower"], deadline=130.0)


def test_jobs_due_later_do_not_delay_earlier_ones() -> None:
    queue = make_queue(Clock())
    put(queue, 0, ["tower"] * 40, deadline=10_000.0)
    put(queue, 1, ["tower"], deadline=104.0)
    with pytest.raises(Overloaded):
        put(queue, 2, ["tower"], deadline=104.0)


def test_among_several_clients_each_ones_first_request_comes_soon() -> None:
    queue = make_queue(Clock())
    for key in range(5):
        put(queue, key, ["tower"] * 4, client=1)
    put(queue, 5, ["city"], client=2)
    order = []
    while (work := queue.poll()) is not None:
        order += [span.job.key for span in work.spans]
        queue.scored(work, 0.1)
    assert order.index(5) <= 1
    assert sorted(order) == [0, 1, 2, 3, 4, 5]
