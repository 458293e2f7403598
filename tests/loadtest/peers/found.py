"""Findings of three servers, made up."""

from __future__ import annotations

from retort.loadtest.figures import Latency
from retort.loadtest.peers.findings import Bout, Findings, Measured, Point, Setup, Standing
from retort.loadtest.peers.ranking import Agreement


def point(offered: float, p99_ms: float, errors: float = 0.0) -> Point:
    """A point with latencies of one kind."""
    return Point(offered, offered, 100, errors, Latency(p99_ms / 4, p99_ms / 2, p99_ms, 100), 0.5)


def measured(name: str, label: str, *rates: float) -> Measured:
    """A server whose p99 is 50 ms up to 200 pairs a second, and then 400 ms."""
    points = (point(50.0, 40.0), point(200.0, 50.0), point(300.0, 400.0), point(310.0, 60.0))
    return Measured(
        name, label, rates, Latency(1.0, 2.0, 3.0, 9), 2.5, 400_000_000, 1, points[0], points[2],
        points,
    )  # fmt: skip


RIGHT = Agreement(60, 1.0, 0.999, 0.0012)
SETUP = Setup(
    "2026-01-01", "retort peers", "a machine", "tiny 1", "openvino/cpu/int8", 2, 5.0, 6.0, 16, 100.0
)
FINDINGS = Findings(
    SETUP,
    (
        Standing("retort", "retort", RIGHT),
        Standing("infinity-onnx", "infinity-emb, ONNX Runtime", Agreement(60, 0.8, 0.7, 0.4)),
        Standing("triton", "Triton", problem="the server ended with status 1:\nno | library"),
        Standing("infinity", "infinity-emb, PyTorch fp32", RIGHT),
        Standing("infinity-bf16", "infinity-emb, PyTorch bf16", RIGHT),
    ),
    (
        Bout(
            "fixed",
            "10 passages of 128 tokens",
            (
                measured("retort", "retort", 400.0, 440.0),
                measured("infinity", "infinity-emb, PyTorch fp32", 100.0, 110.0),
                measured("infinity-bf16", "infinity-emb, PyTorch bf16", 200.0, 220.0),
            ),
            (500.0, 550.0),
        ),
    ),
)
