"""A candidate: what it sets, and what it is called."""

from __future__ import annotations

from retort.loadtest.tune.candidate import DEFAULTS, TUNED_SETTINGS, Candidate
from retort.models.runtime.base import BackendInfo
from retort.service.settings import Settings

FULL = Candidate(
    BackendInfo("openvino", "cpu", "bf16"), threads=0, streams=2, slots=3, batch_tokens=4096,
    length_step=8,
)  # fmt: skip


def test_settings_are_those_that_are_set() -> None:
    assert DEFAULTS.settings == {}
    assert Candidate(streams=2).settings == {"streams": 2}
    assert tuple(FULL.settings) == TUNED_SETTINGS


def test_the_server_takes_them() -> None:
    settings = Settings(**FULL.settings)
    assert {name: getattr(settings, name) for name in TUNED_SETTINGS} == FULL.settings


def test_the_name_tells_what_is_set() -> None:
    assert str(DEFAULTS) == "the defaults"
    told = "openvino/cpu/bf16, all threads, 2 streams, 3 slots, batches of 4,096 tokens, steps of 8"
    assert str(FULL) == told
    assert str(Candidate(threads=1, streams=1)) == "1 thread, 1 stream"
