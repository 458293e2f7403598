"""Choosing a backend: by setting, or by a short measurement of those that can run here.

Whatever is measured has reproduced the golden pairs first, so a fast wrong backend never wins.
The choice is kept on disk for this bundle, this machine and these versions; a second start loads
the winner alone.
"""

from __future__ import annotations

import importlib.util
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from retort.models.bundle import Bundle
from retort.models.cores import usable_cores
from retort.models.encoding import Batch, PairEncoder
from retort.models.errors import BundleError, StartError
from retort.models.runtime.base import Backend, BackendInfo, BackendUnavailable
from retort.models.runtime.golden import GoldenMismatch, GoldenReport, compare_golden, require
from retort.models.runtime.memory import choice_file, recall, remember
from retort.models.runtime.streams import Streams, shared_threads

logger = logging.getLogger("retort")

BackendName = Literal["auto", "onnxruntime", "openvino"]
ProviderName = Literal["auto", "cpu", "cuda", "tensorrt"]
PrecisionName = Literal["auto", "fp32", "fp16", "bf16", "int8"]

CANDIDATES = (
    BackendInfo("onnxruntime", "tensorrt", "fp16"),
    BackendInfo("onnxruntime", "tensorrt", "fp32"),
    BackendInfo("onnxruntime", "cuda", "fp16"),
    BackendInfo("onnxruntime", "cuda", "fp32"),
    BackendInfo("openvino", "cpu", "int8"),
    BackendInfo("openvino", "cpu", "bf16"),
    BackendInfo("openvino", "cpu", "fp32"),
    BackendInfo("onnxruntime", "cpu", "fp32"),
)
MEASURED_SHAPE = (10, 128)
MEASURED_SECONDS = 0.5  # a candidate
TURNS = 3
PAUSE_SECONDS = 0.05
# Threads that work together on one small batch wait for each other, and for long when another
# process takes a core: there two streams of one thread did 1.4 times what one of two did.
MOST_STREAMS = 4


def usual_streams(threads: int) -> int:
    """How many batches to compute at once where nobody said; `threads` 0 is one to each core."""
    return min(MOST_STREAMS, threads or usable_cores())


@dataclass(frozen=True, slots=True)
class Wish:
    """What the settings ask for; `auto` leaves it to the measurement."""

    backend: BackendName = "auto"
    provider: ProviderName = "auto"
    precision: PrecisionName = "auto"
    threads: int = 0
    streams: int = 1
    cuda_graphs: bool = True

    def allows(self, info: BackendInfo) -> bool:
        """Whether a candidate is what was asked for."""
        asked = (self.backend, self.provider, self.precision)
        offered = (info.backend, info.provider, info.precision)
        return all(a in ("auto", o) for a, o in zip(asked, offered, strict=True))


@dataclass(frozen=True, slots=True)
class Chosen:
    """The backend, what its golden check said, and pairs a second where it was measured."""

    backend: Backend
    golden: GoldenReport
    pairs_per_second: dict[str, float]


def choose(bundle: Bundle, encoder: PairEncoder, wish: Wish, cache: Path) -> Chosen:
    """Load the fastest backend that `wish` allows and that reproduces the golden pairs.

    Raises `StartError` when there is none, with what was wrong with each.
    """
    allowed = [info for info in CANDIDATES if wish.allows(info)]
    kept = choice_file(cache, [bundle.digest, str(wish)])
    remembered = recall(kept)

    def attempt(info: BackendInfo) -> tuple[Backend, GoldenReport]:
        backend, report = load_compared(info, bundle, encoder, wish, cache)
        require(report, backend, bundle)
        return backend, report

    if remembered in allowed:
        try:
            return Chosen(*attempt(remembered), {})
        except (BackendUnavailable, GoldenMismatch) as problem:
            logger.warning("%s was the fastest once, now: %s", remembered, problem)

    fit: list[tuple[Backend, GoldenReport]] = []
    problems: list[BackendUnavailable | GoldenMismatch] = []
    for info in allowed:
        try:
            fit.append(attempt(info))
        except (BackendUnavailable, GoldenMismatch) as problem:
            logger.debug("not %s: %s", info, problem)
            problems.append(problem)
    if not fit:
        raise _refusal(wish, problems)
    speeds = _measure([backend for backend, _ in fit], encoder, wish.streams)
    best = max(fit, key=lambda candidate: speeds[str(candidate[0].info)])
    remember(kept, best[0].info, speeds)
    return Chosen(*best, speeds)


