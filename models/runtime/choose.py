"""Choosing a backend: by setting, or by a short measurement of those that can run here.

Whatever is measured has reproduced the golden pairs first, so a fast wrong backend never wins.
The choice is kept on disk for this bundle, this machine and these versions; a second start loads
the winner alone.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import platform
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from retort.models.bundle import Bundle
from retort.models.encoding import PairEncoder
from retort.models.errors import BundleError, StartError
from retort.models.runtime.base import (
    Backend,
    BackendInfo,
    BackendUnavailable,
    Streams,
    same_batch,
    shared_threads,
)
from retort.models.runtime.cores import usable_cores
from retort.models.runtime.golden import GoldenMismatch, GoldenReport, compare_golden, require
from retort.models.runtime.options import RuntimeOptions

logger = logging.getLogger("retort")

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
# A kept choice holds for one set of versions of these packages.
PACKAGES = ("onnxruntime", "onnxruntime-gpu", "openvino")
MEASURED_SHAPE = (10, 128)
MEASURED_SECONDS = 0.5  # per candidate
TURNS = 3
PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Chosen:
    """A backend, the result of its golden check, and pairs per second where it was measured."""

    backend: Backend
    golden: GoldenReport
    pairs_per_second: dict[str, float]


def candidates(options: RuntimeOptions) -> list[BackendInfo]:
    """The backends that `options` allow, whether or not they can run here."""
    return [info for info in CANDIDATES if options.allows(info)]


def choose_backend(
    bundle: Bundle,
    encoder: PairEncoder,
    options: RuntimeOptions,
    cache: Path,
    preferred: BackendInfo | None = None,
) -> Chosen:
    """Load the fastest backend that `options` allow and that reproduces the golden pairs.

    What was measured before is remembered. Without that, the one that is `preferred` is taken
    unmeasured, if it can be: an earlier version's, while the machine is busy with requests.

    Raises `StartError` when there is none, with what was wrong with each.
    """
    allowed = candidates(options)
    kept = choice_file(cache, bundle.digest, options)
    remembered = recall(kept) or preferred

    def attempt(info: BackendInfo) -> tuple[Backend, GoldenReport]:
        backend, report = load_compared(info, bundle, encoder, options, cache)
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
        raise _refusal(options, problems)
    speeds = _measure([backend for backend, _ in fit], encoder, options.streams)
    best = max(fit, key=lambda candidate: speeds[str(candidate[0].info)])
    remember(kept, best[0].info, speeds)
    return Chosen(*best, speeds)


def load_compared(
    info: BackendInfo, bundle: Bundle, encoder: PairEncoder, options: RuntimeOptions, cache: Path
) -> tuple[Backend, GoldenReport]:
    """Load one backend and compare it with the golden pairs.

    Raises `BackendUnavailable` if it does not run here, `BundleError` if the pairs are bad.
    """
    try:
        backend = load_backend(info, bundle, options, cache)
        return backend, compare_golden(backend, encoder, bundle)
    except (BackendUnavailable, BundleError):
        raise
    except Exception as error:
        # Libraries raise what they like; here it all means that this backend cannot be used.
        raise BackendUnavailable(f"{info}: {type(error).__name__}: {error}") from error


def load_backend(
    info: BackendInfo, bundle: Bundle, options: RuntimeOptions, cache: Path
) -> Backend:
    """Load one backend, with the threads, streams and CUDA graphs of `options`.

    Raises `BackendUnavailable`, and `BundleError` for a graph that may not be run; imports its
    library only now.
    """
    if importlib.util.find_spec(info.backend) is None:
        raise BackendUnavailable(f"{info.backend} is not installed: install the cpu or gpu extra")
    manifest, graph = bundle.manifest, bundle.graph()
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
                    graph,
                    precision=info.precision,
                    threads=threads,
                    width=manifest.architecture.width,
                    inputs=manifest.inputs,
                )
                for threads in shared_threads(options.threads or usable_cores(), options.streams)
            ]
        )
    from retort.models.runtime.onnxruntime import NAMES, OnnxRuntimeBackend

    provider = next(name for name in NAMES if name == info.provider)
    return OnnxRuntimeBackend(
        graph,
        provider=provider,
        precision=info.precision,
        inputs=manifest.inputs,
        threads=options.threads,
        pad_id=0 if manifest.layout is None else manifest.layout.pad_id,
        longest=manifest.truncation.max_length,
        profiles=manifest.shape_profiles,
        kept=cache / "onnxruntime" / bundle.digest[:16],
        cuda_graphs=options.cuda_graphs,
    )


def _refusal(options: RuntimeOptions, problems: Sequence[Exception]) -> StartError:
    for problem in problems:
        if isinstance(problem, GoldenMismatch):
            return problem
    asked = f"backend {options.backend}, provider {options.provider}, precision {options.precision}"
    reasons = "; ".join(map(str, problems)) or "there is no such combination"
    return StartError(f"no backend can run as asked ({asked}): {reasons}")


def _measure(backends: Sequence[Backend], encoder: PairEncoder, streams: int) -> dict[str, float]:
    """Pairs per second of each one's fastest run of `streams` batches at once, of one on a GPU.

    The other runs were disturbed. They take turns, so that a noisy moment is bad for all of them
    alike. Before its turn each gets a pause and a run that does not count, because the threads of
    the previous one go on spinning for a while.
    """
    rows, columns = MEASURED_SHAPE[0], min(MEASURED_SHAPE[1], encoder.truncation.max_length)
    batch = same_batch(rows, columns, encoder.pad_id)
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


def choice_file(cache: Path, digest: str, options: RuntimeOptions) -> Path:
    """Where a choice is kept that depends on all that may change which backend is fastest."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    gpus = [str(path) for path in sorted(Path("/dev").glob("nvidia[0-9]*"))]
    machine = [platform.machine(), _cpu(), str(os.cpu_count()), *gpus]
    text = json.dumps([digest, str(options), *machine, versions])
    return cache / f"backend-{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return "".join(sorted({line for line in lines if line.startswith(("model name", "flags"))}))


def recall(path: Path) -> BackendInfo | None:
    """The backend that was kept at `path`; None if there is none that can be read."""
    try:
        return BackendInfo(**json.loads(path.read_text(encoding="utf-8"))["choice"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember(path: Path, info: BackendInfo, pairs_per_second: dict[str, float]) -> None:
    """Keep a choice at `path`. If it cannot be written, the next start measures again."""
    text = json.dumps({"choice": asdict(info), "pairs_per_second": pairs_per_second}, indent=2)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as problem:
        logger.warning("the choice of backend is not kept: %s", problem)
