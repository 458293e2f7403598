"""`retort simulate` as one calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from retort.cli import app

BUNDLE = Path(__file__).parents[2] / "tiny-bundle"


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    file = tmp_path / "pairs.tsv"
    lines = [f"who wrote hamlet\t{'a play ' * n}" for n in range(1, 13)]
    lines += ["where is paris\tParis is in France."]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def run(pairs: Path, *more: str) -> Result:
    words = ["simulate", "--bundle", str(BUNDLE), "--pairs", str(pairs), "--requests", "40"]
    return CliRunner().invoke(app, [*words, *more])


def test_it_prints_what_it_found_and_the_same_again(pairs: Path) -> None:
    first, second = (run(pairs, "--load", "0.5") for _ in range(2))
    assert first.exit_code == 0, first.output
    assert first.stdout == second.stdout
    assert "drawn from 2 of pairs.tsv, 1 to 12 passages each" in first.stdout
    assert "| poisson, 50% | Retort |" in first.stdout


def test_its_page_has_plots_beside_it(pairs: Path, tmp_path: Path) -> None:
    page = tmp_path / "docs" / "page.md"
    done = run(pairs, "--load", "0.3", "--load", "0.6", "--json", "--output", str(page))
    assert done.exit_code == 0, done.output
    assert {point["load"] for point in json.loads(done.stdout)["points"]} == {0.3, 0.6}
    assert sorted(path.name for path in page.parent.iterdir()) == [
        "page-padding.svg",
        "page.md",
        "page.svg",
    ]


def test_a_budget_too_small_for_a_pair_is_an_error(pairs: Path) -> None:
    done = run(pairs, "--batch-tokens", "8")
    assert done.exit_code == 1
    assert "error: batch_tokens is 8" in done.stderr
