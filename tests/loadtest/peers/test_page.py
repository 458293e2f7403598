"""The page: each server's verdict and figures, between the markers, with the plot beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from retort.loadtest.peers.page import BEGIN, END, to_markdown, to_svg, write_page
from tests.loadtest.peers.found import FINDINGS

TEXT = to_markdown(FINDINGS)


def row(start: str) -> list[str]:
    """The cells of the table rows that start so, joined."""
    return [line for line in TEXT.splitlines() if line.startswith(f"| {start}")]


def test_who_ranks_wrongly_is_named_and_has_no_speed() -> None:
    (only,) = row("infinity-emb, ONNX Runtime |")
    assert "80.0% | 0.700 | 0.4000 | **ranks wrongly**, not measured" in only


def test_who_did_not_run_is_named_with_the_reason() -> None:
    (only,) = row("Triton |")
    assert "not run: no / library" in only


def test_throughput_latency_and_the_load_held_stand_for_each() -> None:
    standing, throughput, latency = row("retort |")
    assert "100.0% | 0.999 | 0.0012" in standing
    assert "| 420 (400 to 440) |  | 200 | 2.5 | 400 | 1 |" in throughput
    assert "| 10 / 20 / 40 (100) | 100 / 200 / 400 (100) |" in latency
    assert "4.00 (4.00 to 4.00) times" in row("infinity-emb, PyTorch fp32 |")[1]


def test_what_is_wanted_stands_beside_what_was_measured() -> None:
    assert row("pairs/s over infinity-emb, PyTorch bf16") == [
        "| pairs/s over infinity-emb, PyTorch bf16 | 2.00 (2.00 to 2.00) | ≥ 4 |"
    ]
    assert row("HTTP over the bare loop") == [
        "| HTTP over the bare loop | 0.80 (0.80 to 0.80) | ≥ 0.9 |"
    ]
    assert row("p99 at the same load over its") == [
        "| p99 at the same load over its | 1.00 | < 1 |"
    ]


def test_the_plot_has_a_line_for_each() -> None:
    root = ElementTree.fromstring(to_svg(FINDINGS))
    lines = [node for node in root.iter() if node.tag.endswith("polyline")]
    assert len(lines) == 3


def test_it_goes_between_the_markers(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    written = write_page(FINDINGS, page)
    assert [path.name for path in written] == ["performance.md", "peers.svg"]
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    page.write_text("no markers")
    with pytest.raises(ValueError, match="lacks the markers"):
        write_page(FINDINGS, page)


def test_of_nobody_measured_there_is_still_a_page() -> None:
    text = to_markdown(replace(FINDINGS, bouts=()))
    assert "ranks wrongly" in text
    assert "peers.svg" not in text
