"""Recalibrating: another meaning of the scores, the same model."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from retort.cli import app
from retort.models.bundle import Bundle, read_bundle
from retort.models.manifest import Figure, Parity
from retort.models.runtime.golden import compare_golden
from retort.models.runtime.onnxruntime import OnnxRuntimeBackend
from retort.models.scores import Calibration, combine
from retort.training.data.pairs import Pair
from retort.training.export.parity import DEFAULT_BOUNDS
from retort.training.export.recalibrate import recalibrate, widest

ASKED = ("how tall is", "who wrote", "where is", "what is")


def clicks(count: int) -> list[Pair]:
    """Questions about a thing, three passages each; what answers is drawn by lot."""
    draw = np.random.default_rng(count)
    things = ("the eiffel tower", "hamlet", "paris", "france", "the river", "the city")
    return [
        Pair(f"{ask} {thing}", f"{said} {text}", float(draw.uniform() < 0.3), f"{number}")
        for number in range(count)
        for ask, thing in [(ASKED[number % 4], things[number % 6])]
        for said, text in [(things[(number + step) % 6], f"is old {number}") for step in range(3)]
    ]


def test_the_model_and_its_order_stay(tiny_bundle: Bundle, tmp_path: Path) -> None:
    made = recalibrate(tiny_bundle, tmp_path / "made", [clicks(60)], name="made", version="2.0.0")
    assert (made.manifest.name, made.manifest.version) == ("made", "2.0.0")
    for file in ("model.onnx", "tokenizer.json"):
        assert (made.folder / file).read_bytes() == (tiny_bundle.folder / file).read_bytes()
    known = made.manifest.calibration
    assert known is not None
    assert known != Calibration()
    for old, new in zip(tiny_bundle.golden, made.golden, strict=True):
        assert (old.query, old.passage, old.logits) == (new.query, new.passage, new.logits)
        assert new.score == combine([new.logits], known).score[0]
    order = np.argsort([pair.score for pair in tiny_bundle.golden], kind="stable")
    assert (np.diff([made.golden[place].score for place in order]) >= 0).all()
    # It starts: what the manifest says and what the golden pairs say are the same.
    report = compare_golden(OnnxRuntimeBackend(made.graph_path), made.encoder(), made)
    assert report.passed


def test_scores_come_to_fit_the_labels(tiny_bundle: Bundle, tmp_path: Path) -> None:
    pairs = clicks(80)
    made = recalibrate(tiny_bundle, tmp_path / "made", [pairs])
    backend = OnnxRuntimeBackend(made.graph_path)
    encoder = made.encoder()
    encoded = [encoder.encode(pair.query, [pair.passage])[0] for pair in pairs]
    logits = np.concatenate([backend.infer(encoder.collate([pair])) for pair in encoded])
    share = np.mean([pair.label for pair in pairs])
    assert combine(logits, made.manifest.calibration).score.mean() == pytest.approx(share, abs=0.03)


def test_again_is_no_different_from_once(tiny_bundle: Bundle, tmp_path: Path) -> None:
    parity = Parity(
        pairs=100, queries=30, top1_agreement=1.0, kendall_tau=0.99, max_score_difference=0.02,
        ndcg_change=0.0, bounds=DEFAULT_BOUNDS,
    )  # fmt: skip
    quality = {"far AP": Figure(value=0.8), "far calibration error": Figure(value=0.2)}
    manifest = tiny_bundle.manifest.model_copy(update={"parity": parity, "quality": quality})
    old = Bundle(tiny_bundle.folder, manifest, tiny_bundle.digest)
    first = recalibrate(old, tmp_path / "first", [clicks(60)])
    # An error of calibration that was measured on the old scores is not that of the new ones.
    assert list(first.manifest.quality) == ["far AP"]
    known = first.manifest.calibration
    assert known is not None
    assert first.manifest.parity is not None
    expected = widest(known, 0.02)
    assert first.manifest.parity.max_score_difference == pytest.approx(expected)
    detour = recalibrate(first, tmp_path / "second", [clicks(30)])
    again = recalibrate(detour, tmp_path / "third", [clicks(60)])
    assert again.manifest.calibration == known
    assert [pair.score for pair in again.golden] == [pair.score for pair in first.golden]
    fresh = recalibrate(
        first, tmp_path / "fourth", [clicks(60)], quality={"far AP": Figure(value=0.9)}
    )
    assert fresh.manifest.quality["far AP"].value == 0.9


def test_how_far_apart_scores_can_come_to_be() -> None:
    assert widest(Calibration(), 0.02) == pytest.approx(0.02)
    # At one half a gain of 2 doubles a small difference; nowhere does it do more.
    assert widest(Calibration(2.0, 0.0), 1e-4) == pytest.approx(2e-4, rel=0.01)
    assert widest(Calibration(0.5, 0.0), 0.01) > 0.01  # near 0, scores are pulled apart


def test_the_command_writes_a_bundle_in_place(tiny_bundle: Bundle, tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(asdict(pair)) + "\n" for pair in clicks(120)))
    out = tmp_path / "ours"
    command = ["calibrate", str(tiny_bundle.folder), str(out), f"--pairs={file}"]
    result = CliRunner().invoke(app, [*command, f"--held-out={file}", "--version=3.0"])
    assert result.exit_code == 0, result.output
    assert "calibration error on the held-out pairs" in result.stderr
    assert (read_bundle(out).manifest.name, read_bundle(out).manifest.version) == ("ours", "3.0")
    again = CliRunner().invoke(app, ["calibrate", str(out), str(out), f"--pairs={file}", "--json"])
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["version"] == "3.0"
