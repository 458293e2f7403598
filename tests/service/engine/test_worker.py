from __future__ import annotations

import asyncio

from retort.service.engine.job import Job
from retort.service.engine.queue import Span
from retort.service.engine.worker import _halves


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
