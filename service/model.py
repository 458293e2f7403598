"""A served model: a bundle in its role, with a backend that is checked, warm and measured.

Everything slow about a start happens in `load`, off the event loop, so that the server can say
from its first second that it is alive and not ready yet.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from retort.models.bundle import Bundle
from retort.models.encoding import Batch, PairEncoder
from retort.models.runtime.base import Backend, same_batch
from retort.models.runtime.choose import Chosen, choose_backend
from retort.models.runtime.golden import compare_golden, require
from retort.models.runtime.gpu import COLUMN_STEP, row_buckets
from retort.models.runtime.options import RuntimeOptions
from retort.service.engine.scheduler import Policy, length_steps
from retort.service.engine.scorer import Scorer
from retort.service.engine.tokenization import PassageTokens
from retort.service.errors import NotReady, ServiceError
from retort.service.metrics import Metrics, Role
from retort.service.settings import Settings

logger = logging.getLogger("retort")

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
PROBE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Loaded:
    """A backend that may answer, and how the scheduler is to use it."""

    encoder: PairEncoder
    chosen: Chosen
    policy: Policy
    threads: int  # on the CPU; 0: one per core
    slots: int
    streams: int
    seconds_per_token: float


class Model:
    """Student or teacher. `backend` is for tests; without it one is chosen by `options`."""

    def __init__(
        self, role: Role, bundle: Bundle, options: RuntimeOptions, backend: Backend | None = None
    ) -> None:
        self.role = role
        self.bundle = bundle
        self.manifest = bundle.manifest
        self.loaded: Loaded | None = None
        self._options = options
        self._backend = backend
        self._scorer: Scorer | None = None
        self._probe = asyncio.Lock()

    @property
    def scorer(self) -> Scorer:
        """Where requests go in. Raises `NotReady` before `load` has ended."""
        if self._scorer is None:
            raise NotReady(f"the {self.role} is loading", retry_after=1)
        return self._scorer

    @property
    def queue_tokens(self) -> int:
        """Tokens accepted and not yet scored."""
        return 0 if self._scorer is None else self._scorer.queue_tokens

    @property
    def healthy(self) -> bool:
        """Whether it is loaded, and its last forward pass worked."""
        return self._scorer is not None and self._scorer.healthy

    async def load(self, settings: Settings, metrics: Metrics) -> None:
        """Load, off the event loop. Raises `StartError` or `BundleError`."""
        loaded = await asyncio.to_thread(
            load_model, settings, self.bundle, self._options, self._backend
        )
        self.loaded = loaded
        cache = metrics.passage_cache
        hit, miss = cache.labels("hit"), cache.labels("miss")

        def lookups(hits: int, misses: int) -> None:
            hit.inc(hits)
            miss.inc(misses)

        self._scorer = Scorer(
            loaded.encoder,
            loaded.chosen.backend,
            loaded.policy,
            metrics,
            limit_tokens=settings.queue_tokens,
            role=self.role,
            tokens=PassageTokens(loaded.encoder, settings.passage_cache, lookups),
            slots=loaded.slots,
            streams=loaded.streams,
            seconds_per_token=loaded.seconds_per_token,
        )
        info, manifest = loaded.chosen.backend.info, self.manifest
        metrics.pair_seconds.begin(self.role)
        metrics.model_info.labels(
            self.role, manifest.name, manifest.version, info.backend, info.provider, info.precision
        ).set(1)
        logger.info("%s: %s %s on %s", self.role, manifest.name, manifest.version, info)

    async def recovered(self) -> bool:
        """Whether it is healthy; if the last pass failed, the backend is asked once more."""
        if self.healthy or self._scorer is None or self._probe.locked():
            return self.healthy
        async with self._probe:
            golden = self.bundle.golden[0]
            try:
                await self._scorer.score(golden.query, [golden.passage], PROBE_SECONDS)
            except ServiceError as error:
                logger.warning("the %s's backend does not answer: %s", self.role, error)
        return self.healthy

    async def close(self) -> None:
        """Finish what was accepted."""
        if self._scorer is not None:
            await self._scorer.close()


def load_model(
    settings: Settings, bundle: Bundle, options: RuntimeOptions, backend: Backend | None = None
) -> Loaded:
    """Choose a backend by `options`, or check the one given; then warm and time it.

    Raises `StartError` if none runs or reproduces the golden pairs, `BundleError` if they are bad.
    """
    encoder = bundle.encoder()
    if backend is None:
        chosen = choose_backend(bundle, encoder, options, settings.cache_dir)
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
    streams = 1 if gpu else options.streams
    overhead, pace = _warm(chosen.backend, encoder, lengths, batch_tokens, usual, streams)
    return Loaded(
        encoder=encoder,
        chosen=chosen,
        policy=Policy(lengths, batch_tokens, overhead_tokens=overhead),
        threads=options.threads,
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
    """Run every length once, full; return the cost of a batch in tokens, and seconds per token.

    Then as many of the shapes of `usual` rows as there is time for, those of few rows first.
    """
    # Each stream has code of its own, so each meets every shape.
    with ThreadPoolExecutor(streams) as pool:

        def run(rows: int, length: int) -> None:
            list(pool.map(backend.infer, [same_batch(rows, length, encoder.pad_id)] * streams))

        for length in lengths:
            run(batch_tokens // length, length)
        end = time.monotonic() + WARM_SECONDS
        for rows in usual:
            for length in lengths:
                if time.monotonic() < end and rows * length <= batch_tokens:
                    run(rows, length)
    rows, longest = batch_tokens // lengths[-1], lengths[-1]
    full = _fastest(backend, same_batch(rows, longest, encoder.pad_id))
    least = _fastest(backend, same_batch(1, lengths[0], encoder.pad_id))
    pace = full / (rows * longest)
    return max(0, round(least / pace) - lengths[0]), pace / streams


def _fastest(backend: Backend, batch: Batch) -> float:
    times = []
    for _ in range(TIMED_RUNS):
        start = time.perf_counter()
        backend.infer(batch)
        times.append(time.perf_counter() - start)
    return min(times)
