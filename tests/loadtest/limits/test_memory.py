"""Growth of memory: its slope, and whether it is one."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retort.loadtest.client import Load, Outcome
from retort.loadtest.limits.memory import Memory, Sample, Sampler, measure_memory, resident_bytes
from tests.loadtest.limits.ground import sleepy_ground


def samples(slope: float, noise: float = 0.0, count: int = 200) -> tuple[Sample, ...]:
    """A hundred MB and `slope` bytes a pair, a sample every hundred pairs."""
    chance = np.random.default_rng(0)
    return tuple(
        Sample(100.0 * n, 1e8 + slope * 100.0 * n + chance.normal(0, noise or 1e-9))
        for n in range(count)
    )


def test_a_leak_is_found() -> None:
    found = Memory(samples(slope=200.0, noise=1e4), warmup_pairs=0)
    assert found.slope.value == pytest.approx(200, rel=0.01)
    assert found.slope.low < 200 < found.slope.high
    # From the middle of the first tenth to that of the last.
    assert found.growth == pytest.approx(200 * 18_000, rel=0.02)
    assert not found.flat
    assert found.finding().rows[0].found == "+3.6 MB of 100 MB"


def test_noise_is_no_leak_and_neither_is_a_page_or_two() -> None:
    assert Memory(samples(slope=0.0, noise=1e7), 0).flat
    unsure = Memory(samples(slope=300.0, noise=2e7), 0)
    assert unsure.slope.low < 0 < unsure.slope.value
    assert unsure.growth > 1e6
    assert unsure.flat
    little = Memory(samples(slope=10.0, noise=1e3), 0)
    assert little.slope.low > 0
    assert little.flat


def test_the_warm_up_is_not_counted() -> None:
    growing = [Sample(s.pairs, s.resident + 1e6 * min(s.pairs, 5000)) for s in samples(0.0)]
    assert not Memory(tuple(growing), warmup_pairs=0).flat
    found = Memory(tuple(growing), warmup_pairs=5000)
    assert found.flat
    assert len(found.counted) == 150
    assert len(found.finding().points) == 200


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match=r"9 samples after 0 pairs of warm-up"):
        Memory(samples(0.0, count=9), 0)


def test_a_process_holds_what_it_fills() -> None:
    before = resident_bytes(os.getpid())
    held = np.ones(50_000_000, dtype=np.uint8)
    assert 40e6 < resident_bytes(os.getpid()) - before < 80e6
    assert held.sum() == 50_000_000


def test_samples_are_taken_at_both_ends_and_between() -> None:
    sampler = Sampler(lambda: Sample(time.perf_counter(), 1.0), every_s=0.02)
    with sampler.running():
        time.sleep(0.2)
    assert 4 <= len(sampler.samples) <= 12


@pytest.mark.slow
def test_a_real_server_is_loaded_until_it_has_scored_so_many_pairs(tmp_path: Path) -> None:
    loads: list[Load] = []
    with sleepy_ground(tmp_path) as ground:
        send = ground.send

        def sent(load: Load) -> Outcome:
            loads.append(load)
            return send(load)

        options = replace(ground.options, memory_pairs=1_200, warmup_pairs=100)
        found = measure_memory(replace(ground, options=options, send=sent))
    assert found.failed == 0
    assert found.samples[-1].pairs >= 1_300
    assert all(sample.resident > 1e7 for sample in found.samples)
    assert len({load.bodies for load in loads}) == len(loads)
