"""The command `retort tune`: what it refuses, and what `make serve` makes of its file."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retort.cli import app

MAKEFILE = Path(__file__).parents[3] / "Makefile"


def test_a_missing_bundle_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    output = tmp_path / "tuned.yaml"
    arguments = ["tune", "--bundle", "no-such-bundle", "--output", str(output)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "error: no-such-bundle" in result.output
    assert not output.exists()


def test_an_unknown_precision_is_told_with_those_there_are() -> None:
    result = CliRunner().invoke(app, ["tune", "--precision", "int4"])
    assert result.exit_code == 1
    assert "precision" in result.output
    assert "'int8'" in result.output


@pytest.mark.parametrize(
    ("written", "arguments", "taken"),
    [
        ("bundle: retort-small\n", [], True),
        ("bundle: another\n", [], False),
        ("bundle: another\n", ["BUNDLE=another"], True),
        ("bundle: retort-small\n", ["TUNED="], False),
        (None, [], False),
    ],
)
def test_make_serve_takes_what_was_tuned_for_its_bundle(
    tmp_path: Path, written: str | None, arguments: list[str], taken: bool
) -> None:
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    if written is not None:
        (tmp_path / "runs").mkdir()
        (tmp_path / "runs" / "tuned.yaml").write_text(f"# head\n{written}threads: 0\n")
    command = ["make", "-n", "-f", str(MAKEFILE), "serve", *arguments]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert ("--settings runs/tuned.yaml" in done.stdout) is taken
    assert "retort serve --bundle" in done.stdout
