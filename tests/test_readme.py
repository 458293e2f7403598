"""The README's figures are those of the reports they come from."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# The row of the README for each evaluation set.
ROWS = {
    "neuronblocks-test": "NeuronBlocks web QA",
    "wikiqa-test": "WikiQA",
    "trecqa-test": "TREC-QA",
    "rerank-squad": "SQuAD",
    "rerank-qed": "Natural Questions",
}
# What `retort bench` calls a ratio, and the row of the README that gives it.
RATIOS = {
    "server / bare backend loop": "HTTP throughput beside the bare engine",
    "server / `CrossEncoder.predict`": "beside PyTorch's `CrossEncoder.predict`",
    "idle p50 / one bare forward pass": "an idle client's p50",
}


def row(start: str) -> list[str]:
    """The cells of the README's table row that starts so."""
    lines = [line for line in README.splitlines() if line.startswith(f"| {start}")]
    assert len(lines) == 1, f"{len(lines)} rows start with {start!r}"
    return [cell.strip() for cell in lines[0].strip("|").split("|")]


@pytest.mark.parametrize("name", ROWS)
def test_quality_is_as_measured(name: str) -> None:
    report = json.loads((ROOT / "docs/quality.json").read_text())
    roles = report["roles"]
    (item,) = [item for item in report["sets"] if item["name"] == name]
    headline = item["headline"]
    measured = [
        item["systems"][roles[role]]["measures"][headline]["value"]
        for role in ("undistilled", "student", "teacher")
    ]
    retained = item["comparisons"][headline]["retained"]["value"]
    expected = [*(f"{value:.3f}" for value in measured), f"{retained:.1%}"]
    assert row(ROWS[name])[1:] == expected


@pytest.mark.parametrize("name", RATIOS)
def test_speed_is_as_measured(name: str) -> None:
    text = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith(f"| {name} ")]
    assert len(lines) == 1
    median = float(lines[0].split("|")[2])
    stated = row(RATIOS[name])[1]
    value = float(re.sub(r"[^\d.]", "", stated)) / (100 if "%" in stated else 1)
    digits = 2 if "%" in stated else len(re.sub(r"[^\d.]", "", stated).partition(".")[2])
    assert value == pytest.approx(round(median, digits), abs=1e-9)


LOADS = {
    "one teacher, PyTorch fp32": "pairs a second beside one 6-layer teacher",
    "ensemble of 3 teachers, PyTorch fp32": "beside the ensemble of its three teachers",
    "teacher, same backend": "beside the same teacher",
    "BERT-large, same backend (shape only)": "beside a model of BERT-large's shape",
}


@pytest.mark.parametrize("name", LOADS)
def test_speedups_under_load_are_as_measured(name: str) -> None:
    text = (ROOT / "docs/loadtest.md").read_text(encoding="utf-8")
    table = text.partition("## Faster than a teacher")[2].partition("\n## ")[0]
    (line,) = [line for line in table.splitlines() if line.startswith(f"| {name} ")]
    assert row(LOADS[name])[1] == f"{line.split('|')[2].strip()} times"
