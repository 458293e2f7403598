"""Loading a model: a backend that is chosen, checked, warm and measured."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from retort.models.bundle import Bundle, find_bundle, read_bundle
from retort.models.encoding import PairEncoder
from retort.models.errors import BundleError, StartError
from retort.models.runtime.base import Backend, BackendInfo, fastest, same_batch
from retort.models.runtime.choose import Chosen, choose_backend
from retort.models.runtime.golden import compare_golden, require
from retort.models.runtime.gpu import COLUMN_STEP, row_buckets
from retort.models.runtime.options import RuntimeOptions
from retort.service.engine.pace import Pace
from retort.service.engine.scheduler import Policy, length_steps
from retort.service.settings import Settings

logger = logging.getLogger("retort")

# A core is saturated by eight passages; a larger batch would only keep others waiting. A GPU needs
# a larger one; a shallow queue makes small ones anyway.
CPU_BATCH_TOKENS, GPU_BATCH_TOKENS = 1_024, 65_536
# Rounding up to 16 alone is a tenth of the tokens of short pairs; a GPU's buckets are no finer.
CPU_LENGTH_STEP = 8
# On a GPU the next batch's arrays are laid out and copied while this one is computed.
GPU_SLOTS = 2
TIMED_RUNS = 3
# OpenVINO writes code for a shape when it first meets it: in int8 that takes as long as a request.
# A GPU meets no more rows than there are buckets.
WARM_ROWS, WARM_SECONDS = 16, 3.0
# How long warming waits, while there are requests, before it looks again.
BUSY_SECONDS = 0.25

Wrap = Callable[[Backend], Backend]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A backend that may answer, and how the scheduler is to use it."""

    encoder: PairEncoder
    chosen: Chosen
    policy: Policy
    pace: Pace
    threads: int  # on the CPU; 0: one per core
    slots: int
    streams: int
    # Shapes (batch, sequence) that requests often have, and that were not warmed yet.
    usual_shapes: tuple[tuple[int, int], ...]

    def describe(self) -> dict[str, Any]:
        """What runs the model, as `/info` shows it."""
        return {
            **asdict(self.chosen.backend.info),
            "batch_tokens": self.policy.batch_tokens,
            "overhead_tokens": self.policy.overhead_tokens,
            "threads": self.threads,
            "slots": self.slots,
            "streams": self.streams,
            "golden": asdict(self.chosen.golden),
            "measured_pairs_per_second": self.chosen.pairs_per_second,
        }

    def warm_usual(self, free: Callable[[], bool], stop: Callable[[], bool]) -> None:
        """Run the usual shapes once, each when the backend is `free`, until `stop`.

        As many as there is time for, those of few rows first.
        """
        spent = 0.0
        with ThreadPoolExecutor(self.streams) as pool:
            for rows, length in self.usual_shapes:
                while not free() and not stop():
                    time.sleep(BUSY_SECONDS)
                if stop() or spent > WARM_SECONDS:
                    return
                start = time.perf_counter()
                _run(pool, self.chosen.backend, rows, length, self.encoder.pad_id, self.streams)
                spent += time.perf_counter() - start


def read_model(place: str | Path, name: str, key: Path | None) -> Bundle:
    """The bundle at `place`, a name or path, which has to be named `name` and signed with `key`.

    Without a key it need not be signed. Raises `BundleError` if it cannot be read or trusted,
    `StartError` if it has another name.
    """
    bundle = read_bundle(find_bundle(place), key=key)
    if bundle.manifest.name != name:
        raise StartError(
            f"the bundle at {bundle.folder} is named {bundle.manifest.name}, not {name}: "
            "give one of that name, or load it under its own"
        )
    return bundle


def load_model(
    settings: Settings,
    bundle: Bundle,
    options: RuntimeOptions,
    backend: Backend | None = None,
    wrap: Wrap = lambda backend: backend,
    preferred: BackendInfo | None = None,
) -> Loaded:
    """Choose a backend by `options`, or check the one given; then warm and time it.

    `preferred` is what runs the version before. `wrap` is for tests, which put a fault before the
    backend. Raises `StartError` if none runs or reproduces the golden pairs, `BundleError` if they
    are bad.
    """
    encoder = bundle.encoder()
    if backend is None:
        chosen = choose_backend(bundle, encoder, options, settings.cache_dir, preferred)
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
    streams = 1 if gpu else options.streams
    overhead, token = _warm(chosen.backend, encoder, lengths, batch_tokens, streams)
    return Loaded(
        encoder=encoder,
        chosen=Chosen(wrap(chosen.backend), chosen.golden, chosen.pairs_per_second),
        policy=Policy(lengths, batch_tokens, overhead_tokens=round(overhead / token)),
        pace=Pace(overhead, token, batch_tokens=batch_tokens, streams=streams),
        threads=options.threads,
        slots=settings.slots or (GPU_SLOTS if gpu else streams),
        streams=streams,
        usual_shapes=_usual(chosen.backend.info, lengths, batch_tokens),
    )


def _usual(
    info: BackendInfo, lengths: Sequence[int], batch_tokens: int
) -> tuple[tuple[int, int], ...]:
    """Shapes that are worth warming, those of few rows first; to ONNX Runtime's CPU none is new."""
    if info.on_gpu:
        rows: Sequence[int] = row_buckets(batch_tokens // lengths[0])
    else:
        rows = range(1, WARM_ROWS + 1) if info.backend == "openvino" else ()
    return tuple((r, length) for r in rows for length in lengths if r * length <= batch_tokens)


def _warm(
    backend: Backend,
    encoder: PairEncoder,
    lengths: Sequence[int],
    batch_tokens: int,
    streams: int,
) -> tuple[float, float]:
    """Run every length once, full; return the seconds of a pass, and of each of its tokens."""
    with ThreadPoolExecutor(streams) as pool:
        for length in lengths:
            _run(pool, backend, batch_tokens // length, length, encoder.pad_id, streams)
    rows, longest = batch_tokens // lengths[-1], lengths[-1]
    full = fastest(backend.infer, same_batch(rows, longest, encoder.pad_id), TIMED_RUNS)
    least = fastest(backend.infer, same_batch(1, lengths[0], encoder.pad_id), TIMED_RUNS)
    token = full / (rows * longest)
    return max(0.0, least - token * lengths[0]), token


def _run(
    pool: ThreadPoolExecutor, backend: Backend, rows: int, length: int, token: int, streams: int
) -> None:
    # Each stream has code of its own, so each meets every shape.
    list(pool.map(backend.infer, [same_batch(rows, length, token)] * streams))


def problem_of(error: Exception) -> str:
    """What to tell of a model that could not be loaded; what was not foreseen is for the log."""
    if isinstance(error, StartError | BundleError):
        return str(error)
    logger.error("the model could not be loaded", exc_info=error)
    return "the model could not be loaded; the server's log says why"
