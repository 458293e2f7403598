from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from retort.models.bundle import Bundle
from retort.service.cli import register
from tests.tiny_texts import PASSAGES, QUERIES


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    app = typer.Typer()
    register(app)
    return app


@pytest.mark.parametrize("command", ["serve", "verify", "score"])
def test_help_has_an_example(app: typer.Typer, command: str) -> None:
    ended = CliRunner().invoke(app, [command, "--help"])
    assert ended.exit_code == 0
    assert f"Example: `retort {command}" in " ".join(ended.stdout.split())


def test_score(app: typer.Typer, tiny_bundle: Bundle) -> None:
    pair = tiny_bundle.golden[0]
    flags = ["--bundle", str(tiny_bundle.folder), "--precision", "fp32", "--json"]
    ended = CliRunner().invoke(app, ["score", pair.query, pair.passage, *PASSAGES[1:], *flags])
    assert ended.exit_code == 0, ended.stderr
    results = json.loads(ended.stdout)["results"]
    assert sorted(result["index"] for result in results) == [0, 1, 2, 3]
    scores = [result["score"] for result in results]
    assert scores == sorted(scores, reverse=True)
    own = next(result for result in results if result["index"] == 0)
    assert own["score"] == pytest.approx(pair.score, abs=1e-3)


def test_score_reads_passages_from_standard_input(app: typer.Typer, tiny_bundle: Bundle) -> None:
    ended = CliRunner().invoke(
        app,
        ["score", QUERIES[0], "-", "--bundle", str(tiny_bundle.folder)],
        input="\n".join(PASSAGES),
    )
    assert ended.exit_code == 0, ended.stderr
    assert len(ended.stdout.splitlines()) == len(PASSAGES)
    assert PASSAGES[0] in ended.stdout


def test_score_refuses_an_empty_query(app: typer.Typer) -> None:
    ended = CliRunner().invoke(app, ["score", " ", "paris"])
    assert ended.exit_code == 1
    assert "error: the query is empty" in ended.stderr


def test_verify(app: typer.Typer, tiny_bundle: Bundle) -> None:
    ended = CliRunner().invoke(app, ["verify", str(tiny_bundle.folder)])
    assert ended.exit_code == 0, ended.stdout + ended.stderr
    assert "files and hashes: ok" in ended.stdout
    assert "onnxruntime/cpu/fp32: ok" in ended.stdout
    ended = CliRunner().invoke(app, ["verify", str(tiny_bundle.folder), "--json"])
    told = json.loads(ended.stdout)
    assert told["passed"] is True
    assert told["golden_pairs"] == len(tiny_bundle.golden)


def test_verify_names_what_is_damaged(
    app: typer.Typer, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    for file in tiny_bundle.folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "tokenizer.json").write_text("{}")
    ended = CliRunner().invoke(app, ["verify", str(tmp_path)])
    assert ended.exit_code == 1
    assert "tokenizer.json: sha256 is" in ended.stderr


def test_settings_that_are_wrong_are_told_plainly(app: typer.Typer) -> None:
    ended = CliRunner().invoke(app, ["serve", "--port", "99999"])
    assert ended.exit_code == 1
    assert "error: settings: port" in ended.stderr
