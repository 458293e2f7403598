"""The command `retort export`: what it takes together, and a folder of the hub."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retort.cli import app
from retort.models.bundle import Bundle, read_bundle
from tests.architectures import save_cross_encoder


def export(*arguments: str) -> tuple[int, str]:
    ended = CliRunner().invoke(app, ["export", *arguments])
    return ended.exit_code, ended.output


def test_a_bundle_s_golden_head_becomes_a_folder_of_the_hub(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    folder, pairs = tmp_path / "hub", tmp_path / "pairs.jsonl"
    lines = [
        json.dumps({"query": p.query, "passage": p.passage, "label": round(p.score)}) + "\n"
        for p in tiny_bundle.golden
    ]
    pairs.write_text("".join(lines))
    options = ["--heads", "golden", "--held-out", str(pairs), "--to-hub-folder", str(folder)]
    status, output = export(str(tiny_bundle.folder), *options)
    assert status == 0, output
    assert f"{folder}: a CrossEncoder (golden)" in output
    assert json.loads((folder / "config.json").read_text())["architectures"] == [
        "BertForSequenceClassification"
    ]


def test_a_cross_encoder_needs_no_labelled_pairs(tmp_path: Path) -> None:
    folder = save_cross_encoder(tmp_path / "m", "bert", 2)
    status, output = export(str(folder), str(tmp_path / "bundle"), "--exact", "--json")
    assert status == 0, output
    manifest = read_bundle(tmp_path / "bundle").manifest
    assert manifest.precision.storage == "fp32"
    assert manifest.activation == "Identity"
    assert manifest.parity is not None
    assert manifest.parity.pairs == 120


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["m"], "name what is exported, and then the folder of the bundle"),
        (["m", "b", "--class", "yes"], "--class yes is for one hub-cross-encoder"),
        (["a", "b", "--to-hub-folder", "c"], "writes one student, not 2"),
    ],
)
def test_what_does_not_go_together_is_told(arguments: list[str], problem: str) -> None:
    status, output = export(*arguments)
    assert status == 1
    assert problem in " ".join(output.split())


def test_exact_says_how_weights_are_stored(tmp_path: Path) -> None:
    folder = save_cross_encoder(tmp_path / "m", "bert")
    given = ["--exact", "--storage", "fp16"]
    status, output = export(str(folder), str(tmp_path / "bundle"), *given)
    assert status == 1
    assert "--exact and --storage fp16: give one of the two" in output
