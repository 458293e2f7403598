"""The benchmark: rounds over things that take a known time, its arithmetic, and once for real."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from retort.cli import app
from retort.loadtest.experiments.bench import (
    Bench,
    Rounds,
    run_bench,
    shared_out,
)
from retort.loadtest.load import Answer, Outcome, Step
from retort.loadtest.options import BenchOptions
from retort.loadtest.result import Cell, read
from retort.loadtest.rounds import Spread
from retort.loadtest.traffic import Traffic, fixed
from retort.models.bundle import Bundle
from retort.models.encoding import Batch, PairEncoder
from retort.models.errors import BundleNotFound

PASSAGES = 4
OPTIONS = BenchOptions("any", clients=8, passages=PASSAGES, rounds=2, seconds=0.02)


def outcome(latency: float, answers: int = 10, status: int = 200) -> Outcome:
    """A closed second with requests of four pairs, one after another, each in `latency` seconds."""
    return Outcome(
        "closed",
        1.0,
        tuple(
            Answer(i * latency, i * latency, (i + 1) * latency, status, PASSAGES)
            for i in range(answers)
        ),
        0.1,
    )


def bench(encoder: PairEncoder, **changes: Any) -> Bench:
    """A benchmark of a backend that takes a millisecond, and of a server that has known times."""

    def forward(batch: Batch) -> object:
        time.sleep(0.001)
        return None

    values: dict[str, Any] = {
        "options": OPTIONS,
        "traffic": fixed(encoder, requests=4, passages=PASSAGES, tokens=32),
        "encoder": encoder,
        "forward": forward,
        "step": lambda clients: Step("http://h", ("{}",), (PASSAGES,), 1.0, users=clients),
        "batch_pairs": 8,
        "run": lambda step: outcome(0.002 * step.users),
    }
    return Bench(**{**values, **changes})


def test_everything_is_measured_in_each_round(encoder: PairEncoder) -> None:
    rounds = bench(encoder).measure(lambda step: None)
    # Batches of eight pairs in a little more than a millisecond each.
    assert all(1_000 < rate < 8_000 for rate in rounds.bare)
    assert [o.latencies[0] for o in rounds.idle] == [pytest.approx(0.002)] * 2
    assert [o.latencies[0] for o in rounds.busy] == [pytest.approx(0.016)] * 2
    assert all(seconds >= 0.001 for times in rounds.forward for seconds in times)
    assert rounds.reference == []


def test_every_other_round_runs_backwards(encoder: PairEncoder) -> None:
    order: list[str] = []

    def forward(batch: Batch) -> object:
        order.append(f"forward {batch.shape[0]}")
        time.sleep(0.03)
        return None

    def run(step: Step) -> Outcome:
        order.append(f"load {step.users}")
        return outcome(0.01)

    def reference(traffic: Traffic, seconds: float) -> float:
        order.append("reference")
        return 7.0

    rounds = bench(encoder, forward=forward, run=run, reference=reference).measure(order.append)
    there = ["reference", "forward 8", "load 8", "load 1", "forward 4"]
    assert [step for step in order if "round" not in step] == [*there, *reversed(there)]
    assert rounds.reference == [7.0, 7.0]


def test_a_load_without_one_answer_is_an_error(encoder: PairEncoder) -> None:
    refusing = bench(encoder, run=lambda step: outcome(0.01, status=503))
    with pytest.raises(RuntimeError, match=r"answered no request .*\{503: 10\}"):
        refusing.measure(lambda step: None)
    # Answered, but nothing that was sent within the counted time.
    slow = Outcome("closed", 1.0, (Answer(-5.0, -5.0, 0.5, 200, 4),), 0.1)
    with pytest.raises(RuntimeError, match="measure for longer"):
        bench(encoder, run=lambda step: slow).measure(lambda step: None)


def rows(rounds: Rounds) -> dict[str, dict[Cell, tuple[Cell, ...]]]:
    """The cells of each table's rows."""
    return {table.name: {row[0]: row[1:] for row in table.rows} for table in rounds.tables(OPTIONS)}


