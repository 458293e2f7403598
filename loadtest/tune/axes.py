"""The axes: what a setting may be on this machine, one axis after the other.

All of them at once would be hundreds of candidates. So each axis is tried on the few candidates
that did best on the one before, and they are in an order in which an early choice hardly hangs on
a later one: what runs, how many at once, how large a batch is, how finely lengths are parted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from retort.loadtest.tune.candidate import Candidate
from retort.models.runtime.choose import CANDIDATES, Wish

CPU_BATCH_TOKENS, GPU_BATCH_TOKENS = (512, 1_024, 2_048, 4_096), (8_192, 16_384, 32_768)
CPU_STEPS, GPU_STEPS = (4, 8, 16), (16, 32, 64)
GPU_SLOTS = (1, 2, 3)
MOST_STREAMS = 16

Values = Callable[[Candidate], list[Candidate]]


@dataclass(frozen=True, slots=True)
class Axis:
    """What varies, and the variants of a candidate along it."""

    name: str
    variants: Values


def engines(wish: Wish) -> list[Candidate]:
    """Every backend, provider and precision that `wish` allows, whether it runs here or not."""
    return [Candidate(info) for info in CANDIDATES if wish.allows(info)]


def axes(*, cores: int, longest: int) -> list[Axis]:
    """The axes after the engine, for pairs of up to `longest` tokens."""

    def parallel(candidate: Candidate) -> list[Candidate]:
        if _on_gpu(candidate):
            return [replace(candidate, slots=slots) for slots in GPU_SLOTS]
        return [
            replace(candidate, threads=threads, streams=streams)
            for threads, streams in parallelism(cores)
        ]

    def budgets(candidate: Candidate) -> list[Candidate]:
        values = GPU_BATCH_TOKENS if _on_gpu(candidate) else CPU_BATCH_TOKENS
        kept = [tokens for tokens in values if tokens >= longest]
        return [replace(candidate, batch_tokens=tokens) for tokens in kept or (longest,)]

    def steps(candidate: Candidate) -> list[Candidate]:
        values = GPU_STEPS if _on_gpu(candidate) else CPU_STEPS
        kept = [step for step in values if step <= longest]
        return [replace(candidate, length_step=step) for step in kept or (longest,)]

    return [
        Axis("threads and streams", parallel),
        Axis("tokens of a batch", budgets),
        Axis("steps of length", steps),
    ]


def parallelism(cores: int) -> Sequence[tuple[int, int]]:
    """Threads and streams worth trying; 0 threads means one to each core.

    A core less leaves one to HTTP and tokenizing, half of them leaves out hyper-threads. The
    streams share the threads.

    >>> parallelism(2)
    [(0, 1), (0, 2)]
    """
    counts = [cores] if cores < 4 else [cores, cores - 1, cores // 2]
    return [
        (0 if threads == cores else threads, streams)
        for threads in counts
        for streams in (2**power for power in range(MOST_STREAMS.bit_length()))
        if streams <= threads
    ]


def _on_gpu(candidate: Candidate) -> bool:
    return candidate.engine is not None and candidate.engine.on_gpu
