"""The project's own targets, held against the measured records; the page's table comes from here.

python tests/test_targets.py      writes the table anew after a measurement
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from pathlib import Path

import pytest

from retort.loadtest.report import words
from retort.loadtest.result import Unit, read
from retort.loadtest.rounds import Spread
from retort.markdown import section, table

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "performance.md"
BEGIN = "<!-- targets:begin (written by `python tests/test_targets.py`) -->"
END = "<!-- targets:end -->"
MET = {"≥": operator.ge, "≤": operator.le, "<": operator.lt}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A bound on one cell of a record: `part.table`, row and column."""

    what: str
    sign: str
    bound: float
    experiment: str
    table: str  # part.table
    row: str
    column: str

    def find(self) -> tuple[float, Unit] | None:
        """The measured number and its unit; None if the part was not measured yet."""
        record = DOCS / "measured" / f"{self.experiment}.json"
        part, _, name = self.table.partition(".")
        found = [m for m in read(record) if m.part == part] if record.exists() else []
        if not found:
            return None
        measured = found[0].table(name)
        cell = measured.cell(self.row, self.column)
        unit = next(column.unit for column in measured.columns if column.name == self.column)
        value = cell.value if isinstance(cell, Spread) else cell
        assert isinstance(value, int | float), f"{self.what}: no number but {cell!r}"
        return value, unit

    def cells(self) -> list[str]:
        """The row of the page's table."""
        found = self.find()
        if found is None:
            return [self.what, f"{self.sign} {self.bound:,g}", "not measured", ""]
        value, unit = found
        bound = f"{self.bound:.0%}" if unit == "share" else f"{self.bound:,g}"
        verdict = "reached" if MET[self.sign](value, self.bound) else "**missed**"
        return [self.what, f"{self.sign} {bound}", words(value, unit), verdict]


