"""The run over its parts, with the tiny bundle on a real server."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retort.cli import app
from retort.loadtest.limits.found import Kept
from retort.loadtest.limits.ground import Options
from retort.loadtest.limits.run import PARTS, Missed, about_s, all_kept, check_parts, run_parts
from retort.models.bundle import Bundle
from retort.models.errors import BundleNotFound


def test_parts_are_taken_in_their_own_order() -> None:
    assert check_parts(["memory", "padding"]) == ("padding", "memory")
    assert check_parts([]) == tuple(PARTS)
    with pytest.raises(ValueError, match="no part speed: there are padding"):
        check_parts(["speed"])


def test_the_time_it_takes_is_known_beforehand() -> None:
    options = Options(rounds=2, seconds=10, memory_pairs=3000, warmup_pairs=0)
    assert about_s(options, ["memory"]) == 22
    assert about_s(options, ["neighbour"]) == 4 * 14 + 12
    assert about_s(options, list(PARTS)) > 3 * about_s(options, ["overload"])


def test_a_missing_bundle_is_named() -> None:
    with pytest.raises(BundleNotFound, match="no-such-bundle"):
        list(run_parts(Options("no-such-bundle"), ["memory"], Path("none"), lambda step: None))
    result = CliRunner().invoke(app, ["stress", "--bundle", "no-such-bundle", "--only", "memory"])
    assert result.exit_code == 1
    assert "error: no-such-bundle" in result.output
    result = CliRunner().invoke(app, ["stress", "--only", "speed"])
    assert result.exit_code == 1
    assert "error: no part speed" in result.output


@pytest.mark.slow
def test_a_run_keeps_what_it_finds_and_goes_on_after_a_failure(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("what is the tower\tthe tower is old\n", encoding="utf-8")
    keep = tmp_path / "keep"
    options = Options(str(tiny_bundle.folder), pairs=pairs, rounds=1, seconds=0.4, clients=2)
    steps: list[str] = []
    parts = check_parts(["neighbour", "arithmetic"])
    missed, found = run_parts(options, parts, keep, steps.append)
    # The file has one passage, and small requests have ten.
    assert isinstance(missed, Missed)
    assert "holds 1 passages" in missed.why
    assert isinstance(found, Kept)
    assert found.served.startswith("tiny 0.0.1 on ")
    (row,) = found.finding.rows
    assert row.what.startswith("Bare backend loop over the ")
    assert all_kept(keep) == [found]
    assert steps[0] == "starting the server for neighbour"

    replace(found, created="earlier").write(keep)
    page = tmp_path / "page.md"
    result = CliRunner().invoke(
        app,
        ["stress", "--bundle", str(tiny_bundle.folder), "--only", "breakdown", "--keep", str(keep),
         "--seconds", "0.4", "--clients", "2", "--output", str(page)],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    text = page.read_text(encoding="utf-8")
    assert "| A request's time goes into | 1 client, ms | share | 2 clients, ms | share |" in text
    assert "Bare backend loop" in text
    assert (keep / "breakdown.json").exists()