def test_ratios_do_not_see_the_machine_drift() -> None:
    # In the second round the machine runs at half its speed.
    rounds = Rounds(
        bare=[1000.0, 500.0],
        reference=[100.0, 50.0],
        busy=[outcome(0.0044, 227), outcome(0.0088, 113)],
        idle=[outcome(0.012, 80), outcome(0.024, 40)],
        forward=[[0.010], [0.020]],
    )
    found = rows(rounds)
    expected = {
        "server / bare backend loop": 0.9,
        "server / `CrossEncoder.predict`": 9.0,
        "idle p50 / one bare forward pass": 1.2,
    }
    assert list(found["ratios"]) == list(expected)
    for name, value in expected.items():
        (spread,) = found["ratios"][name]
        assert isinstance(spread, Spread)
        assert (spread.low, spread.value, spread.high) == pytest.approx([value] * 3, rel=0.02)
    assert found["rates"]["Bare backend loop"][0] == Spread(750.0, 500.0, 1000.0, 2)
    p50, _, p99, count, failed = found["latencies"]["a request, one idle client"]
    # 80 requests of 12 ms, and the 40 of 24 ms.
    assert [p50, p99] == pytest.approx([12, 24])
    assert (count, failed) == (120, 0)


def test_without_a_reference_its_rows_are_left_out() -> None:
    rounds = Rounds(bare=[1000.0], busy=[outcome(0.01)], idle=[outcome(0.01)], forward=[[0.01]])
    assert len(rows(rounds)["rates"]) == 2
    assert list(rows(rounds)["ratios"]) == [
        "server / bare backend loop",
        "idle p50 / one bare forward pass",
    ]


def test_failed_requests_are_counted() -> None:
    refused = Answer(0.5, 0.5, 0.6, 429, PASSAGES)
    some = Outcome("closed", 1.0, (*outcome(0.01).answers, refused, refused), 0.1)
    rounds = Rounds(bare=[1.0], busy=[some], idle=[outcome(0.01)], forward=[[0.01]])
    latencies = rows(rounds)["latencies"]
    assert [row[-1] for row in latencies.values()] == [2, 0, None]


def test_a_request_is_shared_out_among_streams(encoder: PairEncoder) -> None:
    pairs = encoder.encode("paris", ["tower", "city", "france", "river", "bridge"])
    batches = shared_out(encoder, pairs, 2)
    assert [batch.shape[0] for batch in batches] == [3, 2]
    assert [batch.shape[0] for batch in shared_out(encoder, pairs, 1)] == [5]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Eight pairs of four queries, of unlike lengths."""
    file = tmp_path / "pairs.tsv"
    queries = ("how tall is the tower", "who wrote hamlet", "where is paris", "what is old")
    lines = [f"{q}\t{p}\n" for q in queries for p in ("Paris is in France.", "old " * 20)]
    file.write_text("".join(lines), encoding="utf-8")
    return file


@pytest.mark.slow
def test_a_short_run_reports_everything(
    tiny_bundle: Bundle, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETORT_BACKEND", "onnxruntime")  # `auto` would measure each for a while
    page = tmp_path / "performance.md"
    arguments = ["bench", "--bundle", str(tiny_bundle.folder), "--pairs", str(pairs)]
    arguments += ["--clients", "3", "--passages", "2", "--rounds", "1", "--seconds", "0.2"]
    arguments += ["--no-cross-encoder", "--output", str(page), "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    (found,) = read(tmp_path / "measured" / "bench.json")
    assert json.loads(result.stdout)[0]["experiment"] == found.part == "bench"
    assert any("4 questions of pairs.tsv, 2 passages each" in fact for fact in found.facts)
    for name, row in (
        ("rates", "Bare backend loop"),
        ("rates", "Server, 3 concurrent clients"),
        ("ratios", "server / bare backend loop"),
        ("ratios", "idle p50 / one bare forward pass"),
    ):
        spread = found.table(name).cell(row, "median [lowest, highest]")
        assert isinstance(spread, Spread)
        assert (spread.rounds, spread.low > 0) == (1, True)
    latencies = found.table("latencies")
    assert latencies.cell("a request, 3 concurrent clients", "failed") == 0
    assert "| server / bare backend loop |" in page.read_text(encoding="utf-8")


def test_a_missing_bundle_is_named() -> None:
    with pytest.raises(BundleNotFound, match="no-such-bundle"):
        run_bench(BenchOptions("no-such-bundle"), lambda step: None)
    result = CliRunner().invoke(app, ["bench", "--bundle", "no-such-bundle"])
    assert result.exit_code == 1
    assert "error: no-such-bundle" in result.output


def test_the_length_asked_must_be_one_of_the_bundle(tiny_bundle: Bundle) -> None:
    options = BenchOptions(str(tiny_bundle.folder), tokens=500)
    with pytest.raises(ValueError, match="pairs of 500 tokens do not fit"):
        run_bench(options, lambda step: None)
