"""The script as a whole, in tiny form and on the CPU: `loadtest/gpu.sh` and its parts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from retort.loadtest.gpu import parse
from tests.tiny_texts import PASSAGES, QUERIES

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "loadtest" / "gpu.sh"


def measure(out: Path, **settings: str) -> str:
    done = subprocess.run(
        ["bash", str(SCRIPT)],
        cwd=ROOT,
        env={**os.environ, "PYTHON": sys.executable, "OUT": str(out), "DEVICE": "cpu", **settings},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_it_measures_all_and_tells_what_failed(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.tsv"
    lines = [f"{query}\t{passage}" for query in QUERIES for passage in PASSAGES]
    pairs.write_text("\n".join(lines) + "\n")
    shown = measure(
        tmp_path / "out",
        BUNDLE="tests/tiny-bundle",
        TEACHER=str(tmp_path / "no-such-bundle"),
        PAIRS=str(pairs),
        PASSAGES="2 3",
        TOKENS="32",
        ROUNDS="2",
        SECONDS_EACH="0.5",
        CLIENTS="2",
        TEACHERS="1x64",
    )
    found = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert set(found["failed"]) == {"http-teacher"}, found["failed"]
    assert "no-such-bundle" in found["failed"]["http-teacher"]
    assert found["probe-fp32"]["passed"]
    (first, second) = found["bare"]["rounds"]
    assert len(first) == 3
    assert list(second) == list(reversed(first)), "every other round goes backwards"
    assert set(found["http-fp32"]) == {"2", "3"}
    assert found["http-fp32"]["2"]["http"]["median"] > 0
    page = (tmp_path / "out" / "gpu.md").read_text()
    assert page in shown
    assert "| fp32 | reproduced |" in page
    assert "Part `http-teacher` failed:" in page
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "gpu.md",
        "gpu.json",
        "gpu.log",
    }


def test_without_time_it_still_reports(tmp_path: Path) -> None:
    measure(tmp_path / "out", TOTAL_SECONDS="10")
    found = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert set(found["failed"]) >= {"machine", "probe-fp32", "bare"}
    assert found["failed"]["machine"] == "no time was left for it"


def test_a_part_wants_a_variant_of_its_device(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["probe", "fp16", "--device", "cpu", "--out", "x"])
    assert "probe on cpu wants one of ['fp32']" in capsys.readouterr().err


def test_the_wheels_it_needs_are_pinned() -> None:
    text = SCRIPT.read_text()
    needed = text.partition('NEEDED="')[2].partition('"')[0].split()
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    assert {name.lower().replace("_", "-") for name in needed} <= pinned
