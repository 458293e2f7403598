"""The run over its parts, with the tiny bundle on a real server, and the page of its record."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from retort.cli import app
from retort.loadtest.experiments.stress import about_s, check_parts, run_stress
from retort.loadtest.options import StressOptions
from retort.loadtest.result import read
from retort.models.bundle import Bundle
from retort.models.errors import BundleNotFound


def test_parts_are_taken_in_their_own_order() -> None:
    assert check_parts(["memory", "padding"]) == ("padding", "memory")
    assert check_parts([])[::5] == ("padding", "memory")
    with pytest.raises(ValueError, match="no part speed: there are padding"):
        check_parts(["speed"])


def test_the_time_it_takes_is_known_beforehand() -> None:
    options = StressOptions(rounds=2, seconds=10, memory_pairs=3000, warmup_pairs=0)
    assert about_s(options, ["memory"]) == 22
    assert about_s(options, ["neighbour"]) == 4 * 12 + 12
    assert about_s(options, check_parts([])) > 3 * about_s(options, ["overload"])


def test_a_missing_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFound, match="no-such-bundle"):
        run_stress(StressOptions("no-such-bundle", keep=tmp_path), lambda line: None)
    result = CliRunner().invoke(app, ["stress", "--bundle", "no-such-bundle", "--only", "memory"])
    assert result.exit_code == 1
    assert "error: no-such-bundle" in result.output
    result = CliRunner().invoke(app, ["stress", "--only", "speed"])
    assert result.exit_code == 1
    assert "error: no part speed" in result.output


@pytest.mark.slow
def test_a_run_keeps_what_it_measured_and_goes_on_after_a_failure(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETORT_BACKEND", "onnxruntime")  # `auto` would measure each for a while
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("what is the tower\tthe tower is old\n", encoding="utf-8")
    record = tmp_path / "keep" / "stress.json"
    folder = str(tiny_bundle.folder)
    options = StressOptions(
        folder, only=["arithmetic", "neighbour"], pairs=pairs, rounds=1, seconds=0.2, clients=2,
        keep=record.parent,
    )  # fmt: skip
    lines: list[str] = []
    measured, failed = run_stress(options, lines.append)
    # The file has one passage, and small requests have ten.
    assert list(failed) == ["neighbour"]
    assert "1 passage" in failed["neighbour"]
    (found,) = measured
    assert read(record) == measured
    assert found.part == "arithmetic"
    assert found.setup.served.startswith("tiny 0.0.1 on ")
    assert lines[:2] == [
        "neighbour, arithmetic: about 0 minutes",
        "starting the server for neighbour",
    ]

    page = tmp_path / "page.md"
    result = CliRunner().invoke(
        app,
        ["stress", "--bundle", folder, "--only", "breakdown", "--keep", str(record.parent),
         "--seconds", "0.2", "--clients", "2", "--output", str(page)],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    kept = {measurement.part: measurement for measurement in read(record)}
    assert kept["arithmetic"] == found
    table = kept["breakdown"].tables[0]
    assert table.cell("all of it, as the client sees it", "2 clients, ms") is not None
    text = page.read_text(encoding="utf-8")
    assert "bare backend loop" in text
    assert "all of it, as the client sees it" in text
    assert read(tmp_path / "measured" / "stress.json") == read(record)
