"""The measurement of a GPU: `loadtest/gpu.sh` as a whole, tiny and on the CPU, and its report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from retort.loadtest.experiments.gpu.options import parse
from retort.loadtest.experiments.gpu.parts import write_part
from retort.loadtest.experiments.gpu.passes import torch_encoder
from retort.loadtest.experiments.gpu.report import write_report
from retort.loadtest.experiments.gpu.variants import VARIANTS
from retort.loadtest.result import read
from retort.models.bundle import Bundle
from retort.models.runtime.base import BackendUnavailable, same_batch
from retort.models.runtime.choose import CANDIDATES
from retort.service.settings import load_settings

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "loadtest" / "gpu.sh"


def measure(out: Path, **settings: str) -> str:
    """What the script prints."""
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
def test_it_measures_everything_and_reports_what_failed(tmp_path: Path) -> None:
    shown = measure(
        tmp_path / "out",
        SERVERS="fp16-graphs null fp16",
        WORKERS="",
        PASSAGES="2",
        TOKENS="32",
        BATCH_TOKENS="128",
        PAIRS_IN_FLIGHT="8",
        ROUNDS="2",
        SECONDS_EACH="0.3",
        TEACHERS="1x64",
    )
    found = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert found["failed"] == {}
    assert found["probe-fp32"]["passed"]
    (first, second) = found["bare"]["rounds"]
    assert len(first) == 3
    assert list(second) == list(reversed(first)), "every other round goes backwards"
    assert set(first["ONNX Runtime cpu fp32"]) == {"2", "4"}
    (load,) = found["http-fp32"]["loads"]
    assert len(load["rates"]) == len(load["bare"]) == len(load["idle_p50"]) == 2
    (null,) = found["http-null"]["loads"]
    assert min(null["rates"]) > max(load["rates"]), "it answers at once"
    (record,) = read(tmp_path / "out" / "record.json")
    assert [row[0] for row in record.table("servers").rows] == [
        "fp32, usual front ends, 2 passages",
        "null, usual front ends, 2 passages",
    ]
    page = (tmp_path / "out" / "gpu.md").read_text()
    assert page in shown
    assert "| fp32 | reproduced |" in page
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "gpu.md", "gpu.json", "gpu.log", "record.json",
    }  # fmt: skip


def test_without_time_it_still_reports(tmp_path: Path) -> None:
    measure(tmp_path / "out", TOTAL_SECONDS="10")
    found = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert set(found["failed"]) >= {"machine", "probe-fp32", "bare"}
    assert found["failed"]["machine"] == "no time was left for it"


def test_a_part_takes_a_variant_of_its_device(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["probe", "fp16", "--device", "cpu", "--out", "x"])
    assert "probe on cpu takes one of ['fp32'], not 'fp16'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parse(["bare", "fp16", "--out", "x"])
    options = parse(["http", "fp16", "--out", "x", "--workers", "1", "4", "--batch-tokens"])
    assert (options.name, options.workers, options.batch_tokens) == ("http-fp16", (1, 4), ())
    assert parse(["http", "null", "--out", "x", "--device", "cpu"]).name == "http-null"


@pytest.mark.parametrize("name", sorted(VARIANTS["cuda"]))
def test_a_server_runs_what_the_bare_loop_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variant = VARIANTS["cuda"][name]
    for variable, value in variant.environment.items():
        monkeypatch.setenv(variable, value)
    wish = load_settings().runtime
    assert (wish.provider, wish.precision) == (variant.provider, variant.precision)
    assert wish.cuda_graphs is variant.cuda_graphs
    assert sum(wish.allows(info) for info in CANDIDATES) == 1


def test_a_variant_is_checked_against_the_golden_pairs(tiny_bundle: Bundle, tmp_path: Path) -> None:
    name, forward, golden, recorded = VARIANTS["cpu"]["fp32"].load(tiny_bundle, tmp_path)
    assert name == "ONNX Runtime cpu fp32"
    assert golden.passed
    assert not recorded
    logits = forward(same_batch(3, 20, 7))
    assert isinstance(logits, np.ndarray)
    assert logits.shape == (3, len(tiny_bundle.manifest.heads))
    with pytest.raises(BackendUnavailable):
        VARIANTS["cuda"]["tensorrt-fp16"].load(tiny_bundle, tmp_path)


def test_pytorch_answers_every_pair() -> None:
    name, forward = torch_encoder("student", "2x32", "cpu", 100)
    assert name == "PyTorch fp32 student, 2x32"
    logits = forward(same_batch(3, 20, 7))
    assert isinstance(logits, torch.Tensor)
    assert len(logits) == 3
    with pytest.raises(ValueError, match="'large' is not the size of an encoder"):
        torch_encoder("teacher", "large", "cpu", 100)


def a_round(fast: float, slow: float) -> dict[str, Any]:
    """Two forward passes."""
    return {
        "ONNX Runtime cuda fp16": {"10": {"pairs_per_second": fast, "p50_ms": 0.5}},
        "PyTorch fp16 student, 3x384": {"10": {"pairs_per_second": slow, "p50_ms": 2.0}},
    }


def test_ratios_are_taken_within_a_round(tmp_path: Path) -> None:
    rounds = [a_round(30.0, 10.0), a_round(90.0, 45.0), a_round(50.0, 10.0)]
    write_part(tmp_path, "bare", {"rounds": rounds})
    write_report(tmp_path)
    page = (tmp_path / "gpu.md").read_text()
    assert "| ONNX Runtime cuda fp16 | 50 [30, 90] | 3.00 [2.00, 5.00] | 0.50 |" in page
    assert "| PyTorch fp16 student, 3x384 | 10 [10, 45] | 1.00 [1.00, 1.00] | 2 |" in page


def test_what_failed_is_shown_and_leaves_the_rest(tmp_path: Path) -> None:
    golden = {"max_difference": 0.02, "tolerance": 0.01}
    probe = {"passed": False, "golden": golden, "cuda_graphs": True, "seconds": 3.0}
    write_part(tmp_path, "probe-fp16-graphs", probe)
    (tmp_path / "parts" / "probe-tensorrt-fp16.failed").write_text("no libnvinfer\nstatus 1")
    write_report(tmp_path)
    page = (tmp_path / "gpu.md").read_text()
    assert "| fp16-graphs | **not reproduced** | 0.0200 | 0.0100 | yes | 3 |" in page
    assert "Part `probe-tensorrt-fp16` failed:" in page
    assert "no libnvinfer" in page
    assert "* GPU: none" in page
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["failed"] == {"probe-tensorrt-fp16": "no libnvinfer\nstatus 1"}
    assert found["probe-fp16-graphs"]["golden"] == golden


def test_servers_have_their_rate_their_share_and_their_latency(tmp_path: Path) -> None:
    load = {
        "workers": 8,
        "passages": 100,
        "clients": 32,
        "rates": [20_000.0, 22_000.0],
        "bare": [25_000.0, 25_000.0],
        "busy_p99": [70.0, 90.0],
        "idle_p50": [],
        "client_cpu": [0.2, 0.31],
        "failed": 3,
    }
    write_part(tmp_path, "http-fp16-graphs", {"loads": [load]})
    write_part(tmp_path, "http-null", {"loads": [{**load, "bare": [], "idle_p50": [0.5]}]})
    write_report(tmp_path)
    page = (tmp_path / "gpu.md").read_text()
    assert (
        "| fp16-graphs, 8 front ends, 100 passages | 21,000 [20,000, 22,000] | 0.84 [0.80, 0.88] "
        "|  | 80 | 3 | 32 | 31.0% |" in page
    )
    assert "| null, 8 front ends, 100 passages | 21,000 [20,000, 22,000] |  | 0.50 | 80 |" in page
