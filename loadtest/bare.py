"""The bare backend loop: a server's backend in this process, with nothing around it.

What HTTP, JSON, tokenizing and scheduling cost is what a server lacks compared with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

from retort.loadtest.load import Outcome, Step, require_answers, run_step
from retort.loadtest.servers import Server
from retort.loadtest.traffic import Request, encode
from retort.models.bundle import Bundle
from retort.models.encoding import Batch, PairEncoder
from retort.models.runtime.base import Backend, BackendInfo
from retort.models.runtime.choose import load_backend
from retort.models.runtime.options import RuntimeOptions, default_cache

Work = TypeVar("Work")
# One forward pass of a backend: a batch in, logits out; it returns when they are there.
Forward = Callable[[Batch], object]


def load_served(served: Mapping[str, Any], bundle: Bundle) -> Backend:
    """Load the backend that a server runs, as `Server.backend` describes it, here too.

    Raises `BackendUnavailable` if it does not run in this process.
    """
    info = BackendInfo(served["backend"], served["provider"], served["precision"])
    graphs = os.environ.get("RETORT_CUDA_GRAPHS", "true").lower() in ("true", "1", "yes")
    options = RuntimeOptions(
        threads=served["threads"], streams=served["streams"], cuda_graphs=graphs
    )
    cache = Path(os.environ.get("RETORT_CACHE_DIR") or default_cache())
    return load_backend(info, bundle, options, cache)


def usual_batch(server: Server, step: Step, run: Callable[[Step], Outcome] = run_step) -> int:
    """Pairs in the server's mean batch under a step, which this puts on it.

    Raises `RuntimeError` if the server answers nothing.
    """
    before = server.counters()
    require_answers(server.target.label, run(step))
    return server.counters().since(before).usual_batch()


def like_length_batches(
    encoder: PairEncoder, requests: Sequence[Request], batch_pairs: int
) -> list[Batch]:
    """All pairs of the requests in batches of `batch_pairs`, sorted by length.

    That is the least padding a scheduler could reach, so for pairs of mixed lengths the bare loop
    has it a little easier than any server. A last batch that is not full is left out.
    """
    pairs = sorted((pair for request in requests for pair in encode(encoder, request)), key=len)
    starts = range(0, max(1, len(pairs) - batch_pairs + 1), batch_pairs)
    return [encoder.collate(pairs[start : start + batch_pairs]) for start in starts]


def forward_times(
    forward: Callable[[Work], object], batches: Sequence[Work], seconds: float
) -> list[float]:
    """Run the batches in turn for `seconds`, at least one of them; the seconds of each pass."""
    times: list[float] = []
    end = perf_counter() + seconds
    for batch in cycle(batches):
        start = perf_counter()
        forward(batch)
        done = perf_counter()
        times.append(done - start)
        if done >= end:
            break
    return times


def bare_rate(forward: Forward, batches: Sequence[Batch], seconds: float, slots: int) -> float:
    """Pairs per second of `slots` threads that do nothing but run the batches."""

    def loop(_: int) -> int:
        passes = len(forward_times(forward, batches, seconds))
        return sum(batch.shape[0] for batch in islice(cycle(batches), passes))

    start = perf_counter()
    with ThreadPoolExecutor(slots) as pool:
        pairs = sum(pool.map(loop, range(slots)))
    return pairs / (perf_counter() - start)
