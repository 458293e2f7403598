from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from retort.loadtest.gpu_report import write_report


def part(out: Path, name: str, found: dict[str, Any]) -> None:
    folder = out / "parts"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(found))


def a_round(fast: float, slow: float) -> dict[str, Any]:
    return {
        "ONNX Runtime cuda fp16": {"10": {"pairs_per_second": fast, "p50_ms": 0.5}},
        "PyTorch fp16 student, 3x384": {"10": {"pairs_per_second": slow, "p50_ms": 2.0}},
    }


def test_ratios_are_taken_within_a_round(tmp_path: Path) -> None:
    rounds = [a_round(30.0, 10.0), a_round(90.0, 45.0), a_round(50.0, 10.0)]
    part(tmp_path, "bare", {"rounds": rounds})
    write_report(tmp_path)
    page = (tmp_path / "gpu.md").read_text()
    assert "| ONNX Runtime cuda fp16 | 50 (30 to 90) | 3.00 | 0.50 |" in page
    assert "| PyTorch fp16 student, 3x384 | 10 (10 to 45) | 1.00 | 2.00 |" in page


def test_what_failed_is_told_and_leaves_the_rest(tmp_path: Path) -> None:
    golden = {"max_difference": 0.02, "tolerance": 0.01}
    probe = {"passed": False, "golden": golden, "cuda_graphs": True, "seconds": 3.0}
    part(tmp_path, "probe-fp16-graphs", probe)
    (tmp_path / "parts" / "probe-tensorrt-fp16.failed").write_text("no libnvinfer\nstatus 1")
    write_report(tmp_path)
    page = (tmp_path / "gpu.md").read_text()
    assert "| fp16-graphs | **not reproduced** | 0.0200 of 0.0100 | yes | 3.0 |" in page
    assert "Part `probe-tensorrt-fp16` failed:" in page
    assert "no libnvinfer" in page
    assert "* GPU: none" in page
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["failed"] == {"probe-tensorrt-fp16": "no libnvinfer\nstatus 1"}
    assert found["probe-fp16-graphs"]["golden"] == golden


def test_servers_stand_beside_what_was_wanted(tmp_path: Path) -> None:
    spread = {"median": 21_000.0, "low": 1.0, "high": 2.0}
    share = {"median": 0.85, "low": 0.8, "high": 0.9}
    report = {
        "http": spread,
        "http_of_bare": share,
        "idle": {"p50_ms": 2.5},
        "busy": {"p99_ms": 80.0},
        "failed": 0,
    }
    part(tmp_path, "http-fp16-graphs", {"100": report})
    write_report(tmp_path)
    page = (tmp_path / "gpu.md").read_text()
    assert "80% of the bare loop and 20,000 pairs/s" in page
    assert "| fp16-graphs | 100 | 21,000 | 0.85 (0.80 to 0.90) | 2.50 | 80.0 | 0 |" in page