def load_compared(
    info: BackendInfo, bundle: Bundle, encoder: PairEncoder, wish: Wish, cache: Path
) -> tuple[Backend, GoldenReport]:
    """Load one backend as `load` does and compare it with the golden pairs.

    Raises `BackendUnavailable` if it does not run here, `BundleError` if the pairs are bad.
    """
    try:
        backend = load(info, bundle, wish, cache)
        return backend, compare_golden(backend, encoder, bundle)
    except (BackendUnavailable, BundleError):
        raise
    except Exception as error:
        # A runtime raises what it likes; here it all means that this one cannot be used.
        raise BackendUnavailable(f"{info}: {type(error).__name__}: {error}") from error


def load(info: BackendInfo, bundle: Bundle, wish: Wish, cache: Path) -> Backend:
    """Load one backend, with the threads, streams and CUDA graphs of `wish`.

    Raises `BackendUnavailable`; imports its runtime only now.
    """
    if importlib.util.find_spec(info.backend) is None:
        raise BackendUnavailable(f"{info.backend} is not installed: install the cpu or gpu extra")
    manifest = bundle.manifest
    reached = manifest.lower_parity.get(info.precision)
    if reached is not None and (missed := reached.failures()):
        raise BackendUnavailable(
            f"{manifest.name} does not rank as the original in {info.precision}: "
            f"{'; '.join(missed)}"
        )
    if info.backend == "openvino":
        from retort.models.runtime.openvino import OpenVinoBackend

        if info.precision == "int8" and manifest.precision.storage != "int8":
            raise BackendUnavailable(
                f"{manifest.name} stores its weights as {manifest.precision.storage}: int8 "
                "multiplies weights that are stored as int8; export it so"
            )
        return Streams(
            [
                OpenVinoBackend(
                    bundle.graph_path,
                    precision=info.precision,
                    threads=threads,
                    width=manifest.architecture.width,
                )
                for threads in shared_threads(wish.threads or usable_cores(), wish.streams)
            ]
        )
    from retort.models.runtime.onnxruntime import NAMES, OnnxRuntimeBackend

    provider = next(name for name in NAMES if name == info.provider)
    return OnnxRuntimeBackend(
        bundle.graph_path,
        provider=provider,
        precision=info.precision,
        threads=wish.threads,
        longest=manifest.truncation.max_length,
        profiles=manifest.shape_profiles,
        kept=cache / "onnxruntime" / bundle.digest[:16],
        cuda_graphs=wish.cuda_graphs,
    )


def _refusal(wish: Wish, problems: Sequence[Exception]) -> StartError:
    for problem in problems:
        if isinstance(problem, GoldenMismatch):
            return problem
    asked = f"backend {wish.backend}, provider {wish.provider}, precision {wish.precision}"
    reasons = "; ".join(map(str, problems)) or "there is no such combination"
    return StartError(f"no backend can run as asked ({asked}): {reasons}")


def _measure(backends: Sequence[Backend], encoder: PairEncoder, streams: int) -> dict[str, float]:
    """Pairs a second of each one's fastest run of `streams` batches at once, of one on a GPU.

    The other runs were disturbed. They take turns, so that a noisy moment is bad for all of them
    alike. Before its turn each gets a pause and a run that does not count: the threads of the one
    before spin for a while yet.
    """
    rows, columns = MEASURED_SHAPE[0], min(MEASURED_SHAPE[1], encoder.truncation.max_length)
    ids = np.full((rows, columns), encoder.pad_id, dtype=np.int64)
    batch = Batch(ids, np.ones_like(ids), np.zeros_like(ids))
    fastest = dict.fromkeys((str(backend.info) for backend in backends), np.inf)
    with ThreadPoolExecutor(streams) as pool:
        for backend in list(backends) * TURNS:
            time.sleep(PAUSE_SECONDS)
            name = str(backend.info)
            batches = [batch] * (1 if backend.info.on_gpu else streams)
            list(pool.map(backend.infer, batches))
            end = time.perf_counter() + MEASURED_SECONDS / TURNS
            while (start := time.perf_counter()) < end or not np.isfinite(fastest[name]):
                list(pool.map(backend.infer, batches))
                seconds = (time.perf_counter() - start) / len(batches)
                fastest[name] = min(fastest[name], seconds)
    return {name: rows / seconds for name, seconds in fastest.items()}
