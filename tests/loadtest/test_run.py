"""The whole benchmark, once and briefly: a real server, a real backend, real clients."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retort.cli import app
from retort.loadtest.run import Options, run_bench
from retort.models.bundle import Bundle
from retort.models.errors import BundleNotFound


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Eight pairs of four queries, of unlike lengths."""
    file = tmp_path / "pairs.tsv"
    queries = ("how tall is the tower", "who wrote hamlet", "where is paris", "what is old")
    rows = [f"{q}\t{p}\n" for q in queries for p in ("Paris is in France.", "old " * 20)]
    file.write_text("".join(rows), encoding="utf-8")
    return file


@pytest.mark.slow
def test_a_short_run_reports_everything(tiny_bundle: Bundle, pairs: Path, tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    arguments = ["bench", "--bundle", str(tiny_bundle.folder), "--pairs", str(pairs)]
    arguments += ["--clients", "3", "--passages", "2", "--rounds", "2", "--seconds", "0.2"]
    arguments += ["--no-cross-encoder", "--output", str(page), "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["failed"] == 0
    assert report["reference"] is None
    assert report["setup"]["batch_pairs"] >= 2
    assert report["setup"]["load"].startswith("8 pairs of pairs.tsv, up to 2 a request")
    for figure in ("bare", "http", "http_of_bare", "idle_of_forward"):
        assert report[figure]["rounds"] == 2
        assert report[figure]["low"] > 0
    assert report["busy"]["count"] > 2
    assert "| server / bare backend loop |" in page.read_text(encoding="utf-8")


def test_a_missing_bundle_is_named() -> None:
    with pytest.raises(BundleNotFound, match="no-such-bundle"):
        run_bench(Options("no-such-bundle"), lambda step: None)
    result = CliRunner().invoke(app, ["bench", "--bundle", "no-such-bundle"])
    assert result.exit_code == 1
    assert "error: no-such-bundle" in result.output


def test_the_length_asked_must_be_one_of_the_bundle(tiny_bundle: Bundle) -> None:
    options = Options(str(tiny_bundle.folder), tokens=500)
    with pytest.raises(ValueError, match="pairs of 500 tokens were asked"):
        run_bench(options, lambda step: None)


def test_the_time_it_takes_is_known_beforehand() -> None:
    assert Options("any", rounds=5, seconds=4).longest_s == 104
    assert Options("any", rounds=5, seconds=4, cross_encoder=False).longest_s == 84
