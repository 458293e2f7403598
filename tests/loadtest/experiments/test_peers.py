"""`retort peers`: who ranks rightly and is measured, the record, and a short run of ours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retort.cli import app
from retort.loadtest.experiments.peers import (
    Agreement,
    admit,
    check_ranking,
    expected_scores,
    report,
)
from retort.loadtest.load import Answer, Outcome
from retort.loadtest.options import PeersOptions
from retort.loadtest.peers.catalog import Forms, Peer
from retort.loadtest.peers.convert import convert
from retort.loadtest.peers.turns import BARE, Figures
from retort.loadtest.result import Setup
from retort.loadtest.rounds import OpenLoad, Spread
from retort.loadtest.targets import Target
from retort.loadtest.traffic import Request, Traffic
from retort.models.bundle import Bundle
from tests.loadtest.peers.contestants import Idle, Track

REQUESTS = (Request("one", ("a", "b", "c")), Request("two", ("a", "b", "c")))
EXPECTED = [[0.9, 0.5, 0.1], [0.1, 0.5, 0.9]]


def ranked(*answers: Sequence[float]) -> Agreement:
    """How these answers to the requests agree with what is expected."""
    given = iter(answers)
    return check_ranking(REQUESTS, lambda request: next(given), EXPECTED)


def test_the_same_scores_agree() -> None:
    found = ranked(*EXPECTED)
    assert found == Agreement(1.0, 1.0, 0.0)
    assert found.right


def test_a_swap_counts_by_the_share_of_pairs_in_another_order() -> None:
    found = ranked(EXPECTED[0], [0.1, 0.9, 0.5])
    assert found.top1 == 0.5
    assert found.tau == pytest.approx((1 + 1 / 3) / 2)
    assert found.largest_difference == pytest.approx(0.4)
    assert not found.right


def test_equal_scores_are_no_ranking() -> None:
    assert ranked([0.5, 0.5, 0.5], EXPECTED[1]).tau == pytest.approx(0.5)


@pytest.mark.parametrize(("top1", "tau"), [(0.94, 1.0), (1.0, 0.96)])
def test_either_bound_can_be_missed(top1: float, tau: float) -> None:
    assert not Agreement(top1, tau, 0.0).right


def test_a_peer_that_does_not_start_is_reported_and_left_out(tmp_path: Path) -> None:
    command = ("python", "-c", "exit('no | library')")
    peer = Peer("broken", lambda forms, python: Target("broken", "Broken", command))
    with ExitStack() as stack:
        check, server = admit(
            stack, peer, Forms.inside(tmp_path), tmp_path, REQUESTS, EXPECTED, lambda line: None
        )
    assert server is None
    assert isinstance(check, str)
    assert check.endswith("no | library\n")


def test_the_golden_heads_scores_are_expected(tiny_bundle: Bundle, tmp_path: Path) -> None:
    golden = convert(tiny_bundle, Forms.inside(tmp_path))
    pair = golden.golden[5]
    (scores,) = expected_scores(golden, [Request(pair.query, (pair.passage, pair.passage))])
    assert scores == pytest.approx([pair.score] * 2, abs=1e-3)


def figures(name: str, label: str, *rates: float) -> Figures:
    """A server whose p99 is 50 ms up to 200 pairs per second, and then 400 ms."""
    track = Track((Idle(name, 100.0, label),))
    (found,) = track.figures
    for rate in rates:
        found.closed.append(_closed(rate))
    for offered, p99_ms in ((50.0, 40.0), (300.0, 400.0), (200.0, 50.0), (310.0, 60.0)):
        times = (p99_ms / 4, p99_ms / 2, p99_ms)
        found.points.append(OpenLoad(offered, 0.9 * offered, *times, 0.0, 100, 0.5))
    found.cpu_seconds, found.pairs, found.memory_bytes, found.failed = 2.5, 1000, 400_000_000, 1
    return found


def _closed(rate: float) -> Outcome:
    answers = (Answer(0.0, 0.0, 1.0, 200, round(rate)),)
    return Outcome("closed", 1.0, answers, 0.1)


def test_the_record_has_ranking_throughput_latency_and_ratios() -> None:
    setup = Setup("2026-01-01", "retort peers", "a machine", "tiny 1")
    options = PeersOptions(rounds=2, p99_ms=100.0)
    servers = [
        figures("retort", "retort", 400.0, 440.0),
        figures("infinity", "infinity-emb, PyTorch fp32", 100.0, 110.0),
        figures("infinity-bf16", "infinity-emb, PyTorch bf16", 200.0, 220.0),
        figures("triton", "Triton", 1.0),
    ]
    servers[-1].problem = "it ended:\nno | library"
    checks: dict[str, Agreement | str] = {
        "retort": Agreement(1.0, 0.999, 0.0012),
        "infinity-emb, ONNX Runtime": Agreement(0.8, 0.7, 0.4),
        "Triton": "the server ended with status 1:\nno | library",
    }
    traffic = Traffic("fixed", "10 passages of 128 tokens", REQUESTS)
    measurement = report(setup, options, checks, [(traffic, servers, [500.0, 550.0])])
    ranking = measurement.table("ranking")
    assert ranking.cell("infinity-emb, ONNX Runtime", "") == "**ranks wrongly**, not measured"
    assert ranking.cell("Triton", "") == "not run: no / library"
    assert ranking.cell("retort", "Kendall's tau") == 0.999

    table = measurement.table("fixed")
    assert table.cell("retort", "closed load, pairs/s") == Spread(420.0, 400.0, 440.0, 2)
    times = table.cell("infinity-emb, PyTorch fp32", "times as fast is retort")
    assert isinstance(times, Spread)
    assert times.value == pytest.approx(4.0)
    assert table.cell("retort", "pairs/s held with p99 ≤ 100 ms") == 200.0
    assert table.cell("retort", "CPU s per 1,000 pairs") == 2.5
    assert table.cell("retort", "memory, MB") == 400
    assert table.cell(BARE, "closed load, pairs/s") == Spread(525.0, 500.0, 550.0, 2)
    assert [row[0] for row in table.rows if row[0] == "Triton"] == []
    assert measurement.notes[0] == "Triton failed: no / library"
    opened = measurement.table("fixed open").rows
    assert len(opened) == 3 * 4
    assert opened[0] == ("retort", "the same for all", 50.0, 45.0, 10.0, 20.0, 40.0, 0.0, 100)
    assert [row[1] for row in opened[::3]] == [
        "the same for all", "80% of its own rate", "search", "search",
    ]  # fmt: skip

    (best, p99, bare) = measurement.table("ratios").rows
    assert best[1] == "infinity-emb, PyTorch bf16"
    assert isinstance(best[2], Spread)
    assert best[2].value == pytest.approx(2.0)
    assert p99[2] == pytest.approx(1.0)
    assert isinstance(bare[2], Spread)
    assert bare[2].value == pytest.approx(0.8)
    assert len(measurement.plots[0].panels[0].lines) == 3
    assert [point[0] for point in measurement.plots[0].panels[0].lines[0].points] == [
        50.0, 200.0, 300.0, 310.0,
    ]  # fmt: skip


def test_a_record_of_nobody_measured_has_the_ranking_alone() -> None:
    setup = Setup("2026-01-01", "retort peers", "a machine", "tiny 1")
    measurement = report(setup, PeersOptions(), {"retort": "no"}, [])
    assert [table.name for table in measurement.tables] == ["ranking"]
    assert measurement.plots == ()


@pytest.mark.slow
def test_a_short_run_measures_ours_in_two_precisions(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETORT_BACKEND", "onnxruntime")  # `auto` would measure each for a while
    page = tmp_path / "performance.md"
    pairs = tmp_path / "pairs.tsv"
    # Small requests, so that short loads hold many.
    pairs.write_text("".join(f"where is {n}\tit is in paris\n" for n in range(20)))
    arguments = ["peers", "--bundle", str(tiny_bundle.folder), "--quick", "--load", "real"]
    arguments += ["--pairs", str(pairs)]
    arguments += ["--peer", "retort-fp32", "--work", str(tmp_path / "work"), "--json"]
    result = CliRunner().invoke(app, [*arguments, "--output", str(page)])
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)
    ranking, throughput, opened, ratios = found["tables"]
    assert [row[0] for row in ranking["rows"]] == ["retort", "retort, fp32"]
    assert [row[1] for row in ranking["rows"]] == [1.0, 1.0]
    ours, fp32, bare = throughput["rows"]
    for row in (ours, fp32):
        assert row[1]["value"] > 0
        assert row[4] > 0
        assert row[5] > 10
    assert bare[1]["value"] > 0
    assert len(opened["rows"]) == 2 * 3
    assert ratios["rows"][-1][0] == "HTTP over the bare loop"
    assert [len(line["points"]) for line in found["plots"][0]["panels"][0]["lines"]] == [3, 3]
    assert "### Real questions" in page.read_text(encoding="utf-8")
    assert (tmp_path / "peers.svg").is_file()


def test_a_peer_that_nobody_knows_is_an_error() -> None:
    result = CliRunner().invoke(app, ["peers", "--peer", "tei"])
    assert result.exit_code == 1
    assert "no peer is called tei" in result.output
