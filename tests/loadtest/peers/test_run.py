"""The run: whom it admits, and once for real with the tiny student in our own server."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retort.cli import app
from retort.loadtest.peers.api import RETORT
from retort.loadtest.peers.peer import Peer
from retort.loadtest.peers.run import admit, expected_scores, make_places
from retort.loadtest.texts import Request
from retort.models.bundle import Bundle

REQUESTS = [Request("what is a tree", ("a tree is old", "the house is by a river"))]


def test_a_peer_that_does_not_start_is_reported_and_left_out(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    bundle, places = make_places(tmp_path, tiny_bundle, lambda words: None)
    expected = expected_scores(bundle, REQUESTS)
    peer = Peer("broken", "Broken", RETORT, lambda p, python: [str(python), "-c", "exit('no')"])
    with ExitStack() as stack:
        standing, started = admit(stack, peer, places, REQUESTS, expected, lambda words: None)
    assert started is None
    assert standing.problem.endswith("no\n")
    assert not standing.right


def test_what_is_expected_are_the_golden_heads_scores(tiny_bundle: Bundle, tmp_path: Path) -> None:
    bundle, _ = make_places(tmp_path, tiny_bundle, lambda words: None)
    pair = bundle.golden[5]
    (scores,) = expected_scores(bundle, [Request(pair.query, (pair.passage, pair.passage))])
    assert scores == pytest.approx([pair.score] * 2, abs=1e-3)


@pytest.mark.slow
def test_a_short_run_measures_ours_in_two_precisions(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETORT_BACKEND", "onnxruntime")  # `auto` would measure each for a while
    page = tmp_path / "performance.md"
    arguments = ["peers", "--bundle", str(tiny_bundle.folder), "--quick", "--load", "real"]
    arguments += ["--peer", "retort-fp32", "--work", str(tmp_path / "work"), "--json"]
    result = CliRunner().invoke(app, [*arguments, "--output", str(page)])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [one["name"] for one in found["standings"]] == ["retort", "retort-fp32"]
    assert all(one["agreement"]["top1"] == 1 for one in found["standings"])
    (bout,) = found["bouts"]
    assert bout["bare"][0] > 0
    for one in bout["measured"]:
        assert one["rates"][0] > 0
        assert one["cpu_seconds_per_1000"] > 0
        assert one["memory_bytes"] > 1e7
        assert len(one["points"]) == 3
    assert "### Real questions" in page.read_text(encoding="utf-8")
    assert (tmp_path / "peers.svg").is_file()


def test_a_peer_that_nobody_knows_is_an_error() -> None:
    result = CliRunner().invoke(app, ["peers", "--peer", "tei"])
    assert result.exit_code == 1
    assert "no peer is called tei" in result.output