RATIO = "median [lowest, highest]"
TIMES = "times as many pairs/s [95%]"
LOSS = "share of the student's pairs/s [95%]"
TARGETS = (
    Wanted(
        "Server over the bare backend loop, pairs/s", "≥", 0.92,
        "bench", "bench.ratios", "server / bare backend loop", RATIO,
    ),
    Wanted(
        "Server over `CrossEncoder.predict`, pairs/s", "≥", 3,
        "bench", "bench.ratios", "server / `CrossEncoder.predict`", RATIO,
    ),
    Wanted(
        "p50 of an idle client over one bare forward pass", "≤", 1.2,
        "bench", "bench.ratios", "idle p50 / one bare forward pass", RATIO,
    ),
    Wanted(
        "Student over one teacher in PyTorch, pairs/s", "≥", 8,
        "loadtest", "loadtest.speedups", "one teacher, PyTorch fp32 (shape only)", TIMES,
    ),
    Wanted(
        "Student over the ensemble in PyTorch, pairs/s", "≥", 25,
        "loadtest", "loadtest.speedups", "ensemble of 3 teachers, PyTorch fp32 (shape only)", TIMES,
    ),
    Wanted(
        "Student over a teacher on the same backend, pairs/s", "≥", 1.9,
        "loadtest", "loadtest.speedups", "teacher, same backend", TIMES,
    ),
    Wanted(
        "Student over a BERT-large on the same backend, pairs/s", "≥", 35,
        "loadtest", "loadtest.speedups", "BERT-large, same backend (shape only)", TIMES,
    ),
    Wanted(
        "Throughput lost by shadowing 1% of requests", "<", 0.03,
        "loadtest", "loadtest.shadowing", "lost by shadowing", LOSS,
    ),
    Wanted(
        "Golden head alone over infinity's fastest engine, 128 tokens, pairs/s", "≥", 4,
        "peers", "peers.ratios", "pairs/s over infinity's fastest engine", "measured",
    ),
    Wanted(
        "p99 over that engine's at the same load", "<", 1,
        "peers", "peers.ratios", "p99 at the same load over that engine's", "measured",
    ),
    Wanted(
        "Golden head alone over its bare backend loop, pairs/s", "≥", 0.9,
        "peers", "peers.ratios", "HTTP over the bare loop", "measured",
    ),
    Wanted(
        "Padding under mixed real lengths, closed load", "<", 0.08,
        "stress", "padding.padding", "32 clients", "padding",
    ),
    Wanted(
        "Padding under mixed real lengths, open load", "<", 0.08,
        "stress", "padding.padding", "open loop at 70% of that rate", "padding",
    ),
    Wanted(
        "p99 of 10 passages next to requests of 1,000, over that alone", "≤", 3,
        "stress", "neighbour.neighbour", "next to large requests", "over the p99 alone",
    ),
    Wanted(
        "Answered in time at twice the capacity, of the capacity", "≥", 0.95,
        "stress", "overload.overload", "answered within 1000 ms", "share",
    ),
    Wanted(
        "The rest answered with 429 and `Retry-After`", "≥", 1,
        "stress", "overload.overload", "the rest: 429 with `Retry-After`", "share",
    ),
    Wanted(
        "Bare backend loop over the int8 matrix limit of the cores", "≥", 0.5,
        "stress", "arithmetic.arithmetic", "bare backend loop, openvino/cpu/int8",
        "share of the int8 limit",
    ),
    Wanted(
        "Growth of memory over half a million pairs", "<", 0.01,
        "stress", "memory.memory", "after the warm-up", "growth over what was held",
    ),
    Wanted(
        "Front end over the single-process server, processor time per request", "≤", 0.5,
        "frontend", "frontend.costs", "8 clients, passages in the cache",
        "front end over single process [95%]",
    ),
    Wanted(
        "On a GPU, one process: server over the bare loop at 100 passages", "≥", 0.8,
        "gpu", "first.servers", "fp16-graphs, 100 passages", "of the bare loop",
    ),
    Wanted(
        "On a GPU, one process: pairs/s at 100 passages", "≥", 20_000,
        "gpu", "first.servers", "fp16-graphs, 100 passages", "pairs/s",
    ),
    Wanted(
        "On a GPU, one process: p50 of an idle client, 10 passages, ms", "<", 3,
        "gpu", "first.servers", "fp16-graphs, 10 passages", "idle p50, ms",
    ),
    Wanted(
        "On a GPU, 8 front ends: pairs/s at 10 passages", "≥", 60_000,
        "gpu", "gpu.servers", "fp16-graphs, 8 front ends, 10 passages", "pairs/s",
    ),
    Wanted(
        "On a GPU, 8 front ends: pairs/s at 100 passages", "≥", 120_000,
        "gpu", "gpu.servers", "fp16-graphs, 8 front ends, 100 passages", "pairs/s",
    ),
    Wanted(
        "On a GPU, 8 front ends: p50 of an idle client, 10 passages, ms", "<", 1.5,
        "gpu", "gpu.servers", "fp16-graphs, 8 front ends, 10 passages", "idle p50, ms",
    ),
    Wanted(
        "Engine killed under load, 20 times: accepted requests lost", "≤", 0,
        "chaos", "engine.engine", "engine killed (-9), no standby", "accepted and lost",
    ),
    Wanted(
        "… wrong answers", "≤", 0,
        "chaos", "engine.engine", "engine killed (-9), no standby", "wrong answers",
    ),
    Wanted(
        "Engine stopped under load, 20 times: longest until answers flow, s", "<", 5,
        "chaos", "engine.engine", "engine stopped, no standby", "longest, s",
    ),
    Wanted(
        "… with a standby, s", "<", 1,
        "chaos", "engine.engine", "engine stopped, standby", "longest, s",
    ),
    Wanted(
        "SIGTERM under load, 50 times: accepted requests lost", "≤", 0,
        "chaos", "terminate.terminate", "under load", "accepted and lost",
    ),
    Wanted(
        "… with the engine stopped: not ended in time", "≤", 0,
        "chaos", "terminate.terminate", "under load, the engine stopped", "not ended",
    ),
    Wanted(
        "50 reloads under load: requests lost", "≤", 0,
        "chaos", "reload.reload", "by /admin", "lost",
    ),
    Wanted(
        "… scored wrongly, or by no known version", "≤", 0,
        "chaos", "reload.reload", "by /admin", "of no known version, or wrong",
    ),
    Wanted(
        "Ten times overload for five minutes: answers in time, of the capacity", "≥", 0.9,
        "chaos", "overload.overload", "answers in time", "share",
    ),
    Wanted(
        "… accepted but late", "<", 0.05,
        "chaos", "overload.overload", "accepted but late", "share",
    ),
    Wanted(
        "100,000 mutated requests: 5xx", "≤", 0,
        "chaos", "fuzz.fuzz", "to the five scoring routes", "5xx",
    ),
    Wanted(
        "… without an answer", "≤", 0,
        "chaos", "fuzz.fuzz", "to the five scoring routes", "without an answer",
    ),
    Wanted(
        "… growth of memory after warm-up", "<", 0.01,
        "chaos", "fuzz.fuzz", "to the five scoring routes", "memory after warm-up",
    ),
)  # fmt: skip


def markdown() -> str:
    """The table of all targets."""
    rows = [wanted.cells() for wanted in TARGETS]
    return "\n".join(table(["what", "wanted", "measured", ""], rows, right=(1, 2))) + "\n"


def test_the_page_says_what_was_reached_and_what_was_missed() -> None:
    shown = PAGE.read_text(encoding="utf-8").partition(f"{BEGIN}\n")[2].partition(END)[0]
    assert shown == markdown()


@pytest.mark.parametrize(
    ("sign", "bound", "verdict"),
    [("≥", 0.92, "reached"), ("≥", 0.93, "**missed**"), ("≤", 0.92, "reached"),
     ("<", 0.92, "**missed**")],
)  # fmt: skip
def test_verdicts_follow_from_the_numbers(
    sign: str, bound: float, verdict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.test_targets.DOCS", tmp_path)
    wanted = Wanted("w", sign, bound, "bench", "bench.ratios", "a", "value")
    assert wanted.cells() == ["w", f"{sign} {bound}", "not measured", ""]
    from retort.loadtest.result import Column, Measurement, Setup, Table, write

    ratios = Table("ratios", (Column("x"), Column("value", "ratio")), (("a", 0.92),))
    setup = Setup("2026-01-01", "c", "m", "s")
    write(
        tmp_path / "measured" / "bench.json", [Measurement("bench", "bench", setup, (), (ratios,))]
    )
    assert wanted.cells() == ["w", f"{sign} {bound}", "0.92", verdict]


if __name__ == "__main__":
    section(PAGE, markdown(), BEGIN, END, "Performance")
