from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from retort.service.engine.job import Job
from retort.service.engine.queue import Work, WorkQueue
from retort.service.engine.scheduler import Policy
from retort.service.errors import NotReady, Overloaded
from tests.fake_bundle import make_encoder

ENCODER = make_encoder()
LOOP = asyncio.new_event_loop()
LOOP.close()


class Clock:
    """A clock that stands until it is told to go."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def make_queue(
    clock: Clock, *, limit_tokens: int = 10_000, slots: int = 1, streams: int = 1
) -> WorkQueue:
    policy = Policy((16, 32, 48, 64), batch_tokens=64, overhead_tokens=0)
    return WorkQueue(policy, limit_tokens=limit_tokens, slots=slots, streams=streams, clock=clock)


def make_job(
    key: int,
    passages: Sequence[str],
    *,
    due: float = 101.0,
    deadline: float = 110.0,
    held: int = 40,
) -> Job:
    result = LOOP.create_future()
    return Job(key, "paris", passages, deadline, due, held, result)


def tokenize(queue: WorkQueue, task: Job | Work | None) -> None:
    assert isinstance(task, Job)
    queue.encoded(task, ENCODER.encode(task.query, task.passages), 0.0)


def rows(task: Job | Work | None) -> dict[int, list[int]]:
    assert isinstance(task, Work)
    return {span.job.key: span.indices for span in task.spans}


def own_tokens(work: Work) -> int:
    return sum(span.tokens for span in work.spans)


def test_a_job_goes_from_text_to_batches_to_done() -> None:
    queue = make_queue(Clock())
    job = make_job(0, ["tower", "france " * 20, "city"])
    queue.put(job)
    assert queue.tokens == 40
    tokenize(queue, queue.take())
    assert queue.tokens == sum(map(len, job.pairs))
    first = queue.take()
    assert rows(first) == {0: [1]}
    assert isinstance(first, Work)
    assert queue.scored(first, 0.1) == []
    second = queue.take()
    assert rows(second) == {0: [0, 2]}
    assert isinstance(second, Work)
    assert queue.scored(second, 0.1) == [job]
    assert queue.tokens == 0


def test_while_the_backend_works_the_next_text_is_tokenized() -> None:
    queue = make_queue(Clock())
    for key in (0, 1):
        queue.put(make_job(key, ["tower"]))
    tokenize(queue, queue.take())
    assert isinstance(queue.take(), Work)
    task = queue.take()
    assert isinstance(task, Job)
    assert task.key == 1


def test_a_batch_takes_pairs_of_several_requests_and_each_slot_one_batch() -> None:
    queue = make_queue(Clock(), slots=2)
    for key in (0, 1, 2):
        queue.put(make_job(key, ["tower", "city"], due=101.0 + key / 10))
    jobs = [queue._text.pop(min(queue._text)) for _ in range(3)]
    for job in jobs:
        tokenize(queue, job)
    assert rows(queue.take()) == {0: [0, 1], 1: [0, 1]}
    assert rows(queue.take()) == {2: [0, 1]}


def test_batches_that_run_at_once_share_the_machine() -> None:
    queue = make_queue(Clock(), slots=2)
    queue.put(make_job(0, ["tower", "france " * 20]))
    tokenize(queue, queue.take())
    first, second = queue.take(), queue.take()
    assert isinstance(first, Work)
    assert isinstance(second, Work)
    queue.seconds_per_token = 1.0
    queue.scored(first, float(own_tokens(first)))
    assert queue.seconds_per_token == pytest.approx(0.95)
    queue.scored(second, float(own_tokens(second)))
    assert queue.seconds_per_token == pytest.approx(0.955)


def test_idle_streams_share_a_request_and_a_lone_one_takes_what_there_is() -> None:
    queue = make_queue(Clock(), slots=2, streams=2)
    first, second = make_job(0, ["tower", "city"]), make_job(1, ["tower", "city"])
    queue.put(first)
    tokenize(queue, queue.take())
    one, other = queue.take(), queue.take()
    assert rows(one) == {0: [0]}
    assert rows(other) == {0: [1]}
    queue.put(second)
    tokenize(queue, queue.take())
    assert isinstance(one, Work)
    queue.scored(one, 0.1)
    assert rows(queue.take()) == {1: [0, 1]}


def test_what_is_due_first_is_tokenized_first() -> None:
    queue = make_queue(Clock())
    queue.put(make_job(0, ["tower"], due=109.0))
    queue.put(make_job(1, ["tower"], due=101.0))
    task = queue.take()
    assert isinstance(task, Job)
    assert task.key == 1


@pytest.mark.parametrize("tokenized", [False, True])
def test_a_late_job_is_dropped_before_it_costs_anything(tokenized: bool) -> None:
    clock = Clock()
    queue = make_queue(clock)
    late = make_job(0, ["tower"], deadline=105.0)
    queue.put(late)
    if tokenized:
        tokenize(queue, queue.take())
    clock.now = 106.0
    queue.put(make_job(1, ["city"]))
    task = queue.take()
    assert isinstance(task, Job)
    assert task.key == 1
    assert late.dead
    assert queue.tokens == 40


def test_a_job_that_left_while_it_was_tokenized_does_not_come_back() -> None:
    queue = make_queue(Clock())
    job = make_job(0, ["tower"])
    queue.put(job)
    task = queue.take()
    queue.leave(job)
    tokenize(queue, task)
    queue.leave(job)
    assert queue.tokens == 0
    queue.close()
    assert queue.take() is None


def test_a_job_that_left_while_it_was_inferred_is_not_done() -> None:
    queue = make_queue(Clock())
    job = make_job(0, ["tower"])
    queue.put(job)
    tokenize(queue, queue.take())
    work = queue.take()
    assert isinstance(work, Work)
    queue.leave(job)
    assert queue.scored(work, 0.1) == []
    assert queue.tokens == 0


def test_the_limit() -> None:
    queue = make_queue(Clock(), limit_tokens=100)
    queue.put(make_job(0, ["tower"], held=60))
    with pytest.raises(Overloaded, match="60 tokens wait already, the limit is 100") as caught:
        queue.put(make_job(1, ["tower"], held=41))
    assert caught.value.retry_after == 1
    queue.put(make_job(2, ["tower"], held=40))


def test_a_job_larger_than_the_limit_needs_half_of_it_free() -> None:
    queue = make_queue(Clock(), limit_tokens=100)
    queue.put(make_job(0, ["tower"], held=50))
    queue.put(make_job(1, ["tower"], held=5000))
    with pytest.raises(Overloaded):
        queue.put(make_job(2, ["tower"], held=1))


def test_come_back_when_the_backend_will_have_caught_up() -> None:
    queue = make_queue(Clock(), limit_tokens=100)
    queue.seconds_per_token = 0.05
    queue.put(make_job(0, ["tower"], held=100))
    with pytest.raises(Overloaded) as caught:
        queue.put(make_job(1, ["tower"]))
    assert caught.value.retry_after == 5


def test_once_closed_nothing_comes_in_and_what_is_there_goes_out() -> None:
    queue = make_queue(Clock())
    queue.put(make_job(0, ["tower"]))
    queue.close()
    with pytest.raises(NotReady):
        queue.put(make_job(1, ["tower"]))
    tokenize(queue, queue.take())
    work = queue.take()
    assert isinstance(work, Work)
    assert queue.take() is None


def test_a_job_that_would_be_late_is_refused_with_when_to_come_back() -> None:
    queue = make_queue(Clock())
    queue.seconds_per_token = 0.1
    # Alone it would be late too, but nothing that waits is to blame.
    queue.put(make_job(0, ["tower"], deadline=103.0, held=40))
    # Both together take 8 s, and of its 10 s it may use three quarters.
    with pytest.raises(Overloaded, match="would make it 500 ms late") as refusal:
        queue.put(make_job(1, ["tower"], deadline=110.0, held=40))
    assert refusal.value.retry_after == 1
    with pytest.raises(Overloaded) as refusal:
        queue.put(make_job(1, ["tower"], deadline=102.0, held=40))
    assert refusal.value.retry_after == 7
    queue.put(make_job(1, ["tower"], deadline=111.0, held=40))
    assert queue.tokens == 80


def test_jobs_due_later_do_not_delay_earlier_ones() -> None:
    queue = make_queue(Clock())
    queue.seconds_per_token = 0.1
    queue.put(make_job(0, ["tower"], due=109.0, deadline=200.0, held=400))
    queue.put(make_job(1, ["tower"], due=101.0, deadline=106.0, held=40))
    with pytest.raises(Overloaded):
        queue.put(make_job(2, ["tower"], due=101.0, deadline=106.0, held=40))


def test_the_pace_counts_the_pairs_own_tokens() -> None:
    queue = make_queue(Clock())
    queue.put(make_job(0, ["tower"]))
    tokenize(queue, queue.take())
    work = queue.take()
    assert isinstance(work, Work)
    assert own_tokens(work) < work.padded_tokens
    queue.seconds_per_token = 1.0
    queue.scored(work, float(own_tokens(work)))
    assert queue.seconds_per_token == pytest.approx(1.0)
