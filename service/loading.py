"""Loading: from a bundle to a backend that is checked, warm and measured.

Everything slow about a start happens here, off the event loop, so that the server can say from
its first second that it lives and is not ready yet.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from retort.models.bundle import Bundle
from retort.models.encoding import Batch, PairEncoder
from retort.models.runtime.base import Backend
from retort.models.runtime.buckets import COLUMN_STEP, row_buckets
from retort.models.runtime.choose import Chosen, Wish, choose
from retort.models.runtime.golden import compare_golden, require
from retort.service.engine.scheduler import Policy, length_steps
from retort.service.settings import Settings

# A core is saturated by eight passages; a larger batch would only keep others waiting.
CPU_BATCH_TOKENS, GPU_BATCH_TOKENS = 1_024, 16_384
# Rounding up to 16 alone is a tenth of the tokens of short pairs; a GPU's buckets are no finer.
CPU_LENGTH_STEP = 8
# On a GPU the next batch's arrays are laid out and copied while this one is computed.
GPU_SLOTS = 2
TIMED_RUNS = 3
# OpenVINO writes code for a shape when it first meets it: in int8 that takes as long as a request.
# A GPU meets no more rows than there are buckets.
WARM_ROWS, WARM_SECONDS = 16, 3.0


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a scorer needs, and what is known of it."""

    bundle: Bundle
    encoder: PairEncoder
    chosen: Chosen
    policy: Policy
    slots: int
    streams: int
    seconds_per_token: float


def load(
    settings: Settings, bundle: Bundle, backend: Backend | None = None, wish: Wish | None = None
) -> Loaded:
    """Choose a backend by `wish`, the student's by default, or check the one given; warm it.

    Raises `StartError` if none runs or reproduces the golden pairs, `BundleError` if they are bad.
    """
    encoder = bundle.encoder()
    wish = wish or settings.wish
    if backend is None:
        chosen = choose(bundle, encoder, wish, settings.cache_dir)
    else:
        report = compare_golden(backend, encoder, bundle)
        require(report, backend, bundle)
        chosen = Chosen(backend, report, {})
    gpu = chosen.backend.info.on_gpu
    if not gpu:
        # The backend has every core already: tokenizing on all of them only gets in its way.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    step = settings.length_step or (COLUMN_STEP if gpu else CPU_LENGTH_STEP)
    lengths = length_steps(encoder.truncation.max_length, step)
    batch_tokens = settings.batch_tokens or (GPU_BATCH_TOKENS if gpu else CPU_BATCH_TOKENS)
    batch_tokens = max(batch_tokens, lengths[-1])
    usual = row_buckets(batch_tokens // lengths[0]) if gpu else range(1, WARM_ROWS + 1)
    streams = 1 if gpu else wish.streams
    overhead, pace = _warm(chosen.backend, encoder, lengths, batch_tokens, usual, streams)
    return Loaded(
        bundle=bundle,
        encoder=encoder,
        chosen=chosen,
        policy=Policy(lengths, batch_tokens, overhead_tokens=overhead),
        slots=settings.slots or (GPU_SLOTS if gpu else streams),
        streams=streams,
        seconds_per_token=pace,
    )


def _warm(
    backend: Backend,
    encoder: PairEncoder,
    lengths: tuple[int, ...],
    batch_tokens: int,
    usual: Sequence[int],
    streams: int,
) -> tuple[int, float]:
    """Run every length once, full; return the cost of a batch in tokens, and seconds a token.

    Then as many of the shapes of `usual` rows as there is time for, those of few rows first.
    """
    # Each stream has code of its own, so each meets every shape.
    with ThreadPoolExecutor(streams) as pool:

        def run(rows: int, length: int) -> None:
            list(pool.map(backend.infer, [_batch(encoder, rows, length)] * streams))

        for length in lengths:
            run(batch_tokens // length, length)
        end = time.monotonic() + WARM_SECONDS
        for rows in usual:
            for length in lengths:
                if time.monotonic() < end and rows * length <= batch_tokens:
                    run(rows, length)
    rows, longest = batch_tokens // lengths[-1], lengths[-1]
    full = _fastest(backend, _batch(encoder, rows, longest))
    least = _fastest(backend, _batch(encoder, 1, lengths[0]))
    pace = full / (rows * longest)
    return max(0, round(least / pace) - lengths[0]), pace / streams


def _fastest(backend: Backend, batch: Batch) -> float:
    times = []
    for _ in range(TIMED_RUNS):
        start = time.perf_counter()
        backend.infer(batch)
        times.append(time.perf_counter() - start)
    return min(times)


def _batch(encoder: PairEncoder, rows: int, columns: int) -> Batch:
    ids = np.full((rows, columns), encoder.pad_id, dtype=np.int64)
    return Batch(ids, np.ones_like(ids), np.zeros_like(ids))
