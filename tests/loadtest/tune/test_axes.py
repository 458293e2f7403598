"""The axes: which values are tried on which machine."""

from __future__ import annotations

from retort.loadtest.tune.axes import axes, engines, parallelism
from retort.loadtest.tune.candidate import Candidate
from retort.models.runtime.base import BackendInfo
from retort.models.runtime.choose import Wish

CPU = Candidate(BackendInfo("openvino", "cpu", "int8"))
GPU = Candidate(BackendInfo("onnxruntime", "cuda", "fp32"))


def test_engines_are_those_asked_for() -> None:
    found = [candidate.engine for candidate in engines(Wish(backend="openvino"))]
    assert {info.backend for info in found if info} == {"openvino"}
    assert len(engines(Wish())) > len(found) > 1


def test_two_cores_have_one_stream_or_two() -> None:
    assert parallelism(1) == [(0, 1)]
    assert parallelism(2) == [(0, 1), (0, 2)]


def test_more_cores_may_leave_some_to_others() -> None:
    found = parallelism(16)
    assert {threads for threads, _ in found} == {0, 15, 8}
    assert [streams for threads, streams in found if threads == 0] == [1, 2, 4, 8, 16]
    assert max(streams for threads, streams in found if threads == 8) == 8


def test_each_axis_varies_its_own_settings_and_keeps_the_rest() -> None:
    streams, budgets, steps = axes(cores=2, longest=128)
    leader = streams.variants(CPU)[1]
    assert (leader.engine, leader.streams) == (CPU.engine, 2)
    wider = budgets.variants(leader)
    assert [candidate.batch_tokens for candidate in wider] == [512, 1024, 2048, 4096]
    assert {candidate.streams for candidate in wider} == {2}
    assert [candidate.length_step for candidate in steps.variants(wider[0])] == [4, 8, 16]


def test_on_a_gpu_slots_and_larger_batches_are_tried() -> None:
    streams, budgets, _ = axes(cores=16, longest=128)
    assert [candidate.slots for candidate in streams.variants(GPU)] == [1, 2, 3]
    assert min(c.batch_tokens or 0 for c in budgets.variants(GPU)) > 4096


def test_no_budget_is_too_small_for_a_pair_and_no_step_larger_than_one() -> None:
    _, budgets, steps = axes(cores=2, longest=2048)
    assert [candidate.batch_tokens for candidate in budgets.variants(CPU)] == [2048, 4096]
    _, _, steps = axes(cores=2, longest=8)
    assert [candidate.length_step for candidate in steps.variants(CPU)] == [4, 8]
    _, budgets, _ = axes(cores=2, longest=10_000)
    assert [candidate.batch_tokens for candidate in budgets.variants(CPU)] == [10_000]
