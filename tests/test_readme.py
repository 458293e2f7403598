"""The README's figures are those of the reports they come from."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.test_targets import TARGETS

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
# The row of the README for each target of docs/performance.md that it names.
TARGETS_NAMED = {
    "throughput over HTTP": "Server over the bare backend loop, pairs/s",
    "… compared with PyTorch's": "Server over `CrossEncoder.predict`, pairs/s",
    "p50 of an idle client": "p50 of an idle client over one bare forward pass",
    "pairs/s under load": "Student over one teacher in PyTorch, pairs/s",
    "… with the ensemble": "Student over the ensemble in PyTorch, pairs/s",
    "… with the same teacher": "Student over a teacher on the same backend, pairs/s",
    "… with a model of BERT-large's": "Student over a BERT-large on the same backend, pairs/s",
    "pairs/s compared with infinity-emb": "Golden head alone over infinity's fastest engine, "
    "128 tokens, pairs/s",
    "p99 of 10 passages": "p99 of 10 passages next to requests of 1,000, over that alone",
    "answered in time": "Answered in time at twice the capacity, of the capacity",
    "padding of mixed": "Padding under mixed real lengths, open load",
    "growth of memory": "Growth of memory over half a million pairs",
}


def row(start: str) -> list[str]:
    """The cells of the README's table row that starts so."""
    lines = [line for line in README.splitlines() if line.startswith(f"| {start}")]
    assert len(lines) == 1, f"{len(lines)} rows start with {start!r}"
    return [cell.strip() for cell in lines[0].strip("|").split("|")]


@pytest.mark.slow
def test_the_python_example_ranks(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    # As it would choose on most machines; the choice itself takes a while.
    code = code.replace('"retort-small"', '"retort-small", backend="openvino", precision="int8"')
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.splitlines()[0].endswith("The tower is 330 metres tall.")


@pytest.mark.parametrize("name", ROWS)
def test_quality_is_as_measured(name: str) -> None:
    report = json.loads((ROOT / "docs/quality.json").read_text())
    roles = report["roles"]
    systems = (roles["student"], "retort-base", roles["teacher"])
    (item,) = [item for item in report["sets"] if item["name"] == name]
    headline = item["headline"]
    measured = [item["systems"][name]["measures"][headline]["value"] for name in systems]
    retained = item["comparisons"][headline]["retained"]["value"]
    expected = [*(f"{value:.3f}" for value in measured), f"{retained:.1%}"]
    assert row(ROWS[name])[1:] == expected


def test_the_mean_over_the_sets_is_as_measured() -> None:
    report = json.loads((ROOT / "docs/quality.json").read_text())
    systems = (report["roles"]["student"], "retort-base", report["roles"]["teacher"])
    means = [
        sum(item["systems"][name]["measures"][item["headline"]]["value"] for item in report["sets"])
        / len(report["sets"])
        for name in systems
    ]
    expected = [*(f"{mean:.3f}" for mean in means), f"{means[0] / means[2]:.1%}"]
    assert row("mean of the five")[1:] == expected


def number(text: str) -> tuple[float, int]:
    """The first number of a cell, a percentage as a share, and how many decimals it has."""
    found = re.search(r"(\d+)(?:\.(\d+))?(%?)", text)
    assert found is not None, text
    decimals = len(found[2] or "") + 2 * bool(found[3])
    return float(f"{found[1]}.{found[2] or 0}") / (100 if found[3] else 1), decimals


@pytest.mark.parametrize("start", TARGETS_NAMED)
def test_speeds_and_goals_are_as_measured(start: str) -> None:
    (target,) = [target for target in TARGETS if target.what == TARGETS_NAMED[start]]
    _, stated, goal, _ = row(start)
    found = target.find()
    assert found is not None
    value, decimals = number(stated)
    assert value == pytest.approx(round(found[0], decimals), abs=1e-9)
    assert number(goal)[0] == target.bound
    assert ("**missed**" in goal) == ("**missed**" in target.cells())
