"""A lane: a candidate through queue and policy, in this process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from retort.loadtest.texts import Request
from retort.loadtest.tune.candidate import Candidate
from retort.loadtest.tune.lane import Garage
from retort.models.bundle import Bundle
from retort.models.encoding import Batch
from retort.models.errors import StartError
from retort.models.runtime.base import BackendInfo, LogitArray
from retort.service.errors import InferenceFailed
from tests.fake_bundle import overlap
from tests.loadtest.tune.garage import ENGINE, SLOW_S, candidate, make_garage, slow
from tests.service.running import fragile

REQUESTS = (Request("what is old", ("ice is old", "Paris is in France", "what")),)


def test_a_turn_counts_pairs_and_times_requests(tmp_path: Path) -> None:
    lane = make_garage(tmp_path, {1: slow}).lane(candidate(1))
    alone = lane.turn(REQUESTS, clients=1, seconds=0.5)
    assert min(alone.latencies) >= SLOW_S
    assert 0 < alone.pairs_per_second <= 3 / SLOW_S
    # Requests that wait meet in one batch, which takes no longer than one of them alone.
    busy = lane.turn(REQUESTS, clients=8, seconds=0.5)
    assert busy.pairs_per_second > 1.5 * alone.pairs_per_second


def test_a_request_longer_than_the_turn_is_timed_too(tmp_path: Path) -> None:
    lane = make_garage(tmp_path, {1: slow}).lane(candidate(1))
    assert len(lane.turn(REQUESTS, clients=1, seconds=1e-9).latencies) >= 1


def test_the_settings_reach_the_policy(tmp_path: Path) -> None:
    garage = make_garage(tmp_path, {2: overlap})
    wanted = replace(candidate(2), batch_tokens=512, length_step=8)
    loaded = garage.lane(wanted).loaded
    assert loaded.slots == 2
    assert loaded.policy.batch_tokens == 512
    assert loaded.policy.lengths[:2] == (8, 16)


def test_candidates_of_one_engine_share_its_backend(tiny_bundle: Bundle) -> None:
    garage = Garage(tiny_bundle)
    one = garage.lane(Candidate(ENGINE, batch_tokens=512))
    other = garage.lane(Candidate(ENGINE, batch_tokens=1024))
    third = garage.lane(Candidate(ENGINE, streams=2))
    assert one.loaded.chosen.backend.info == ENGINE
    assert one.loaded.chosen.backend is other.loaded.chosen.backend
    assert one.loaded.chosen.backend is not third.loaded.chosen.backend
    garage.keep([third])
    assert list(garage.backends) == [(ENGINE, None, 2)]


def test_wrong_scores_are_refused(tmp_path: Path) -> None:
    def wrong(batch: Batch) -> LogitArray:
        return -overlap(batch)

    with pytest.raises(StartError, match="does not reproduce the golden scores"):
        make_garage(tmp_path, {1: wrong}).lane(candidate(1))


def test_a_runtime_that_fails_while_warming_up_is_refused(tmp_path: Path) -> None:
    def small(batch: Batch) -> LogitArray:
        if batch.shape[0] > 16:
            raise MemoryError("too many rows")
        return overlap(batch)

    with pytest.raises(StartError, match="MemoryError while warming up: too many rows"):
        make_garage(tmp_path, {1: small}).lane(candidate(1))


def test_what_cannot_run_is_refused(tiny_bundle: Bundle) -> None:
    engine = BackendInfo("openvino", "cpu", "int8")
    with pytest.raises(StartError, match="stores its weights as fp32"):
        Garage(tiny_bundle).lane(Candidate(engine))


def test_a_pair_without_a_score_fails_the_turn(tmp_path: Path) -> None:
    lane = make_garage(tmp_path, {1: fragile}).lane(candidate(1))
    with pytest.raises(InferenceFailed, match="no per cent"):
        lane.turn((Request("what is old", ("50 % of it",)),), clients=2, seconds=0.1)
